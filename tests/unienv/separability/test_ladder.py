import itertools
import math

import numpy as np
import pytest

from tests.unienv.separability import toys
from unienv.registry import make_world
from unienv.separability.exact import exact
from unienv.separability.feedback import feedback_nonseparability
from unienv.separability.ladder import ladder, ladder_of_cells


def grid(rows, columns):
    return np.array(list(itertools.product(range(rows), range(columns))))


def has_xor_minor(best):
    """Whether a table of optimal actions holds a 2 x 2 minor with equal diagonal and unequal sides."""
    rows, columns = best.shape
    return any(
        best[i, k] == best[j, n] != best[i, n] == best[j, k]
        for i, j in itertools.combinations(range(rows), 2)
        for k, n in itertools.combinations(range(columns), 2)
    )


@pytest.mark.parametrize("num_colours, num_shapes", [(2, 1), (3, 1), (2, 2)])
def test_match_has_its_analytic_ceilings(num_colours, num_shapes):
    found = ladder(make_world("match", num_colours=num_colours, num_shapes=num_shapes))
    assert found.blind == pytest.approx(0.5)
    assert found.single == pytest.approx((0.5, 0.5))
    assert found.late == pytest.approx(0.75) and found.certified
    assert found.joint == pytest.approx(1.0)
    assert found.gap == pytest.approx(0.25)


def test_controls_have_no_gap():
    for kind in ("text", "image", "redundant", "additive"):
        found = ladder(make_world("match", kind=kind, num_colours=2, num_shapes=1))
        assert found.certified and found.gap == pytest.approx(0.0, abs=1e-9), kind
    assert ladder(make_world("match", kind="text", num_colours=2, num_shapes=1)).single == pytest.approx((1.0, 0.5))


def test_a_sum_of_scores_suffices_for_and():
    found = ladder(toys.Both())
    assert found.single == pytest.approx((0.75, 0.75))
    assert found.late == found.joint == pytest.approx(1.0)


def test_pictures_of_several_steps_are_told_apart_when_steps_are_pooled():
    found = ladder(toys.Gallery())
    assert found.steps == 2 and found.single == pytest.approx((0.5, 1.0))
    assert found.late == found.joint == pytest.approx(1.0)


def test_who_does_not_know_the_step_can_lose_where_each_step_by_itself_is_separable():
    told, found = exact(toys.Turning()), ladder(toys.Turning())
    assert told.total("signal", "nonseparability") == pytest.approx(0.0, abs=1e-12)
    assert told.conditioning == "the present observation and the action, each step by itself"
    assert found.certified and found.late == pytest.approx(0.75) and found.gap == pytest.approx(0.25)


def test_ferrers_two_actions_have_a_gap_iff_the_best_actions_hold_an_xor():
    generator, seen = np.random.default_rng(0), set()
    for _ in range(60):
        values = generator.uniform(size=(3, 3, 2))
        found = ladder_of_cells(grid(3, 3), values.reshape(9, 2) / 9)
        crossed = has_xor_minor(values.argmax(axis=2))
        assert found.certified
        assert (found.gap > 1e-6) == crossed
        seen.add(crossed)
    assert seen == {True, False}


def late_by_search(values, generator):
    """Best late fusion of a 2 x 2 table by trying many scores: every pattern of winners is an open cone of them."""
    f, g = generator.normal(size=(2, 50_000, 2, values.shape[2]))
    best = (f[:, :, None] + g[:, None]).argmax(axis=3)  # (S, 2, 2)
    return values[[[0, 0], [1, 1]], [[0, 1], [0, 1]], best].sum(axis=(1, 2)).max()


def test_late_fusion_is_the_best_that_a_search_finds():
    generator = np.random.default_rng(1)
    for _ in range(5):
        values = generator.uniform(size=(2, 2, 3)) / 4
        assert ladder_of_cells(grid(2, 2), values.reshape(4, 3)).late == pytest.approx(
            late_by_search(values, generator), abs=1e-9
        )


def test_the_rungs_are_in_order_and_the_gap_is_bounded_by_the_nonseparability():
    """Thm 3: binary reward, uniform actions: GAP <= K sqrt(NS / 2)."""
    generator, gaps = np.random.default_rng(2), []
    for _ in range(40):
        actions = int(generator.integers(2, 4))
        success = generator.uniform(size=(3, 2, actions)) ** 3
        law = generator.dirichlet(np.ones(6)).reshape(3, 2, 1)
        found = ladder_of_cells(grid(3, 2), (law * success).reshape(6, actions))
        rungs = [found.blind, max(found.single), found.late, found.joint]
        assert all(low <= high + 1e-9 for low, high in itertools.pairwise(rungs)) and found.certified
        joint = np.stack([law * (1 - success), law * success], axis=-1) / actions
        nonseparability = feedback_nonseparability(joint).nonseparability
        assert found.gap <= actions * math.sqrt(nonseparability / 2) + 1e-9
        gaps.append(found.gap)
    assert max(gaps) > 0.01


def test_no_nonseparability_no_gap_on_a_world():
    world = make_world("match", kind="additive", num_colours=2, num_shapes=1)
    assert exact(world).total("signal", "nonseparability") == pytest.approx(0.0, abs=1e-9)
    assert ladder(world).gap == pytest.approx(0.0, abs=1e-9)


def test_values_below_zero_are_as_good_as_others():
    values = np.random.default_rng(3).uniform(size=(9, 2)) / 9
    shift = np.random.default_rng(4).uniform(-1, 0, size=(9, 1))
    plain, shifted = ladder_of_cells(grid(3, 3), values), ladder_of_cells(grid(3, 3), values + shift)
    assert shifted.late - shift.sum() == pytest.approx(plain.late, abs=1e-9)
    assert shifted.gap == pytest.approx(plain.gap, abs=1e-9)


def test_three_modalities():
    """Parity of three bits: late fusion can put no more than six of eight cells right."""
    codes = np.array(list(itertools.product(range(2), repeat=3)))
    parity = codes.sum(axis=1) % 2
    values = np.stack([parity == 0, parity == 1], axis=1) / 8
    found = ladder_of_cells(codes, values)
    assert found.single == pytest.approx((0.5, 0.5, 0.5))
    assert found.late == pytest.approx(0.75) and found.certified


def test_a_search_cut_short_says_so():
    found = ladder(make_world("match", num_colours=4, num_shapes=3), seconds=0)
    assert not found.certified
    assert 0.5 <= found.late <= 0.75 + 1e-9 <= found.late_bound + 2e-9
    assert found.late_bound <= found.joint + 1e-9


def test_longer_worlds_pool_their_steps():
    world = make_world("goto", size=3, num_colours=2, num_shapes=2)
    found = ladder(world, horizon=1, seconds=2)
    assert "only step" in found.decision
    assert found.joint > max(found.single) > found.blind - 1e-9
    assert found.late >= max(found.single) - 1e-9


def test_where_nothing_is_earned_nothing_is_lost():
    found = ladder(toys.Idle())
    assert (found.blind, found.late, found.joint, found.gap) == (0.0, 0.0, 0.0, 0.0) and found.certified
