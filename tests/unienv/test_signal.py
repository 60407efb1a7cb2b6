import numpy as np
import pytest
from scipy.stats import chisquare

from unienv.rng import Keys, slots, streams
from unienv.signal import SIGNALS, make_signal
from unienv.worlds.goto import Goto
from unienv.worlds.match import Match

N = 5000


def turn(world, seed=0):
    """A state, its observation, uniform actions, their feedback and the keys of N worlds' first step."""
    slot = slots(np.arange(N))
    stream = streams(slot, slot * 0)
    state = world.initial(Keys(np, stream, slot * 0))
    observation, keys = world.observe(state), Keys(np, stream, slot * 0 + 1)
    action = np.random.default_rng(seed).integers(world.action_space.n, size=N)
    return state, observation, action, world.feedback(state, observation, action, keys), keys


def test_reward_is_the_worlds_reward():
    world = Match(kind="additive", coupling=0.5)
    state, observation, action, feedback, keys = turn(world)
    verdict = world.signal(state, observation, action, feedback, keys)
    assert verdict.supervision == {}
    assert np.array_equal(verdict.value, feedback["success"].astype(float))
    assert set(verdict.value) == {0.0, 1.0}


@pytest.mark.parametrize("world", [Match(signal="label"), Goto(size=3, signal="label")])
def test_label_names_the_oracles_action_whatever_came_of_it(world):
    state, observation, action, feedback, keys = turn(world)
    value, told = world.signal(state, observation, action, feedback, keys)
    assert list(told) == ["label"]
    assert np.array_equal(told["label"], world.oracle(state))
    assert np.array_equal(value, (action == world.oracle(state)).astype(float))
    nothing = {"success": feedback["success"] & False}
    assert np.array_equal(world.signal(state, observation, action, nothing, keys).value, value)


@pytest.mark.parametrize("coupling", [0.0, 0.5, 1.0])
def test_preference_in_match_says_who_was_right(coupling):
    world = Match("additive", coupling, signal="preference")
    state, observation, action, feedback, keys = turn(world)
    value, told = world.signal(state, observation, action, feedback, keys)
    same = told["alternative"] == action
    assert same.any() and not same.all()
    right = 2.0 * feedback["success"] - 1.0  # of two answers exactly one is
    assert np.array_equal(value, np.where(same, 0.0, right))


def test_preference_is_antisymmetric():
    world = Goto(size=3, signal="preference")
    state, observation, action, feedback, keys = turn(world)
    value, told = world.signal(state, observation, action, feedback, keys)
    other = told["alternative"]
    counterfactual = world.feedback(state, observation, other, keys)
    mine, theirs = (world.reward(state, observation, *pair) for pair in ((action, feedback), (other, counterfactual)))
    assert set(value) == {-1.0, 0.0, 1.0}
    assert np.array_equal(value > 0, mine > theirs) and np.array_equal(value < 0, mine < theirs)


def test_alternatives_are_uniform_and_apart_from_the_worlds_own_draws():
    world = Goto(signal="preference")
    state, observation, action, feedback, keys = turn(world)
    other = world.signal(state, observation, action, feedback, keys).supervision["alternative"]
    assert chisquare(np.bincount(other, minlength=5)).pvalue > 1e-3
    assert chisquare(np.bincount(other * 5 + action, minlength=25)).pvalue > 1e-3
    assert chisquare(np.bincount(other * 4 + state.goal, minlength=20)).pvalue > 1e-3


@pytest.mark.parametrize("name, near", [("lable", "label"), ("rewards", "reward"), ("pref", "preference")])
def test_misspelt_signals_meet_the_nearest_one(name, near):
    with pytest.raises(ValueError, match=rf"\A.*{', '.join(SIGNALS)}.*'{name}'.*'{near}'.*\Z"):
        make_signal(name, Match())
