"""Known answers, coverage of intervals and levels of tests with five seeds, by simulation."""

import math
from itertools import permutations, product

import numpy as np
import pytest
from scipy import stats

from experiments.ablation import statistics
from experiments.ablation.statistics import equivalent, holm, improvement, iqm, mean, sign_flip, step_down, trend

SEEDS = 5


def rng(seed=0):
    return np.random.default_rng(seed)


def holds(estimate, truth):
    return estimate.low <= truth <= estimate.high


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(statistics, "DRAWS", 2000)


def test_mean_is_that_of_scipy():
    x = rng().normal(3, 2, 7)
    told = mean(x)
    assert told.value == pytest.approx(x.mean())
    assert told[1:] == pytest.approx(stats.ttest_1samp(x, 0).confidence_interval(0.95))


def test_students_interval_covers_with_five_seeds_and_the_bootstrap_does_not():
    rows = rng(1).normal(size=(1500, SEEDS))
    told = [mean(row) for row in rows]
    assert 0.935 <= np.mean([holds(one, 0.0) for one in told]) <= 0.965
    drawn = rows[:, rng(2).integers(SEEDS, size=(400, SEEDS))].mean(axis=2)
    low, high = np.quantile(drawn, (0.025, 0.975), axis=1)
    assert np.mean((low <= 0) & (high >= 0)) < 0.88


def test_iqm_leaves_out_a_quarter_at_either_end():
    assert iqm([[100.0, 1.0, 2.0, 3.0, -50.0]], rng()).value == 2.0
    cells = [rng(i).normal(size=SEEDS) for i in range(4)]
    assert iqm(cells, rng()).value == pytest.approx(np.sort(np.concatenate(cells))[5:-5].mean())


def test_iqm_resamples_within_cells():
    """Seeds that agree leave no doubt, however far apart the cells are."""
    assert iqm([[0.0] * 5, [10.0] * 5, [4.0] * 5], rng()) == pytest.approx((40 / 9,) * 3)
    low, high = iqm([[0.0, 10.0, 4.0], [0.0, 10.0, 4.0], [0.0, 10.0, 4.0]], rng())[1:]
    assert low < 3 < 6 < high


def test_the_same_generator_gives_the_same_interval():
    cells = [rng(i).normal(size=SEEDS) for i in range(3)]
    assert iqm(cells, rng(4)) == iqm(cells, rng(4)) != iqm(cells, rng(5))


@pytest.mark.parametrize(("cells", "least"), [(1, 0.88), (5, 0.90)])
def test_iqm_covers(few_draws, cells, least):
    generator = rng(3)
    told = [iqm(generator.normal(size=(cells, SEEDS)), generator) for _ in range(300)]
    assert least <= np.mean([holds(one, 0.0) for one in told]) <= 0.99


def test_improvement_counts_pairs_and_halves_ties():
    assert improvement([1, 2, 3], [0, 2, 5]).value == pytest.approx((1 + 1.5 + 2) / 9)
    x, y = rng().normal(size=(2, 6))
    assert improvement(x, y).value == pytest.approx(stats.mannwhitneyu(x, y).statistic / 36)
    assert improvement([1.0] * 5, [1.0] * 5).value == 0.5


def test_improvement_mirrors():
    x, y = rng(1).normal(size=(2, 5))
    one, other = improvement(x, y), improvement(y, x)
    assert one == pytest.approx((1 - other.value, 1 - other.high, 1 - other.low))


def test_five_runs_that_beat_five_others_are_no_certainty():
    """Whoever wins all 25 pairs may still lose one in three; the test of equal chances has p = 2/252 then."""
    told = improvement(range(5, 10), range(5))
    assert told.value == told.high == 1.0 and 0.6 < told.low < 0.7
    assert improvement(range(50, 100), range(50)).low > 0.9


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_improvement_covers(shift):
    ours, theirs = rng(5).normal(size=(2, 600, SEEDS))
    truth = stats.norm.cdf(shift / math.sqrt(2))
    told = [improvement(x + shift, y) for x, y in zip(ours, theirs, strict=True)]
    assert 0.92 <= np.mean([holds(one, truth) for one in told]) <= 0.985


def test_sign_flips_are_counted():
    assert sign_flip([1, 2, 3, 4, 5], rng()) == (1 / 32, 1 / 32)
    x = rng().normal(0.5, 1, 6)
    flips = [np.dot(signs, x) for signs in product((-1, 1), repeat=6)]
    assert sign_flip(x, rng()).p == pytest.approx(np.mean(np.array(flips) >= x.sum() - 1e-12))


def test_sign_flips_with_ties_and_zeros():
    assert sign_flip([0.0] * 5, rng()).p == 1.0
    assert sign_flip([0.1 + 0.2, 0.3, -0.3], rng()).p == pytest.approx(4 / 8)  # equal but for rounding
    assert sign_flip([1.0, 1.0, 1.0, 1.0, 0.0], rng()).p == 2 / 32
    assert sign_flip([-1.0] * 5, rng()).p == 1.0


