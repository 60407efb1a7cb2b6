import numpy as np
import pytest

from tests.unienv.separability import toys
from unienv.registry import make_world
from unienv.rng import Keys
from unienv.separability.draws import NotEnumerable, branch
from unienv.separability.enumeration import enumerate_world

LIMIT = 10_000


def outcomes(function):
    """Every outcome of one row's draws with its probability, equal ones added up."""
    _, weights, values = branch(lambda keys, rows: function(keys), 1, LIMIT)
    law = {}
    for weight, value in zip(weights, np.asarray(values).tolist(), strict=True):
        key = tuple(value) if isinstance(value, list) else value
        law[key] = law.get(key, 0.0) + weight
    return law


def test_integers_are_all_combinations():
    assert outcomes(lambda keys: keys.integers(0, [2, 3])) == {(a, b): 1 / 6 for a in range(2) for b in range(3)}


def test_a_coin_has_its_two_sides_and_a_certain_one_has_one():
    assert outcomes(lambda keys: keys.bernoulli(0, 0.25)) == {True: 0.25, False: 0.75}
    assert outcomes(lambda keys: keys.bernoulli(0, 1.0)) == {True: 1.0}
    assert outcomes(lambda keys: keys.bernoulli(0, 0.0)) == {False: 1.0}


def test_permutations_are_cut_to_what_is_asked_for():
    law = outcomes(lambda keys: keys.permutation(0, 4, 2))
    assert law == pytest.approx({(a, b): 1 / 12 for a in range(4) for b in range(4) if a != b})


def test_equal_salts_are_one_draw_and_different_ones_are_independent():
    assert outcomes(lambda keys: keys.integers(0, [2]) + keys.integers(0, [2])) == {(0,): 0.5, (2,): 0.5}
    law = outcomes(lambda keys: keys.integers(0, [2]) + keys.integers(1, [2]))
    assert law == pytest.approx({(0,): 0.25, (1,): 0.5, (2,): 0.25})


def test_one_coin_for_two_thresholds():
    """As in `unienv.rng.Keys`, whose bernoulli compares one uniform number with each."""
    law = outcomes(lambda keys: np.stack([keys.bernoulli(0, 0.3), keys.bernoulli(0, 0.6)], axis=1))
    assert law == pytest.approx({(True, True): 0.3, (False, True): 0.3, (False, False): 0.4})


def test_a_draw_may_depend_on_an_earlier_one():
    law = outcomes(lambda keys: keys.bernoulli(1, np.where(keys.bernoulli(0, 0.5), 0.8, 0.1)))
    assert law == pytest.approx({True: 0.45, False: 0.55})


def test_more_outcomes_than_the_limit_are_refused_in_one_line():
    with pytest.raises(NotEnumerable, match=r"^more than 99 outcomes.*smaller version$"):
        branch(lambda keys, rows: keys.integers(0, [10, 10]), 1, 99)


def kernel_law(kernel, steps, actions):
    """Law of (feedback codes and observation codes) along fixed actions."""
    law = {((), s): p for s, p in enumerate(kernel.initial) if p}
    for action in actions[:steps]:
        after = {}
        for (seen, s), p in law.items():
            for e in np.flatnonzero((kernel.source == s) & (kernel.action == action)):
                told = (*seen, kernel.feedback_names[kernel.feedback[e]], tuple(kernel.codes[s].tolist()))
                after[told, kernel.target[e]] = after.get((told, kernel.target[e]), 0.0) + p * kernel.probability[e]
        law = after
    total = {}
    for (seen, _), p in law.items():
        total[seen] = total.get(seen, 0.0) + p
    return total


def test_a_stochastic_world_has_the_law_of_its_samples():
    """Frequencies of whole episodes under fixed actions, against the enumerated law."""
    world, actions, count = toys.Drift(), [1, 0, 1], 40_000
    kernel = enumerate_world(world)
    assert kernel.initial.sum() == pytest.approx(1.0)
    out = np.bincount(kernel.source * 2 + kernel.action, kernel.probability)
    assert out[out > 0] == pytest.approx(1.0)
    expected = kernel_law(kernel, 3, actions)
    stream, step = np.random.default_rng(0).integers(-(2**63), 2**63, count), np.zeros(count, np.int64)
    state, seen = world.initial(Keys(np, stream, step)), [()] * count
    for t, action in enumerate(actions):
        keys, taken = Keys(np, stream, step + t + 1), np.full(count, action)
        feedback = world.feedback(state, {}, taken, keys)
        rows = zip(seen, feedback["success"], state.text, state.image, strict=True)
        seen = [(*s, int(f), (int(a), int(b))) for s, f, a, b in rows]
        state = world.transition(state, {}, taken, feedback, keys)
    codes = {tuple(kernel.codes[s].tolist()): None for s in range(len(kernel.codes))}
    assert len(codes) == 4
    sampled = {}
    for s in seen:
        sampled[s] = sampled.get(s, 0) + 1 / count
    expected = sorted(expected.values(), reverse=True)
    observed = sorted(sampled.values(), reverse=True)
    assert len(observed) <= len(expected)
    assert np.allclose(observed[:20], expected[:20], atol=0.002)


def test_terminal_states_are_not_left_and_the_horizon_is_kept():
    kernel = enumerate_world(toys.Recall())
    assert not kernel.terminal[kernel.source].any()
    assert kernel.terminal.any()
    assert len(enumerate_world(toys.Endless(), horizon=3).initial) == 8 * 4


def test_preference_is_counted_with_its_alternative():
    """r(1) > r(0) with chance 0.3 (one coin); the alternative equals the action half the time."""
    kernel = enumerate_world(toys.Shared(signal="preference"))
    mine = kernel.action == 1
    law = {v: kernel.probability[mine & (kernel.signal == v)].sum() / 8 for v in (-1.0, 0.0, 1.0)}
    assert law == pytest.approx({-1.0: 0.0, 0.0: 0.85, 1.0: 0.15})


def test_equal_observations_have_equal_codes():
    world = make_world("match", num_colours=2, num_shapes=2)
    kernel = enumerate_world(world)
    assert kernel.codes.max(axis=0).tolist() == [8 - 1, 8 * 9 - 1]
    assert kernel.modalities == ("text", "image")


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: enumerate_world(toys.Continuous()), "keys.uniform, which can't be counted"),
        (lambda: enumerate_world(toys.Clock()), "keys.step, which can't be counted"),
        (lambda: enumerate_world(toys.Careless()), "two different draws from salt 1"),
        (lambda: enumerate_world(toys.Endless(), limit=1000), "more than 1,000 states"),
        (lambda: enumerate_world(make_world("goto")), "smaller version"),
        (lambda: enumerate_world(make_world("match", backend="torch")), "backend='numpy', got 'torch'"),
    ],
)
def test_what_cannot_be_counted_is_told_in_one_line(make, match):
    with pytest.raises(ValueError, match=match) as told:
        make()
    assert "\n" not in str(told.value)
