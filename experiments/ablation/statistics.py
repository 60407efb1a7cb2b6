"""Estimates and tests of the ablation study, honest with five seeds; all intervals are at the 95 % level.

Pure functions of numbers. Where something is drawn, it comes from a generator of the caller's. A "cell" is a world at
one setting of its dial, and has one number a seed.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.optimize import brentq

LEVEL = 0.05  # of tests, and what intervals leave out
FEWEST = 3  # seeds that can show forms to be equal: two may agree by chance
DRAWS = 10_000  # of a bootstrap, and of a permutation test too large to be counted out
_FLIPS = 16  # differences of which all 2^n flips are counted
_ORDERS = 50_000  # permutations that are counted out
_SAME = 1e-9  # sums and correlations nearer than this are equal but for rounding


class Estimate(NamedTuple):
    """A value with its interval; low and high are None where a single seed leaves the spread unknown."""

    value: float
    low: float | None
    high: float | None


class PValue(NamedTuple):
    """A p-value, and the smallest that the test can give with so few numbers."""

    p: float
    smallest: float


class Trend(NamedTuple):
    """Rank correlation of gap and NS over cells, and the test of "gap increases with NS".

    Both are None where there is nothing to rank; the test too where no world has two cells to exchange.
    """

    rho: Estimate | None
    test: PValue | None


def mean(values: ArrayLike, least: float = -math.inf, most: float = math.inf) -> Estimate:
    """Mean over seeds with Student's t interval, which ends where no mean can lie: below `least` or above `most`.

    Of five normal numbers it holds the mean in 95 % of cases, the percentile bootstrap in 84 % only. Where one seed in
    five falls far below the others, neither holds in more than two cases of three: five often show no such seed.

    Raises:
        ValueError: one line, for no numbers or for one that is not finite; so do all functions here.
    """
    numbers = _check(values)
    centre, n = float(numbers.mean()), len(numbers)
    if n < 2:
        return Estimate(centre, None, None)
    reach = float(stats.t.ppf(1 - LEVEL / 2, n - 1) * numbers.std(ddof=1) / math.sqrt(n))
    return Estimate(centre, max(least, centre - reach), min(most, centre + reach))


def iqm(cells: Sequence[ArrayLike], rng: np.random.Generator) -> Estimate:
    """Interquartile mean of the scores of all cells with a stratified bootstrap interval (Agarwal et al. 2021).

    Seeds are resampled within cells. The plain percentile interval takes too little of few seeds: its tails are moved
    out to where Student's t and the n - 1 of a variance would have them (Hesterberg 2015, "expanded percentiles"). It
    then holds in 94 % of cases for five cells of five seeds, and in 92 % for one, whose extremes it cannot leave.

    Args:
        cells: scores of the seeds, by cell; one cell or many.
        rng: of the bootstrap.
    """
    strata = [_check(cell) for cell in cells]
    drawn = np.concatenate(_resample(strata, rng), axis=1)
    return _percentiles(_trimmed(np.concatenate(strata)[None])[0], _trimmed(drawn), strata)


def improvement(ours: ArrayLike, theirs: ArrayLike) -> Estimate:
    """P(X > Y) + P(X = Y) / 2: how likely a run of ours beats one of theirs (Agarwal et al. 2021), over all pairs.

    Runs are not paired by seed: the question is about independent runs, training luck is not shared between forms, and
    5 x 5 pairs tell more than the steps of 1/5 of a count of seeds. The interval is Newcombe's (2006, method 5) for the
    Mann-Whitney statistic. A bootstrap would give 1 without any doubt whenever five runs beat five others.
    """
    x, y = _check(ours), _check(theirs)
    share = float((np.sign(x[:, None] - y) + 1).mean() / 2)
    if min(len(x), len(y)) < 2:
        return Estimate(share, None, None)
    return Estimate(share, _newcombe(share, len(x), len(y)), 1 - _newcombe(1 - share, len(x), len(y)))


def sign_flip(differences: ArrayLike, rng: np.random.Generator) -> PValue:
    """One-sided test that differences, paired by seed, are above 0: all signs might as well have been the other way.

    Exact: all 2^n flips of up to 16 differences are counted; of more, some are drawn from `rng`. The smallest p of n
    seeds is 1/2^n. Five seeds reach 1/32 = 0.031: below 5 % in one cell, but after Holm's correction for k cells only
    k/32, so never with two cells or more; that takes log2(20 k) seeds. See `step_down` for a correction that can.
    """
    numbers = _check(differences)
    flips = _flips(len(numbers), rng)
    return PValue(_share(flips @ numbers, numbers.sum(), np.abs(numbers).sum()), 1 / len(flips))


def holm(p_values: ArrayLike) -> list[float]:
    """Holm's correction for many comparisons: p-values in the order given, that may each be held against 5 %."""
    p = _check(p_values)
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected.tolist()


