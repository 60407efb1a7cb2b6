"""The contract of a world, as tests. To check a new world, subclass `WorldContract` in a test module:

class TestGoto(WorldContract):
    world_id = "UniEnv/Goto-v0"
    parameters = {"size": 4}
"""

import pickle
import warnings
from collections.abc import Iterator
from itertools import count, islice
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from tests.compare import differ, leaves, overlap
from tests.play import mixed_actions, play, play_vec, stack, turns
from unienv.actions import Actions, row
from unienv.modality import check_modalities
from unienv.signal import SIGNALS

MODES = ["NextStep", "SameStep", "Disabled"]


class WorldContract:
    """What holds for every registered world.

    Attributes:
        world_id: Gymnasium id.
        parameters: the world's own, where the defaults are not meant.
        bad_actions: values outside the action space.
    """

    world_id: str
    parameters: ClassVar[dict[str, Any]] = {}
    bad_actions: ClassVar[list[Any]] = [None, "1", 0.5, np.nan, -1, 10**9, np.eye(3), {}, {"text": 0}]

    def finish(self, env: Any) -> Iterator[Any]:
        """Actions from a start to the end of its episode."""
        while True:
            yield env.oracle()

    def make(self, **more: Any) -> Any:
        """One environment, without wrappers."""
        return gym.make(self.world_id, **{**self.parameters, **more}).unwrapped

    def make_vec(self, num_envs: int = 4, **more: Any) -> Any:
        """N environments."""
        return gym.make_vec(self.world_id, num_envs, **{**self.parameters, **more})

    def make_sync(self, num_envs: int = 4, **more: Any) -> gym.vector.SyncVectorEnv:
        """N environments as Gymnasium itself puts them together."""
        return gym.make_vec(self.world_id, num_envs, "sync", more, **self.parameters)  # type: ignore[return-value]

    # One environment

    @pytest.mark.parametrize("mode", ["rgb_array", "ansi"])
    def test_gymnasium_finds_no_fault(self, mode):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_env(self.make(render_mode=mode))

    def test_observations_are_text_and_pixels(self):
        env = self.make()
        modalities = check_modalities(env.observation_space, self.world_id)
        text, *pixels = modalities.values()
        assert (text.dtype, len(text.shape), text.low.min()) == (np.int32, 1, 0)
        assert text.high.max() < len(env.vocabulary)
        assert pixels and all((box.dtype, box.shape[-1]) == (np.uint8, 3) for box in pixels)
        assert all(turn[0] in env.observation_space for turn in play(env, 60, seed=0))

    def test_equal_seeds_give_equal_episodes(self):
        assert not differ(play(self.make(), 60, seed=5), play(self.make(), 60, seed=5))
        assert differ(play(self.make(), 60, seed=5), play(self.make(), 60, seed=6))

    def test_a_pickled_copy_continues(self):
        env = self.make()
        env.reset(seed=1)
        for _ in range(4):
            twin = pickle.loads(pickle.dumps(env))
            assert not differ(play(env, 7), play(twin, 7))

    def test_spec_survives_json(self):
        env = gym.make(self.world_id, **self.parameters)
        twin = gym.make(EnvSpec.from_json(env.spec.to_json()))
        assert not differ(play(env.unwrapped, 20, seed=2), play(twin.unwrapped, 20, seed=2))

    def test_an_episode_ends_once_by_the_world_or_by_the_horizon(self):
        env = self.make()
        for seed in range(40):
            env.reset(seed=seed)
            env.action_space.seed(seed)
            for step in count(1):
                terminated, truncated = env.step(env.action_space.sample())[2:4]
                assert truncated == (step == env.world.horizon and not terminated)
                if terminated or truncated:
                    break

    def test_the_end_needs_a_reset(self):
        env = self.make()
        with pytest.raises(gym.error.ResetNeeded):
            env.step(env.action_space.sample())
        env.reset(seed=0)
        ends = (any(env.step(action)[2:4]) for action in islice(self.finish(env), 10_000))
        assert any(ends)
        with pytest.raises(gym.error.ResetNeeded):
            env.step(env.action_space.sample())

    def test_what_is_returned_shares_no_memory(self):
        env, dirty = self.make(), self.make()
        returned = leaves([env.reset(seed=3), scribbled := dirty.reset(seed=3)])
        for steps in range(1, 9):
            for array in leaves(scribbled):
                array.fill(1)
            played, scribbled = play(env, steps), play(dirty, steps)
            assert not differ(played, scribbled)
            assert not any(np.shares_memory(one, other) for one in leaves(played) for other in held_by(env))
            returned += leaves([played, scribbled])
        assert not overlap(returned)

    def test_bad_actions_are_refused_in_one_line(self):
        env, envs = self.make(), self.make_vec(2)
        env.reset(seed=0)
        envs.reset(seed=0)
        for action in [*self.bad_actions, *spoiled(env.action_space)]:
            with pytest.raises(ValueError, match=r"\A.*\Z"):
                env.step(action)
            with pytest.raises(ValueError, match=r"\A.*\Z"):
                envs.step(stack([action, action]) if isinstance(action, dict) else np.asarray([action, action]))

    def test_pictures_change(self):
        env = self.make(render_mode="rgb_array")
        env.reset(seed=0)
        frames = [(play(env, steps), env.render())[1] for steps in range(1, 9)]
        assert all((frame.dtype, frame.ndim, frame.shape[2]) == (np.uint8, 3, 3) for frame in frames)
        assert len({frame.tobytes() for frame in frames}) > 1

    def test_ansi_holds_the_text(self):
        env = self.make(render_mode="ansi")
        for seed in range(8):
            obs, _ = env.reset(seed=seed)
            text = env.vocabulary.decode(obs["text"])
            assert text and text in env.render()

    # N environments

    @pytest.mark.parametrize("mode", MODES)
    def test_lock_step_with_sync_vector_env(self, mode):
        ours = play_vec(self.make_vec(autoreset_mode=mode), 90, seed=3)
        assert not differ(ours, play_vec(self.make_sync(autoreset_mode=mode), 90, seed=3))
        ends = np.array([turn[2] | turn[3] for turn in ours if len(turn) == 5])
        assert ends[0].all() or (ends.any(axis=1) & ~ends.all(axis=1)).any()  # at different times, if there is a choice

    def test_resets_like_sync_vector_env(self):
        ours, theirs = self.make_vec(), self.make_sync()
        mask = np.array([False, True, True, False])
        for seed in (3, None, 8, [5, 6, 7, 8], [9, None, None, 4]):
            for options in ({}, {"reset_mask": mask}) if seed != 3 else ({},):
                given = dict(options)
                assert not differ(ours.reset(seed=seed, options=given), theirs.reset(seed=seed, options=dict(options)))
                assert given == options
                assert not differ(play_vec(ours, 3), play_vec(theirs, 3))

    def test_reset_mask_leaves_the_others_alone(self):
        envs = self.make_vec(autoreset_mode="Disabled")
        before, _ = envs.reset(seed=3)
        after, _ = envs.reset(options={"reset_mask": np.array([True, False, False, True])})
        kept = [all(np.array_equal(before[key][i], after[key][i]) for key in before) for i in range(4)]
        assert kept == [False, True, True, False]

    @pytest.mark.parametrize("num_envs", [1, 2, 7])
    def test_a_slot_is_the_single_environment_whatever_its_neighbours_do(self, num_envs):
        env, envs, slot = self.make(), self.make_vec(num_envs), num_envs - 1
        obs, _ = envs.reset(seed=3)
        assert not differ(env.reset(seed=3 + slot)[0], {key: value[slot] for key, value in obs.items()})
        over = False
        for actions in islice(mixed_actions(envs), 60):
            turn = envs.step(actions)
            alone = (env.reset()[0], 0.0, False, False) if over else env.step(row(actions, slot))[:4]
            assert not differ(alone[0], {key: value[slot] for key, value in turn[0].items()})
            assert alone[1:] == tuple(part[slot] for part in turn[1:4])
            over = alone[2] or alone[3]

    def test_max_episode_steps_truncates(self):
        envs = self.make_vec(8, max_episode_steps=2, autoreset_mode="SameStep")
        age = np.zeros(8)
        for *_, terminated, truncated, _ in play_vec(envs, 12, seed=0)[1:]:
            age += 1
            assert np.array_equal(truncated, (age == 2) & ~terminated)
            age[terminated | truncated] = 0

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("signal", SIGNALS)
    def test_backends_agree_in_every_bit(self, mode, signal):
        ours = self.make_vec(autoreset_mode=mode, signal=signal)
        theirs = self.make_vec(autoreset_mode=mode, signal=signal, backend="torch")
        assert not differ(play_vec(ours, 40, seed=3), play_vec(theirs, 40, seed=3))
        turn = theirs.step(theirs.oracle())
        assert all(isinstance(part, torch.Tensor) for part in (*turn[0].values(), *turn[1:4]))
        assert not differ(turn, ours.step(ours.oracle()))

    @pytest.mark.parametrize("backend", ["numpy", "torch"])
    def test_integer_actions_of_any_width(self, backend):
        expected = play_vec(self.make_vec(backend=backend), 20, seed=3)
        for dtype in (np.uint8, np.int16, np.int32):
            assert not differ(expected, play_vec(self.make_vec(backend=backend), 20, seed=3, dtype=dtype))

    @pytest.mark.parametrize("backend", ["numpy", "torch"])
    @pytest.mark.parametrize("mode", MODES)
    def test_memory_is_fresh(self, mode, backend):
        envs = self.make_vec(24, autoreset_mode=mode, backend=backend)
        returned = []
        for turn in turns(envs, 6, seed=0):
            assert not any(np.shares_memory(one, other) for one in leaves(turn) for other in held_by(envs))
            returned += leaves(turn)
        assert not overlap(returned)

    @pytest.mark.parametrize("mode", MODES)
    def test_writing_into_what_was_returned_changes_nothing(self, mode):
        clean, dirty = (self.make_vec(24, autoreset_mode=mode) for _ in range(2))
        turn, scribbled = clean.reset(seed=3), dirty.reset(seed=3)
        assert not differ(turn, scribbled)
        for actions in islice(mixed_actions(clean), 30):
            for array in leaves(scribbled):
                array.fill(1)
            turn, scribbled = clean.step(actions), dirty.step(actions)
            assert not differ(turn, scribbled)
            over = turn[2] | turn[3]
            if mode == "Disabled" and over.any():
                clean.reset(options={"reset_mask": over})
                dirty.reset(options={"reset_mask": over})

    @pytest.mark.parametrize("backend", ["numpy", "torch"])
    @pytest.mark.parametrize("mode", MODES)
    def test_a_snapshot_continues(self, mode, backend):
        envs, other = self.make_vec(autoreset_mode=mode), self.make_vec(autoreset_mode=mode, backend=backend)
        obs, _ = envs.reset(seed=3)
        for _ in range(6):
            snapshot = envs.snapshot()
            kept = pickle.loads(pickle.dumps(snapshot))
            future = play_vec(envs, 12)
            assert not differ(other.restore(snapshot), obs)
            assert not differ(play_vec(other, 12), future)
            assert not differ(envs.restore(snapshot), obs)
            obs = play_vec(envs, 1)[-1][0]
            assert not differ(snapshot, kept)

    @pytest.mark.parametrize("mode", ["rgb_array", "ansi"])
    def test_render_gives_a_frame_a_slot(self, mode):
        envs, env = self.make_vec(3, render_mode=mode), self.make(render_mode=mode)
        with pytest.raises(gym.error.ResetNeeded):
            envs.render()
        envs.reset(seed=3)
        frames = envs.render()
        assert len(frames) == 3
        for slot, frame in enumerate(frames):
            env.reset(seed=3 + slot)
            assert not differ(frame, env.render())

    def test_oracle_beats_chance(self):
        def success_rate(act):
            envs.reset(seed=0)
            played = [envs.step(act()) for _ in range(100)]
            return sum(np.sum(t[4].get("success", 0)) for t in played) / sum((t[2] | t[3]).sum() for t in played)

        envs = self.make_vec(64)
        envs.action_space.seed(0)
        assert success_rate(envs.oracle) > success_rate(envs.action_space.sample)

    @pytest.mark.parametrize("signal", SIGNALS)
    def test_signals_lie_in_their_range(self, signal):
        env = self.make(signal=signal)
        for seed in range(30):
            env.reset(seed=seed)
            env.action_space.seed(seed)
            best, action = env.oracle(), env.action_space.sample()
            assert best in env.action_space
            _, value, _, _, info = env.step(action)
            assert (-1.0 if signal == "preference" else 0.0) <= value <= 1.0
            if signal == "label":
                assert not differ(info["label"], best)
                assert value == float(same(action, best))
            if signal == "preference":
                assert info["alternative"] in env.action_space
                assert value == 0.0 or not same(action, info["alternative"])


def same(action: Any, other: Any) -> bool:
    """Whether two actions are equal in all their parts."""
    if isinstance(action, dict):
        return all(same(action[key], other[key]) for key in action)
    return np.array_equal(action, other)


def spoiled(space: gym.Space) -> Iterator[Any]:
    """Actions that are wrong in their last part alone."""
    actions = Actions(space)
    good = np.zeros((1, len(actions.nvec)), np.int64)
    for wrong in (-1, actions.nvec[-1]):
        columns = good.copy()
        columns[0, -1] = wrong
        yield row(actions.join(columns), 0)


def held_by(env: Any) -> list[np.ndarray]:
    """State, clocks and the world's tables."""
    return leaves([vars(env), vars(env.world), vars(env._loop)])
