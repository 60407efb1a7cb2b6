"""A model on paper of training by k workers with equal work each, over networks that are not here.

An update takes C + W(k) + the sum of A(n, k) over its messages of n bytes. C: what a worker computes, measured. W:
waiting for the slowest of k, whose times scatter normally. A: an all-reduce, alpha seconds a message passed on and beta
seconds a byte, as in Thakur et al. 2005. Left out: that larger batches teach less a sample, and links that are shared.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.integrate import quad
from scipy.optimize import nnls
from scipy.stats import norm


class Link(NamedTuple):
    """What passing a message on costs."""

    alpha: float  # seconds a message
    beta: float  # seconds a byte

    def over(self, latency: float, bandwidth: float) -> "Link":
        """The same hosts joined by a network (seconds, bytes/s): its latency adds up, the slower sets the pace."""
        return Link(self.alpha + latency, max(self.beta, 1 / bandwidth))


def _ring(k: int) -> tuple[float, float]:
    return 2 * (k - 1), 2 * (k - 1) / k


def _tree(k: int) -> tuple[float, float]:
    return 2 * math.ceil(math.log2(k)), 2 * (k - 1) / k


# Messages that follow each other, and bytes that each worker sends, by the size of the tensor. gloo's is the ring; the
# tree halves and doubles what it passes on.
ALGORITHMS: Mapping[str, Callable[[int], tuple[float, float]]] = {"ring": _ring, "tree": _tree}


class Update(NamedTuple):
    """What an update is made of."""

    compute: float  # C, seconds
    messages: Sequence[int]  # n of each all-reduce, bytes
    waiting: float  # seconds that a worker waits for the slowest of `waiters`
    waiters: int

    def seconds(self, k: int, link: Link, algorithm: str) -> dict[str, float]:
        """Where the time of one update goes among k workers: compute, waiting, latency and bandwidth."""
        passes, share = ALGORITHMS[algorithm](k)
        return {
            "compute": self.compute,
            "waiting": self.waiting * lateness(k) / lateness(self.waiters),
            "latency": len(self.messages) * passes * link.alpha,
            "bandwidth": sum(self.messages) * share * link.beta,
        }

    def efficiency(self, k: int, link: Link, algorithm: str) -> float:
        """Share of the time in which a worker computes."""
        return self.compute / sum(self.seconds(k, link, algorithm).values())

    def most_workers(self, link: Link, algorithm: str, least: float, limit: int = 1 << 20) -> int:
        """The largest power of two of workers, up to a limit, that still reaches an efficiency; 1 if none does."""
        k = 1
        while k < limit and self.efficiency(2 * k, link, algorithm) >= least:
            k *= 2
        return k


def all_reduce_seconds(n: float, k: int, link: Link, algorithm: str = "ring") -> float:
    """Seconds of one all-reduce of n bytes among k workers."""
    passes, share = ALGORITHMS[algorithm](k)
    return passes * link.alpha + n * share * link.beta


def fit(times: Mapping[tuple[int, int], float]) -> Link:
    """Alpha and beta, none below 0, of all-reduces in a ring by least squares of relative errors.

    Args:
        times: (k, n) -> seconds, of k workers and n bytes.
    """
    columns = np.array([[all_reduce_seconds(n, k, one) for one in (Link(1, 0), Link(0, 1))] for k, n in times])
    seconds = np.array(list(times.values()))
    scale = columns.max(axis=0)  # seconds and bytes are many orders apart
    found, _ = nnls(columns / scale / seconds[:, None], np.ones(len(seconds)))
    return Link(*(found / scale).tolist())


def lateness(k: int) -> float:
    """Mean of the largest of k standard normal numbers: by how many deviations the last of k workers is late."""
    return quad(lambda x: x * k * norm.pdf(x) * norm.cdf(x) ** (k - 1), -10, 10, points=[0, 3])[0]
