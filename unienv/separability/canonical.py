"""Canonical laws whose non-separability is known in closed form: the oracles for everything that measures it.

Feedback laws have axes (O^1, .., O^M, A, Y) with one action, output laws (X^1, X^2, Y^1, Y^2). Inputs are uniform
unless said otherwise. All values are in nats; h is the binary entropy.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from unienv.dial import binary_entropy

LN2 = float(np.log(2))


class FeedbackCase(NamedTuple):
    """A feedback law and its NS_fb; `connected` is (C_2, .., C_M)."""

    build: Callable[[], np.ndarray]
    nonseparability: float
    connected: tuple[float, ...]


class OutputCase(NamedTuple):
    """A law of factored outputs; its NS_out is the sum of the other two."""

    build: Callable[[], np.ndarray]
    total_correlation: float
    influence: tuple[float, float]


def of_function(function: Callable[..., object], *sizes: int) -> np.ndarray:
    """Y = function(o^1, .., o^M) as (n_1, .., n_M, 1, Y); o^m uniform on [0, sizes[m])."""
    outcome = np.asarray(function(*np.indices(sizes))).astype(int)
    return (np.eye(outcome.max() + 1)[outcome] / outcome.size)[..., None, :]


def of_success(success: np.ndarray, law: np.ndarray | None = None) -> np.ndarray:
    """Binary Y with P(Y=1 | o) = success, shape (n_1, .., n_M); `law` of the same shape is P(o), uniform by default."""
    law = np.full(success.shape, 1 / success.size) if law is None else law
    return (law[..., None] * np.stack([1 - success, success], axis=-1))[..., None, :]


def xor() -> np.ndarray:
    """Y = [o^1 != o^2]. NS_fb = ln 2: neither bit alone says anything, and no sum of scores does."""
    return of_function(np.bitwise_xor, 2, 2)


def and_() -> np.ndarray:
    """Y = o^1 and o^2. NS_fb = 0, as a limit: score b * (o^1 + o^2 - 3/2) with b without bound."""
    return of_function(np.bitwise_and, 2, 2)


def add() -> np.ndarray:
    """Y = o^1 + o^2 in {0, 1, 2}. NS_fb = 0, as a limit: scores b * (y * (o^1 + o^2) - y^2 / 2), b without bound."""
    return of_function(np.add, 2, 2)


def copy() -> np.ndarray:
    """Redundant: o^1 = o^2 = Y, a fair coin. NS_fb = 0, as for any feedback on inputs that always agree."""
    return of_success(np.array([[0.0, 0.0], [1.0, 1.0]]), np.eye(2) / 2)


def unique() -> np.ndarray:
    """Y = o^1. NS_fb = 0."""
    return of_function(lambda first, second: first, 2, 2)


def both() -> np.ndarray:
    """Y = the pair (o^1, o^2) as one of four outcomes. NS_fb = 0: one score for each half of the pair."""
    return of_function(lambda first, second: 2 * first + second, 2, 2)


def additive(slope: float = 2.0, dial: float = 0.0) -> np.ndarray:
    """P(Y=1) = sigmoid(slope * (o^1 + o^2 - 1)), mixed with a share `dial` of XOR. NS_fb = 0 at dial 0.

    Between, NS_fb is that of any 2 x 2 x 2 law, see `two_by_two`; 0.0402 at slope 2 and dial 1/4.
    """
    votes = 1 / (1 + np.exp(-slope * (np.add.outer([0, 1], [0, 1]) - 1)))
    return of_success((1 - dial) * votes + dial * np.array([[0, 1], [1, 0]]))


def noisy_xor(dial: float) -> np.ndarray:
    """XOR with probability `dial`, else a fair coin. NS_fb = ln 2 - h((1 - dial) / 2), the capacity of the noise."""
    return of_success((1 - dial) / 2 + dial * np.array([[0, 1], [1, 0]]))


def unique_xor(dial: float) -> np.ndarray:
    """XOR with probability `dial`, else o^1. NS_fb = h(dial / 2) - h(dial) / 2: the best scores see o^1 alone."""
    return of_success((1 - dial) * np.array([[0, 0], [1, 1]]) + dial * np.array([[0, 1], [1, 0]]))


def correlated_xor(differ: float) -> np.ndarray:
    """XOR of fair bits with P(o^1 != o^2) = differ. NS_fb = h(differ): the measure depends on the inputs' law."""
    differing = np.array([[0.0, 1.0], [1.0, 0.0]])
    return of_success(differing, (differing * differ + (1 - differing) * (1 - differ)) / 2)


def match(k: int, noise: float = 0.0) -> np.ndarray:
    """Y = [o^1 = o^2] on k x k, flipped with probability `noise`.

    NS_fb = h(1/k + noise * (1 - 2/k)) - h(noise): every row and column has the same mean.
    """
    return of_success(noise + (1 - 2 * noise) * np.eye(k))


def mod_sum(k: int) -> np.ndarray:
    """Y = o^1 + o^2 modulo k. NS_fb = ln k."""
    return of_function(lambda first, second: (first + second) % k, k, k)


def threshold(k: int, least: int) -> np.ndarray:
    """Y = [o^1 + o^2 >= least] on k x k. NS_fb = 0, as a limit; the harder for descent the larger k is."""
    return of_function(lambda first, second: first + second >= least, k, k)


