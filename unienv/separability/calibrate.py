"""Calibration: the same nets on synthetic feedback whose non-separability is known."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from unienv.separability.folds import split_cells
from unienv.separability.neural import Sizes
from unienv.separability.projection import project
from unienv.separability.transitions import Transitions

_DIALS = (0.0, 0.6)  # shares of joint feedback


def calibrate(
    transitions: Transitions,
    features: tuple[np.ndarray, ...],
    folds: int,
    sizes: Sizes,
    generator: np.random.Generator,
    seed: int,
    pool: ThreadPoolExecutor,
) -> tuple[tuple[float, float], ...]:
    """(true, estimated) of synthetic feedback: a vote of one bit a modality, mixed with an equation between them.

    Values of a modality fall into four lumps by random halfspaces of their features. Feedback says whether the lumps
    sum to a multiple of 4, or else follows the votes; every other action turns it round. Values are paired at random:
    then the best scores depend on lumps alone, and the small table of lumps has the non-separability of the whole.
    """
    mixed = {
        name: type(seen)(seen.items, generator.permutation(seen.which))
        for name, seen in transitions.observation.items()
    }
    shuffled = Transitions(mixed, transitions.action, transitions.feedback, transitions.episode, transitions.names)
    split = split_cells(shuffled, features, folds, generator)
    lumps, shares = [], []
    for x, seen in zip(features, mixed.values(), strict=True):
        weight = np.bincount(seen.which, minlength=len(x)) / len(shuffled)
        bits = [_halve(x @ generator.normal(size=x.shape[1]), weight) for _ in range(2)]
        lumps.append((2 * bits[0] + bits[1])[seen.which])
        shares.append(np.bincount(lumps[-1], minlength=4) / len(shuffled))
    turned = np.unique(shuffled.action, return_inverse=True)[1] % 2
    shares.append(np.bincount(turned, minlength=2) / len(shuffled))
    every = np.indices([len(share) for share in shares]).reshape(len(shares), -1)
    mass = np.prod([share[code] for share, code in zip(shares, every, strict=True)], axis=0)
    contexts = np.stack([column * 2 + every[-1] for column in every[:-1]], axis=1)
    truths, answers = [], []
    for dial in _DIALS:
        p = _yes(every, dial)
        truths.append(project(mass[:, None] * np.stack([1 - p, p], axis=1), contexts).value)
        answers.append((generator.random(len(shuffled)) < _yes(np.stack([*lumps, turned]), dial)).astype(np.int64))
    counts = [split.counts(answer, 2) for answer in answers]
    fits = [[pool.submit(split.fit, count, 0, sizes, seed, half=half) for half in (False, True)] for count in counts]
    found = []
    for answer, pair in zip(answers, fits, strict=True):
        gain, less = (split.gains([fit.result()], answer).mean() for fit in pair)
        found.append(float(2 * gain - less))
    return tuple(zip(truths, found, strict=True))


def _halve(score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Bits (U,) that split values into two parts of about equal weight, in the order of their scores."""
    order = np.argsort(score, kind="stable")
    bit = np.empty(len(score), np.int64)
    bit[order] = weight[order].cumsum() - weight[order] / 2 > 0.5
    return bit


def _yes(codes: np.ndarray, dial: float) -> np.ndarray:
    """Probability of feedback 1 for lumps (M + 1, n), the last row saying whether it is turned round."""
    *lumps, turned = codes
    votes = 1 / (1 + np.exp(-sum(lump // 2 - 0.5 for lump in lumps)))
    p = (1 - dial) * votes + dial * (sum(lumps) % 4 == 0)
    return np.where(turned == 1, 1 - p, p)