def step_down(gaps: Sequence[Mapping[int, float]], rng: np.random.Generator) -> list[float]:
    """Sign-flip p-values corrected for many cells by Westfall and Young's (1993) step-down maximum.

    A flip turns the differences of a seed in all cells at once. If no form is better in some cells, their differences
    together are as likely as with the other sign, whether cells depend on each other or not; so the largest sum of
    them is held against its own flips, and the chance of any false finding stays below 5 %. Five seeds reach 1/32
    here too, for any number of cells. Sums are of differences of length 1, so that no cell is louder than another. No p
    is below that of the cell alone, where other cells have more seeds.

    Args:
        gaps: differences by seed, of each cell.
        rng: of flips, where there are too many to count.
    """
    seeds = sorted({seed for gap in gaps for seed in gap})
    rows = np.stack([_check([gap.get(seed, 0.0) for seed in seeds]) for gap in gaps])
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    sums, flipped = rows.sum(axis=1), _flips(len(seeds), rng) @ rows.T
    order = np.argsort(-sums, kind="stable")
    corrected, least = np.empty(len(rows)), 0.0
    for place, cell in enumerate(order):
        alone = sign_flip(list(gaps[cell].values()), rng).p
        least = max(least, alone, _share(flipped[:, order[place:]].max(axis=1), sums[cell], 1.0))
        corrected[cell] = least
    return corrected.tolist()


def equivalent(differences: ArrayLike, margin: float) -> bool:
    """Whether the 95 % interval of a mean difference lies inside +-margin; never of fewer than three seeds.

    This is two one-sided tests at 2.5 % each: stricter than the usual ones at 5 %, that ask it of the 90 % interval.
    """
    if not margin > 0:
        raise ValueError(f"expected a margin above 0, got {margin}")
    _, low, high = mean(differences)
    return len(_check(differences)) >= FEWEST and low is not None and -margin < low and (high or 0.0) < margin


def trend(
    gaps: Sequence[ArrayLike], nonseparability: ArrayLike, worlds: Sequence[str], rng: np.random.Generator
) -> Trend:
    """Spearman's rank correlation of a cell's mean gap and its NS; does the gap increase with NS?

    The interval resamples seeds within cells, as in `iqm`: it is about these cells, not about others. The one-sided
    test exchanges the NS of the cells of a world, so that differences between worlds are no evidence. One world of five
    different NS has 120 orders: its smallest p is 1/120.

    Args:
        gaps: differences of the seeds, by cell.
        nonseparability: (C,), of the cells.
        worlds: of the cells.
        rng: of the bootstrap and of permutations, where there are too many to count.
    """
    strata, ns = [_check(cell) for cell in gaps], _check(nonseparability)
    if not len(strata) == len(ns) == len(worlds):
        raise ValueError(f"expected as many gaps, NS and worlds, got {len(strata)}, {len(ns)} and {len(worlds)}")
    means = np.array([cell.mean() for cell in strata])
    if len(ns) < 3 or np.ptp(ns) <= _SAME or np.ptp(means) <= _SAME:
        return Trend(None, None)
    ranks = _ranks(ns)
    drawn = np.stack([cell.mean(axis=1) for cell in _resample(strata, rng)], axis=1)
    rho = _percentiles(float(_ranks(means) @ ranks), _ranks(drawn) @ ranks, strata)
    chance = _orders(ranks, np.asarray(worlds), rng) @ _ranks(means)
    if len(chance) < 2:
        return Trend(rho, None)
    return Trend(rho, PValue(_share(chance, rho.value, 1.0), _share(chance, chance.max(), 1.0)))