def test_sign_flips_of_many_seeds_are_drawn():
    test = sign_flip([1.0] * 30, rng())
    assert test.p == test.smallest == 1 / statistics.DRAWS
    x = rng(7).normal(0.2, 1, 30)
    assert sign_flip(x, rng()).p == pytest.approx(stats.ttest_1samp(x, 0, alternative="greater").pvalue, abs=0.02)


def test_sign_flips_keep_their_level():
    p = np.array([sign_flip(row, rng()).p for row in rng(8).normal(size=(1500, SEEDS))])
    assert 0.02 <= np.mean(p <= 0.05) <= 0.043  # 1/32
    assert np.mean(p <= 0.5) == pytest.approx(0.5, abs=0.05)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03]


def test_holm_of_five_seeds_never_passes_in_two_cells():
    p = sign_flip([1, 2, 3, 4, 5], rng()).smallest
    assert min(holm([p, p])) > 0.05 >= p
    for cells in (2, 5, 30):
        needed = math.ceil(math.log2(20 * cells))
        assert 0.5**needed * cells <= 0.05 < 0.5 ** (needed - 1) * cells


def test_step_down_reaches_its_smallest_p_in_all_cells_at_once():
    gaps = [{seed: 0.3 + 0.02 * seed * sign for seed in range(5)} for sign in (1, -1, 1, -1)]
    assert step_down([*gaps, dict.fromkeys(range(5), 0.0)], rng()) == [1 / 32] * 4 + [1.0]


def test_step_down_by_hand():
    """Two flips of four bring one of the cells to the first one's sum; three bring the second, alone, to its own."""
    assert step_down([{0: 1.0, 1: 1.0}, {0: 1.0, 1: -1.0}], rng()) == [0.5, 0.75]


def test_step_down_with_seeds_that_are_missing():
    gaps = [{0: 0.3, 1: 0.2, 2: 0.3, 3: 0.3, 4: 0.2}, {0: 0.1, 3: 0.1}]
    assert step_down(gaps, rng())[0] == 1 / 32
    assert step_down(gaps, rng())[1] == 8 / 32


def test_step_down_is_never_below_the_p_of_a_cell_alone():
    few, many = {seed: 1.0 for seed in range(5)}, {seed: (-1.0) ** seed for seed in range(5, 20)}
    p = [step_down([few, many], np.random.default_rng(seed))[0] for seed in range(20)]  # of 2^20 flips some are drawn
    assert min(p) >= 1 / 32


def test_step_down_of_one_cell_is_the_sign_flip_test():
    x = rng(3).normal(0.4, 1, 6)
    assert step_down([dict(enumerate(x))], rng()) == [sign_flip(x, rng()).p]


@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_step_down_keeps_false_findings_below_five_percent(shared):
    """Of four cells, one with a true gap: none of the others is found in more than 5 % of studies."""
    generator, wrong = rng(9), 0
    for _ in range(600):
        x = generator.normal(size=(4, SEEDS)) + shared * generator.normal(size=SEEDS)
        x[0] += 5.0
        p = step_down([dict(enumerate(row)) for row in x], rng())
        wrong += min(p[1:]) <= 0.05
    assert wrong / 600 <= 0.05


def test_equivalence_is_strict_and_needs_an_interval():
    assert equivalent([0.01, -0.01, 0.0, 0.005, -0.005], 0.05) and equivalent([0.0] * 3, 0.05)
    assert not equivalent([0.2, -0.2, 0.1, -0.1, 0.0], 0.05)
    assert not equivalent([0.04] * 4 + [0.06], 0.05)
    assert not equivalent([-0.05] * 5, 0.05) and not equivalent([0.05] * 5, 0.05)
    assert not equivalent([0.0], 0.05) and not equivalent([0.0, 0.0], 0.05)  # two may be equal by chance
    x = np.array([0.01, 0.02, -0.02, 0.06, 0.0])
    low, high = stats.ttest_1samp(x, 0).confidence_interval(0.90)
    margin = (max(-low, high) + max(map(abs, mean(x)[1:]))) / 2
    assert max(-low, high) < margin and not equivalent(x, margin)  # what 5 % each would let pass


def test_equivalence_is_rarely_claimed_of_a_gap_at_the_margin():
    rows = rng(10).normal(0.05, 0.03, size=(1500, SEEDS))
    assert np.mean([equivalent(row, 0.05) for row in rows]) <= 0.04


def levels(*values, spread=0.001):
    return [value + spread * np.arange(-2, 3) for value in values]


def test_trend_in_perfect_order():
    told = trend(levels(0, 1, 2, 3, 4), [0, 0.1, 0.2, 0.3, 0.7], ["a"] * 5, rng())
    assert told.rho == pytest.approx((1, 1, 1)) and told.test == (1 / 120, 1 / 120)
    assert trend(levels(4, 3, 2, 1, 0), range(5), ["a"] * 5, rng()).test.p == 1.0


