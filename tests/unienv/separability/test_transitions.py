import importlib.util
import re

import gymnasium as gym
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from unienv.adapt import make_vector
from unienv.separability import parquet
from unienv.separability.transitions import Distinct, Transitions, record
from unienv.worlds.match import Match

needs_minigrid = pytest.mark.skipif(not importlib.util.find_spec("minigrid"), reason="minigrid is not installed")


class Steps(gym.Env):
    """Observes how many steps were taken; the third ends the episode, rewards are what it is told."""

    def __init__(self, rewards=(0.0, 0.0, 1.0)):
        self.observation_space = spaces.Dict(clock=spaces.Box(0, 3, (1,), np.int64), text=spaces.Box(0, 3, (2,)))
        self.action_space, self.rewards = spaces.Discrete(2, start=5), rewards

    def observe(self):
        return {"clock": np.array([self.taken]), "text": np.full(2, self.taken, np.float32)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.taken = 0
        return self.observe(), {}

    def step(self, action):
        assert self.action_space.contains(np.int64(action))
        self.taken += 1
        return self.observe(), self.rewards[self.taken - 1], self.taken == 3, False, {}


def steps(mode=AutoresetMode.SAME_STEP, num_envs=2, **parameters):
    return SyncVectorEnv([lambda: Steps(**parameters)] * num_envs, autoreset_mode=mode)


def values(transitions, name):
    seen = transitions.observation[name]
    return seen.items[seen.which]


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_rows_are_what_was_seen_before_the_step_and_what_came_of_it(mode):
    played = record(steps(mode), 18)
    assert played.names == ("reward 0, goes on", "reward 1, ends")
    clock = values(played, "clock")[:, 0]
    assert (values(played, "text") == clock[:, None]).all()
    assert (played.feedback == (clock == 2)).all()
    assert set(played.action) == {0, 1}
    for episode in np.unique(played.episode):
        mine = clock[played.episode == episode]
        assert mine.tolist() == list(range(len(mine)))
    assert len(played) == 18 and len(np.unique(played.episode)) == 6


def test_equal_seeds_play_equally_and_others_do_not():
    first, again, other = (record(make_vector("match", 8), 40, seed=s) for s in (3, 3, 4))
    assert (first.action == again.action).all() and (values(first, "image") == values(again, "image")).all()
    assert (first.action != other.action).any()


def test_match_is_recorded_with_each_picture_once():
    played = record(make_vector("match", 64), 1000)
    assert set(played.modalities) == {"text", "image"}
    assert played.names == ("reward 0, ends", "reward 1, ends")
    assert len(np.unique(played.episode)) == 1000
    pictures, words = played.observation["image"].items, played.observation["text"].items
    assert pictures.shape[1:] == (64, 64, 3) and pictures.dtype == np.uint8 and len(pictures) <= 288
    assert len(np.unique(pictures.reshape(len(pictures), -1), axis=0)) == len(pictures)
    assert words.shape == (32, 8)


def test_a_policy_of_the_users_own_is_asked():
    world = Match()

    def by_word(seen):
        return (seen["text"][:, -2] == world.vocabulary.id("day")).astype(int)

    played = record(make_vector("match", 16), 100, by_word)
    assert (played.action == (values(played, "text")[:, -2] == world.vocabulary.id("day"))).all()
    assert 0 < played.action.mean() < 1


@pytest.mark.parametrize(
    "rewards, names",
    [
        ((-2, 0, 3), ["reward -2, goes on", "reward 0, goes on", "reward 3, ends"]),
        ((1000000.25, 0, 1000000.5), ["reward 0, goes on", "reward 1000000.25, goes on", "reward 1000000.5, ends"]),
    ],
)
def test_few_rewards_stand_as_they_are(rewards, names):
    assert list(record(steps(rewards=rewards), 30).names) == names


def test_of_many_rewards_only_the_sign_stays():
    class Drifts(Steps):
        def step(self, action):
            observation, _, *rest = super().step(action)
            return observation, float(self.np_random.normal()) * (self.taken > 1), *rest

    played = record(SyncVectorEnv([Drifts] * 2, autoreset_mode=AutoresetMode.SAME_STEP), 60)
    assert set(played.names) == {
        "reward = 0, goes on",
        "reward < 0, goes on",
        "reward > 0, goes on",
        "reward < 0, ends",
        "reward > 0, ends",
    }
    assert (
        (values(played, "clock")[:, 0] == 0) == (played.feedback == played.names.index("reward = 0, goes on"))
    ).all()


@needs_minigrid
def test_a_minigrid_level_is_recorded():
    played = record(make_vector("BabyAI-GoToLocal-v0", 4), 200)
    assert len(played) == 200 and set(played.modalities) == {"text", "image"}
    assert values(played, "image").shape == (200, 56, 56, 3)
    assert "reward 0, goes on" in played.names or "reward = 0, goes on" in played.names
    assert 4 <= len(np.unique(played.episode)) < 200


def test_what_is_saved_is_loaded(tmp_path):
    played = record(make_vector("match", 8), 50)
    played.save(tmp_path / "played.npz")
    loaded = Transitions.load(tmp_path / "played.npz")
    assert loaded.names == played.names and loaded.modalities == played.modalities
    for name in played.modalities:
        assert values(loaded, name).dtype == values(played, name).dtype
        assert (values(loaded, name) == values(played, name)).all()
    for field in ("action", "feedback", "episode"):
        assert (getattr(loaded, field) == getattr(played, field)).all()


def test_another_file_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="no transitions"):
        Transitions.load(tmp_path / "other.npz")


