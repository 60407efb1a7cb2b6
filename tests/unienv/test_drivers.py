"""What the two drivers do beyond the contract of a world: bad calls, and the order of calls."""

import gymnasium as gym
import numpy as np
import pytest

from tests.compare import differ
from unienv.vector import WorldVectorEnv
from unienv.worlds.match import Match

WIDE = 40  # more slots than a printed row holds


def make_vec(num_envs=2, **parameters):
    return gym.make_vec("UniEnv/Match-v0", num_envs, **parameters)


@pytest.mark.parametrize(
    "mask",
    [[True] * WIDE, np.ones(WIDE), np.ones(WIDE - 1, bool), np.ones((WIDE, 1), bool), np.zeros(WIDE, bool), True],
)
def test_bad_masks_are_refused_in_one_line(mask):
    envs = make_vec(WIDE)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"\A.*reset_mask.*\Z"):
        envs.reset(options={"reset_mask": mask})


@pytest.mark.parametrize("actions", [0, [0], [0, 1, 0], [[0], [1]], [0, 2], [-1, 0], [0.0, 1.0], [True, False]])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_bad_actions_are_refused_in_one_line(actions, backend):
    envs = make_vec(backend=backend)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"\A.*action.*\Z"):
        envs.step(actions)


def test_a_python_bool_counts_as_its_integer():
    env, other = (gym.make("UniEnv/Goto-v0").unwrapped for _ in range(2))
    for seed in range(4):
        assert not differ(env.reset(seed=seed), other.reset(seed=seed))
        assert True in env.action_space
        assert not differ(env.step(True), other.step(1))


def test_the_slot_of_a_bad_action_is_named():
    envs = make_vec(3)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"Discrete\(2\), got 7 in slot 1"):
        envs.step([0, 7, 1])


def test_a_refused_action_changes_nothing():
    envs, clean = make_vec(), make_vec()
    assert not differ(envs.reset(seed=0), clean.reset(seed=0))
    with pytest.raises(ValueError):
        envs.step([0, 2])
    assert not differ(envs.step([0, 1]), clean.step([0, 1]))


def test_seeds_are_one_a_slot_and_not_negative():
    envs = make_vec()
    with pytest.raises(ValueError, match=r"\A.*2 in all, got 3\Z"):
        envs.reset(seed=[1, 2, 3])
    for seed in (-1, [1, -1], "7", [1, "a"], 1.5):
        with pytest.raises(gym.error.Error):
            envs.reset(seed=seed)
    assert not differ(envs.reset(seed=np.int64(7)), make_vec().reset(seed=7))
    one, other = (gym.make("UniEnv/Match-v0").reset(seed=seed)[0] for seed in (np.int64(7), 7))
    assert all(np.array_equal(one[key], other[key]) for key in other)


@pytest.mark.parametrize("call", ["oracle", "snapshot"])
def test_calls_that_need_a_reset_say_so(call):
    with pytest.raises(gym.error.ResetNeeded):
        getattr(make_vec(), call)()


def test_the_first_reset_is_of_all_slots():
    with pytest.raises(gym.error.ResetNeeded):
        make_vec().reset(options={"reset_mask": np.array([True, False])})
    with pytest.raises(gym.error.ResetNeeded):
        make_vec().step([0, 1])
    env = gym.make("UniEnv/Match-v0", render_mode="ansi").unwrapped
    for call in (lambda: env.step(0), env.render, env.oracle):
        with pytest.raises(gym.error.ResetNeeded):
            call()


def test_without_autoreset_ended_slots_are_named():
    envs = make_vec(3, autoreset_mode="Disabled")
    envs.reset(seed=0)
    envs.step([0, 0, 0])
    envs.reset(options={"reset_mask": np.array([False, True, False])})
    with pytest.raises(gym.error.ResetNeeded, match=r"\[0, 2\]"):
        envs.step([0, 0, 0])


def test_seeds_as_a_list_are_seeds_of_slots():
    envs, listed = make_vec(3), make_vec(3)
    assert not differ(envs.reset(seed=7), listed.reset(seed=[7, 8, 9]))


def test_without_a_seed_two_environments_differ():
    first, second = (make_vec(64).reset()[0]["image"] for _ in range(2))
    assert not np.array_equal(first, second)


def test_no_render_mode_draws_nothing():
    envs = make_vec()
    envs.reset(seed=0)
    assert envs.render() is None
    assert gym.make("UniEnv/Match-v0").unwrapped.render() is None  # before a reset as well


def test_worlds_on_torch_take_their_own_flags_as_a_mask():
    envs = make_vec(3, backend="torch", autoreset_mode="Disabled")
    envs.reset(seed=0)
    *_, terminated, truncated, _ = envs.step([0, 0, 0])
    envs.reset(options={"reset_mask": terminated | truncated})
    envs.step([0, 0, 0])


def test_rules_may_read_their_observation_in_any_way():
    read = []

    class Curious(Match):
        def feedback(self, state, observation, action, keys):
            read.append((sorted(observation), len(observation), observation.get("image").shape, "text" in observation))
            return super().feedback(state, observation, action, keys)

    envs = WorldVectorEnv(Curious(), 2)
    envs.reset(seed=0)
    envs.step([0, 1])
    assert read == [(["image", "text"], 2, (2, 64, 64, 3), True)]