def test_trend_is_spearmans_with_its_ties():
    gaps, ns = rng(1).normal(size=(6, 5)), [0, 0, 0.1, 0.4, 0.4, 0.6]
    told = trend(list(gaps), ns, ["a"] * 6, rng())
    assert told.rho.value == pytest.approx(stats.spearmanr(gaps.mean(axis=1), ns).statistic)
    chances = [stats.spearmanr(gaps.mean(axis=1), order).statistic for order in set(permutations(ns))]
    assert told.test.p == pytest.approx(np.mean(np.array(chances) >= told.rho.value - 1e-9))


def test_smallest_p_of_a_trend_counts_ties_of_ns():
    assert trend(levels(0, 1, 2, 3), [0, 0, 1, 2], ["a"] * 4, rng()).test.smallest == pytest.approx(2 / 24)


def test_worlds_that_differ_are_no_evidence():
    """All of the correlation is between worlds; within them, the gap falls."""
    gaps, ns = levels(1, 0, 11, 10), [0.1, 0.2, 1.1, 1.2]
    apart = trend(gaps, ns, ["a", "a", "b", "b"], rng())
    assert apart.rho.value > 0.5 and apart.test == (1.0, 1 / 4)
    assert trend(gaps, ns, ["a"] * 4, rng()).test.p < 0.25
    assert trend(gaps, ns, list("abcd"), rng()).test is None


def test_interval_of_a_trend_shows_the_spread_of_seeds():
    sure, unsure = (trend(levels(0, 1, 2, 3, 4, spread=s), range(5), ["a"] * 5, rng()).rho for s in (0.01, 3.0))
    assert sure.low == pytest.approx(1.0) and unsure.low < 0.6


def test_trend_keeps_its_level_and_finds_what_is_there(few_draws):
    generator, found, null = rng(11), [], []
    for _ in range(150):
        noise = generator.normal(size=(10, SEEDS))
        worlds = ["a"] * 5 + ["b"] * 5
        ns = np.tile(np.arange(5), 2)
        null.append(trend(list(noise), ns, worlds, generator).test.p)
        found.append(trend(list(noise + ns[:, None]), ns, worlds, generator).test.p)
    assert np.mean(np.array(null) <= 0.05) <= 0.1
    assert np.mean(np.array(found) <= 0.05) > 0.9


def test_many_orders_are_drawn(few_draws):
    gaps = levels(*range(10))
    test = trend(gaps, range(10), ["a"] * 10, rng()).test
    assert test.p == test.smallest == 1 / 2000
    assert trend(levels(1, 0, 1, 0, 1, 0, 1, 0, 1, 0), range(10), ["a"] * 10, rng()).test.p > 0.3


@pytest.mark.parametrize(
    ("gaps", "ns"), [(levels(0, 1), [0, 1]), (levels(0, 1, 2), [1, 1, 1]), (levels(1, 1, 1), [0, 1, 2])]
)
def test_nothing_to_rank(gaps, ns):
    assert trend(gaps, ns, ["a"] * len(ns), rng()) == (None, None)


def test_a_single_seed_has_no_interval():
    assert mean([0.3]) == (0.3, None, None)
    assert iqm([[0.3], [0.1, 0.2]], rng())[1:] == (None, None)
    assert improvement([1.0], [0.0]) == (1.0, None, None)
    assert sign_flip([0.3], rng()) == (0.5, 0.5)
    told = trend([[0.0], [1.0], [2.0]], [0, 1, 2], ["a"] * 3, rng())
    assert told.rho == pytest.approx((1.0, None, None)) and told.test.p == pytest.approx(1 / 6)


@pytest.mark.parametrize("bad", [[1.0, math.nan], [math.inf], [], [[1.0, 2.0]]])
@pytest.mark.parametrize(
    "function",
    [
        mean,
        holm,
        lambda x: iqm([x], rng()),
        lambda x: improvement(x, [1.0]),
        lambda x: sign_flip(x, rng()),
        lambda x: trend([x] * 3, [0, 1, 2], ["a"] * 3, rng()),
        lambda x: trend(levels(0, 1, 2), x, ["a"] * 3, rng()),
    ],
)
def test_what_is_no_number_is_refused(function, bad):
    with pytest.raises(ValueError, match=r"^expected a list of one or more finite numbers, got [^\n]*$"):
        function(bad)


def test_other_mistakes_are_refused():
    with pytest.raises(ValueError, match="finite"):
        step_down([{0: math.nan}], rng())
    with pytest.raises(ValueError, match="margin above 0"):
        equivalent([0.0, 0.1], 0.0)
    with pytest.raises(ValueError, match="as many"):
        trend(levels(0, 1, 2), [0, 1], ["a"] * 3, rng())