def _check(values: ArrayLike) -> np.ndarray:
    numbers = np.asarray(values, float)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError(f"expected a list of one or more finite numbers, got {numbers.tolist()}; leave out others")
    return numbers


def _trimmed(rows: np.ndarray) -> np.ndarray:
    """(B, n) -> (B,), the mean of what is left of each row without a quarter, rounded down, at either end."""
    return np.asarray(stats.trim_mean(rows, 0.25, axis=1))


def _resample(strata: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """As many values of each stratum, drawn from itself: (DRAWS, n) each."""
    return [cell[rng.integers(len(cell), size=(DRAWS, len(cell)))] for cell in strata]


def _percentiles(value: float, drawn: np.ndarray, strata: Sequence[np.ndarray]) -> Estimate:
    """Expanded percentile interval of bootstrap values (B,); none where a cell has a single seed."""
    if min(map(len, strata)) < 2:
        return Estimate(float(value), None, None)
    count = sum(map(len, strata))
    freedom = count - len(strata)
    tail = stats.norm.cdf(-math.sqrt(count / freedom) * stats.t.ppf(1 - LEVEL / 2, freedom))
    low, high = np.quantile(drawn, (tail, 1 - tail))
    return Estimate(float(value), float(low), float(high))


def _newcombe(share: float, n: int, m: int) -> float:
    """Lower limit t of a Mann-Whitney share s: where (s - t)^2 = z^2 V(t) below s, V as of exponential scores."""
    if share <= 0.0:
        return 0.0
    z, half = float(stats.norm.ppf(1 - LEVEL / 2)), (n + m) / 2 - 1

    def excess(t: float) -> float:
        variance = t * (1 - t) * (1 + half * ((1 - t) / (2 - t) + t / (1 + t))) / (n * m)
        return (share - t) ** 2 - z**2 * variance

    return float(brentq(excess, 0.0, min(share, 1 - _SAME)))  # type: ignore[arg-type]


def _flips(n: int, rng: np.random.Generator) -> np.ndarray:
    """(B, n) signs, all 2^n if they are few; the first row leaves all as it is."""
    if n <= _FLIPS:
        return 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    signs = rng.choice((-1.0, 1.0), size=(DRAWS, n))
    signs[0] = 1.0
    return signs


def _share(chance: np.ndarray, level: float, scale: float) -> float:
    """Share of values (B,) that reach a level, the same to rounding of numbers of a scale."""
    return float((chance >= level - _SAME * scale).mean())


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of the last axis, of mean 0 and length 1, ties shared: a product of two is Spearman's correlation.

    Equal values all through have rank 0, so that they are correlated with nothing.
    """
    ranks = stats.rankdata(values, axis=-1)
    ranks = ranks - ranks.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(ranks, axis=-1, keepdims=True)
    return np.divide(ranks, length, out=np.zeros_like(ranks), where=length > 0)


def _orders(ranks: np.ndarray, worlds: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(B, C) the ranks exchanged within worlds, in all ways if they are few; the first row leaves all as it is."""
    groups = [np.flatnonzero(worlds == world) for world in np.unique(worlds)]
    if math.prod(math.factorial(len(group)) for group in groups) > _ORDERS:
        drawn = np.tile(ranks, (DRAWS, 1))
        for group in groups:
            drawn[1:, group] = rng.permuted(drawn[1:, group], axis=1)
        return drawn
    orders = ranks[None]
    for group in groups:
        ways = ranks[np.array(list(permutations(group)))]
        orders = np.repeat(orders, len(ways), axis=0)
        orders[:, group] = np.tile(ways, (len(orders) // len(ways), 1))
    return orders