def test_values_are_kept_once_however_they_are_given():
    rows = np.array([[1, 2], [3, 4], [1, 2], [3, 4]])
    plain = Transitions({"m": rows}, np.zeros(4, int), np.zeros(4, int))
    doubled = Transitions({"m": Distinct(rows, np.array([2, 1, 0, 3]))}, np.zeros(4, int), np.zeros(4, int))
    unused = Transitions({"m": Distinct(rows[:2], np.zeros(4, int))}, np.zeros(4, int), np.zeros(4, int))
    assert len(plain.observation["m"].items) == len(doubled.observation["m"].items) == 2
    assert (values(plain, "m") == rows).all() and (values(doubled, "m") == rows[[2, 1, 0, 3]]).all()
    assert unused.observation["m"].items.tolist() == [[1, 2]]


def test_zero_has_no_sign(tmp_path):
    """Values are told apart by their bytes, and a sign that nobody sees would say something."""
    zeros = Transitions({"m": np.array([[0.0, 1], [-0.0, 1]])}, np.zeros(2, int), np.zeros(2, int))
    assert len(zeros.observation["m"].items) == 1
    table = {"m": [[0.0], [-0.0]], "n": [0.0, -0.0], "action": [0, 0], "feedback": [0, 0]}
    pq.write_table(pa.table(table), tmp_path / "zeros.parquet")
    (rows,) = parquet.read(tmp_path / "zeros.parquet")
    assert len(np.unique(rows.cells, axis=0)) == 1


def test_selection_keeps_order_and_codes():
    data = Transitions({"m": np.arange(5) * 10}, np.arange(5), [0, 1, 2, 1, 0], [7, 7, 8, 8, 9], names="abc")
    chosen = data.select(np.array([3, 0]))
    assert values(chosen, "m").tolist() == [30, 0] and chosen.action.tolist() == [3, 0]
    assert chosen.feedback.tolist() == [1, 0] and chosen.episode.tolist() == [8, 7] and chosen.names == ("a", "b", "c")


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"action": [0.5, 1, 1]}, "action must be integers"),
        ({"action": []}, "n at least 1"),
        ({"feedback": [0, 1]}, r"feedback must be integers of shape \(3,\)"),
        ({"feedback": [0, -1, 0]}, "feedback must lie in"),
        ({"feedback": [0, 2, 0], "names": ["a", "b"]}, r"feedback must lie in \[0, 2\)"),
        ({"names": ["no", "no"]}, "names of feedback must differ from each other, got no, no"),
        ({"episode": [[0], [0], [0]]}, "episode must be integers"),
        ({"observation": {}}, "at least one modality"),
        ({"observation": {"m": [1, 2]}}, "m must be numbers"),
        ({"observation": {"m": ["a", "b", "c"]}}, "m must be numbers"),
        ({"observation": {"m": [0.0, np.nan, 1.0]}}, "m must be finite"),
        ({"observation": {"m": Distinct(np.zeros((2, 1)), np.array([0, 1, 2]))}}, "m has 2 items"),
    ],
)
def test_bad_arrays_are_refused_in_one_line(wrong, told):
    good = {"observation": {"m": [1, 2, 3]}, "action": [0, 1, 0], "feedback": [0, 1, 0]}
    Transitions(**good)
    with pytest.raises(ValueError, match=told) as raised:
        Transitions(**(good | wrong))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "mode, arguments, told",
    [
        (AutoresetMode.DISABLED, (9,), "DISABLED"),
        (AutoresetMode.SAME_STEP, (0,), "steps must be at least 1"),
        (AutoresetMode.SAME_STEP, (9, "greedy"), re.escape("'uniform' or a function")),
    ],
)
def test_bad_recordings_are_refused(mode, arguments, told):
    with pytest.raises(ValueError, match=told):
        record(steps(mode), *arguments)


def test_codes_without_end_and_names_that_break_lines_are_told_in_one_line():
    with pytest.raises(ValueError, match=r"\Afeedback without names must lie in \[0, 65536\), got 1000000000000; .*\Z"):
        Transitions({"a": [1, 2]}, [0, 1], [0, 10**12])
    with pytest.raises(ValueError, match=r"\Anames of modalities must be printable, got 'a\\nb'\Z"):
        Transitions({"a\nb": [1, 2]}, [0, 1], [0, 1])