def majority() -> np.ndarray:
    """Y = the majority of three bits. NS_fb = 0, as a limit."""
    return of_function(lambda *bits: sum(bits) >= 2, 2, 2, 2)


def parity(modalities: int) -> np.ndarray:
    """Y = the sum of M bits modulo 2. NS_fb = ln 2, all of it of order M."""
    return of_function(lambda *bits: sum(bits) % 2, *[2] * modalities)


def xor_of_three() -> np.ndarray:
    """Y = o^1 xor o^2, o^3 a bystander. NS_fb = ln 2, all of it of order 2."""
    return of_function(lambda first, second, third: first ^ second, 2, 2, 2)


def two_by_two(joint: np.ndarray) -> float:
    """NS_fb of any law of shape (2, 2, 1, 2), by finding one number.

    Laws with the same pairwise marginals differ by a multiple of the sign pattern, so the projection is where the
    three-way odds ratio is 1: a cubic equation (Bartlett, "Contingency table interactions", 1935) whose left side
    rises. It is solved by bisection of the logarithm of the distance to the nearer end, where digits are needed.
    """
    p = np.asarray(joint, np.float64).reshape(2, 2, 2)
    sign = 1 - 2 * (np.indices(p.shape).sum(axis=0) % 2)
    low, high = -p[sign > 0].min(), p[sign < 0].min()
    if low >= high:
        return 0.0

    def odds(q: np.ndarray) -> float:
        with np.errstate(divide="ignore"):
            return float((sign * np.log(q)).sum())

    towards = 1 if odds(p + (low + high) / 2 * sign) > 0 else -1  # from which end the solution is near
    end = low if towards > 0 else high
    base = np.maximum(p + end * sign, 0.0)
    near, far = -700.0, float(np.log((high - low) / 2))
    for _ in range(100):
        middle = (near + far) / 2
        if odds(np.maximum(base + np.exp(middle) * towards * sign, 0.0)) * towards < 0:
            near = middle
        else:
            far = middle
    q = np.maximum(base + np.exp(far) * towards * sign, 1e-300)
    return max(0.0, float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum()))


def outputs_of(function: Callable[..., tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """(2, 2, 2, 2) law of (x^1, x^2, y^1, y^2) = function(x^1, x^2, z); x^1, x^2 and the hidden z are fair coins."""
    first, second, hidden = (axis.ravel() for axis in np.indices((2, 2, 2)))
    joint = np.zeros((2, 2, 2, 2))
    np.add.at(joint, (first, second, *function(first, second, hidden)), 1 / 8)
    return joint


def _pair(build: Callable[[], np.ndarray], nonseparability: float) -> FeedbackCase:
    """A case of two modalities, whose only order is 2."""
    return FeedbackCase(build, nonseparability, (nonseparability,))


FEEDBACK: dict[str, FeedbackCase] = {
    "xor": _pair(xor, LN2),
    "and": _pair(and_, 0.0),
    "sum": _pair(add, 0.0),
    "copy": _pair(copy, 0.0),
    "unique": _pair(unique, 0.0),
    "both": _pair(both, 0.0),
    "additive": _pair(additive, 0.0),
    "additive-xor": _pair(lambda: additive(dial=0.25), two_by_two(additive(dial=0.25))),
    "unique-xor": _pair(lambda: unique_xor(0.25), binary_entropy(1 / 8) - binary_entropy(1 / 4) / 2),
    "noisy-xor": _pair(lambda: noisy_xor(0.5), LN2 - binary_entropy(1 / 4)),
    "correlated-xor": _pair(lambda: correlated_xor(0.1), binary_entropy(0.1)),
    "match": _pair(lambda: match(4), binary_entropy(1 / 4)),
    "noisy-match": _pair(lambda: match(8, 0.1), binary_entropy(1 / 8 + 0.1 * (1 - 2 / 8)) - binary_entropy(0.1)),
    "mod-sum": _pair(lambda: mod_sum(4), float(np.log(4))),
    "threshold": _pair(lambda: threshold(8, 8), 0.0),
    "majority": FeedbackCase(majority, 0.0, (0.0, 0.0)),
    "parity-3": FeedbackCase(lambda: parity(3), LN2, (0.0, LN2)),
    "parity-4": FeedbackCase(lambda: parity(4), LN2, (0.0, 0.0, LN2)),
    "xor-of-three": FeedbackCase(xor_of_three, LN2, (LN2, 0.0)),
}

OUTPUTS: dict[str, OutputCase] = {
    "independent": OutputCase(lambda: outputs_of(lambda a, b, z: (a, b)), 0.0, (0.0, 0.0)),
    "common-coin": OutputCase(lambda: outputs_of(lambda a, b, z: (a ^ z, b ^ z)), LN2, (0.0, 0.0)),
    "shared-reveal": OutputCase(lambda: outputs_of(lambda a, b, z: (z, z)), LN2, (0.0, 0.0)),
    "swap": OutputCase(lambda: outputs_of(lambda a, b, z: (b, a)), 0.0, (LN2, LN2)),
    "xor-in-one": OutputCase(lambda: outputs_of(lambda a, b, z: (a ^ b, b)), 0.0, (LN2, 0.0)),
    "secret": OutputCase(lambda: outputs_of(lambda a, b, z: (z, z ^ a ^ b)), LN2, (0.0, 0.0)),
}
