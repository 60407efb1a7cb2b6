import functools
import pickle
import warnings
from collections import Counter

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from scipy.stats import chi2_contingency, chisquare

from tests.compare import differ, leaves, overlap
from tests.play import play
from tests.unienv.test_adapt import BABYAI, TINY, needs_minigrid
from unienv.adapt import make_env
from unienv.wrappers import FlatActions, FrameStack, MaskModality, ReadableText, ShuffleModality

WRAPPERS = {
    "readable": ReadableText,
    "mask": functools.partial(MaskModality, modality="text"),
    "shuffle": functools.partial(ShuffleModality, modality="image"),
    "stack": functools.partial(FrameStack, frames=3),
    "flat": FlatActions,
}
NAMES = ["goto", "describe", TINY]
MATCH = {"num_colours": 2, "num_shapes": 2}


@pytest.fixture(params=WRAPPERS)
def wrap(request):
    return WRAPPERS[request.param]


def one_line(call, *parts):
    """The call's ValueError, which is one line that holds all parts."""
    with pytest.raises(ValueError) as refused:
        call()
    assert "\n" not in str(refused.value)
    assert all(part in str(refused.value) for part in parts), refused.value


class Silent(gym.Env):
    """Text of ids that nobody can read, and an action that is no choice."""

    observation_space = spaces.Dict(
        text=spaces.Box(0, 9, (3,), np.int32), image=spaces.Box(0, 255, (8, 8, 3), np.uint8)
    )
    action_space = spaces.Box(-1, 1, (2,))


# All wrappers


@pytest.mark.parametrize("name", NAMES)
def test_gymnasium_finds_no_fault(name, wrap):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped version")
        warnings.filterwarnings("ignore", message=".*No render fps was declared")  # by Tiny
        check_env(wrap(make_env(name, render_mode="rgb_array")))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_returned_lies_in_its_space_and_shares_no_memory(name, wrap):
    env = wrap(make_env(name))
    returned = play(env, 30, seed=0)
    assert all(turn[0] in env.observation_space for turn in returned)
    assert not overlap(leaves(returned))


@pytest.mark.parametrize("name", NAMES)
def test_writing_into_what_was_returned_changes_nothing(name, wrap):
    clean, dirty = wrap(make_env(name)), wrap(make_env(name))
    assert not differ(clean.reset(seed=0), dirty.reset(seed=0))
    for steps in range(1, 9):
        played, scribbled = play(clean, steps), play(dirty, steps)
        assert not differ(played, scribbled)
        for array in leaves(scribbled):
            array.fill(1)


@pytest.mark.parametrize("name", NAMES)
def test_the_spec_makes_it_again(name, wrap):
    env = wrap(make_env(name))
    twin = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert type(twin) is type(env)
    assert not differ(play(env, 30, seed=2), play(twin, 30, seed=2))


@pytest.mark.parametrize("name", NAMES)
def test_a_pickled_copy_continues(name, wrap):
    env = wrap(make_env(name))
    env.reset(seed=1)
    for _ in range(4):
        twin = pickle.loads(pickle.dumps(env))
        assert not differ(play(env, 7), play(twin, 7))


@pytest.mark.parametrize("wrapped", WRAPPERS)
def test_wrapped_environments_in_step(wrapped):
    """Slot i equals the single wrapped environment of seed s + i."""
    envs = gym.make_vec("UniEnv/Goto-v0", 3, "sync", wrappers=[WRAPPERS[wrapped]], horizon=4)
    singles = [WRAPPERS[wrapped](gym.make("UniEnv/Goto-v0", horizon=4)) for _ in range(3)]
    observations, _ = envs.reset(seed=5)
    for slot, env in enumerate(singles):
        assert not differ({key: value[slot] for key, value in observations.items()}, env.reset(seed=5 + slot)[0])
    for _ in range(4):
        observations, *_ = envs.step(np.zeros(3, int))
        for slot, env in enumerate(singles):
            assert not differ({key: value[slot] for key, value in observations.items()}, env.step(0)[0])


def test_they_stack_with_each_other():
    def wrapped():
        env = ShuffleModality(FrameStack(make_env("describe"), 2), "video")
        return FlatActions(ReadableText(MaskModality(env, "image")))

    env = wrapped()
    assert set(env.observation_space.spaces) == {"text", "image", "video"}
    assert not differ(play(env, 20, seed=0), play(wrapped(), 20, seed=0))
    assert all(turn[0] in env.observation_space and not turn[0]["image"].any() for turn in play(env, 20, seed=1))


@pytest.mark.parametrize("wrap", [MaskModality, ShuffleModality])
def test_an_unknown_modality_meets_those_that_are_there(wrap):
    one_line(lambda: wrap(make_env("goto"), "sound"), "UniEnv/Goto-v0", "'sound'", "image, text")
    one_line(lambda: wrap(gym.make("CartPole-v1"), "text"), "CartPole-v1", "Box", "Dict")


# Text


@pytest.mark.parametrize("name", NAMES)
def test_the_text_as_people_read_it(name):
    env, plain = ReadableText(make_env(name)), make_env(name)
    for seed in range(20):
        read, ids = env.reset(seed=seed)[0], plain.reset(seed=seed)[0]
        assert read["text"] == plain.get_wrapper_attr("vocabulary").decode(ids["text"])
        assert not differ(read["image"], ids["image"])


def test_words_by_hand():
    assert ReadableText(make_env(TINY)).reset(seed=3)[0]["text"] == "wait 4 turns , then stop !"


def test_a_text_that_cannot_be_read():
    one_line(lambda: ReadableText(Silent()), "Silent", "vocabulary")
    one_line(lambda: ReadableText(ReadableText(make_env("goto"))), "UniEnv/Goto-v0", "word ids")


# Masks


@pytest.mark.parametrize("modality, other", [("text", "image"), ("image", "text")])
def test_a_mask_hides_one_modality_and_nothing_else(modality, other):
    masked = play(MaskModality(make_env("goto"), modality), 40, seed=4)
    for turn, plain in zip(masked, play(make_env("goto"), 40, seed=4), strict=True):
        assert not differ(turn[0][modality], np.zeros_like(plain[0][modality]))
        assert not differ((turn[0][other], *turn[1:]), (plain[0][other], *plain[1:]))


def test_a_masked_string_is_empty():
    env = MaskModality(ReadableText(make_env("goto")), "text")
    assert env.reset(seed=0)[0]["text"] == "" and env.reset()[0] in env.observation_space


# Shuffles


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("modality, kept", [("text", "image"), ("image", "text")])
def test_all_but_the_lent_modality_is_the_environments_own(name, modality, kept):
    shuffled = play(ShuffleModality(make_env(name), modality), 60, seed=4)
    own = play(make_env(name), 60, seed=4)
    assert not differ([(turn[0][kept], *turn[1:]) for turn in shuffled], [(turn[0][kept], *turn[1:]) for turn in own])
    assert differ([turn[0][modality] for turn in shuffled], [turn[0][modality] for turn in own])


@pytest.mark.parametrize("modality", ["text", "image"])
def test_what_is_lent_is_an_episode_under_the_same_actions(modality):
    env, plain = ShuffleModality(make_env("goto", horizon=12), modality), make_env("goto", horizon=12)
    env.action_space.seed(0)
    ended_early = 0
    for seed in range(20):
        lent, _ = env.reset(seed=seed)
        own, _ = plain.reset(seed=env._other.np_random_seed)
        over = again = False
        while not over:
            assert not differ(lent[modality], own[modality])
            action = env.action_space.sample()
            lent, _, *ends, _ = env.step(action)
            over = any(ends)
            if again:
                own, _ = plain.reset(seed=env._other.np_random_seed)
                again = False
            else:
                own, _, *ends, _ = plain.step(action)
                again = any(ends)
            ended_early += again and not over
        assert not differ(lent[modality], own[modality])
    assert ended_early > 3


def meetings(env, count):
    """Of `count` first observations, how often each sentence (rows) met each kind of picture (columns)."""
    seen = Counter()
    for index in range(count):
        obs, _ = env.reset(seed=0 if index == 0 else None)
        sky = obs["image"][0, 0]
        red, green, _ = (obs["image"] - sky.astype(int)).sum(axis=(0, 1))
        seen[obs["text"].tobytes(), (int(sky[0]), bool(red > green))] += 1
    rows, columns = (sorted({pair[axis] for pair in seen}) for axis in (0, 1))
    return np.array([[seen[row, column] for column in columns] for row in rows])


@pytest.mark.parametrize("modalities", [["text"], ["image"], ["text", "image"], ["image", "text"]])
def test_marginals_are_kept_and_the_coupling_is_gone(modalities):
    plain = meetings(make_env("match", **MATCH, kind="redundant"), 1500)
    env = make_env("match", **MATCH, kind="redundant")
    for modality in modalities:
        env = ShuffleModality(env, modality)
    shuffled = meetings(env, 1500)
    assert plain.shape == shuffled.shape == (8, 4)  # 2 x 2 concepts by 2 times of day; time of day by colour
    assert chi2_contingency(plain).pvalue < 1e-9 and chi2_contingency(shuffled).pvalue > 1e-3
    assert chisquare(shuffled.sum(axis=0)).pvalue > 1e-3 and chisquare(shuffled.sum(axis=1)).pvalue > 1e-3


def test_a_seed_decides_both_episodes_and_neighbours_lend_nothing():
    first, again, other = (play(ShuffleModality(make_env("goto"), "text"), 50, seed=seed) for seed in (3, 3, 4))
    assert not differ(first, again) and differ(first, other)
    lent = ShuffleModality(make_env("goto", size=8), "image")
    plain = make_env("goto", size=8)
    images = {plain.reset(seed=seed)[0]["image"].tobytes() for seed in range(60)}
    assert not images & {lent.reset(seed=seed)[0]["image"].tobytes() for seed in range(60)}


def test_without_a_seed_the_other_episode_is_another_one():
    env = make_env("goto")
    env.reset(seed=0)
    env = ShuffleModality(env, "image")
    images = [env.reset()[0]["image"], env.unwrapped._observe()["image"]]
    assert differ(*images)


@needs_minigrid
def test_missions_of_other_levels():
    env, plain = ShuffleModality(make_env(BABYAI), "text"), make_env(BABYAI)
    met = [(env.reset(seed=seed)[0], plain.reset(seed=seed)[0]) for seed in range(30)]
    assert all(not differ(lent["image"], own["image"]) for lent, own in met)
    assert sum(bool(differ(lent["text"], own["text"])) for lent, own in met) > 15


def test_both_environments_are_closed():
    class Closing(Silent):
        closed = False

        def close(self):
            self.closed = True

    env = ShuffleModality(Closing(), "text")
    env.close()
    assert env.env.closed and env._other.closed


# Frames


def test_frames_by_hand():
    env, plain = FrameStack(make_env("goto"), 3), make_env("goto")
    for seed in range(5):
        images = [plain.reset(seed=seed)[0]["image"]] * 3
        obs, _ = env.reset(seed=seed)
        for action in (1, 3, 2, 4):
            assert not differ(obs["video"], np.stack(images[-3:]))
            assert not differ(obs["image"], images[-1])
            obs, _, terminated, truncated, _ = env.step(action)
            images.append(plain.step(action)[0]["image"])
            if terminated or truncated:
                break
        assert not differ(obs["video"], np.stack(images[-3:]))


def test_frames_that_cannot_be_stacked():
    one_line(lambda: FrameStack(make_env("goto"), 0), "at least 1", "0")
    one_line(lambda: FrameStack(FrameStack(make_env("goto"), 2), 2), "video already")
    one_line(lambda: FrameStack(gym.make("CartPole-v1"), 2), "Dict")


# Actions


def test_named_parts_in_a_row():
    env, plain = FlatActions(make_env("describe")), make_env("describe")
    cells, words = int(plain.action_space["image"].n), plain.action_space["text"].nvec.tolist()
    assert env.action_space == spaces.MultiDiscrete([cells, *words])
    for seed in range(20):
        assert not differ(env.reset(seed=seed), plain.reset(seed=seed))
        row = env.action_space.sample()
        parts = {"image": int(row[0]), "text": row[1:].copy()}
        assert not differ(env.step(row), plain.step(parts))


def test_the_best_action_as_a_row():
    env = FlatActions(make_env("describe"))
    env.reset(seed=0)
    best = env.unwrapped.oracle()
    assert env.step(np.array([best["image"], *best["text"]]))[4]["success"] is True


def test_a_bad_row_is_refused_in_one_line():
    env = FlatActions(make_env("describe"))
    env.reset(seed=0)
    good = env.action_space.sample()
    for row in (good[:1], list(good[:1]), good * 0 - 1, good * 0 + 10**6, good * 0.5, 0.5, None):
        one_line(lambda row=row: env.step(row), "MultiDiscrete")


@pytest.mark.parametrize("space", [spaces.Discrete(3, start=2), spaces.MultiDiscrete([2, 3], start=[1, 0])])
def test_rows_and_single_choices_stay(space):
    class Chosen(Silent):
        action_space = space

        def step(self, action):
            return self.observation_space.sample(), float(action is given), False, False, {}

    env, given = FlatActions(Chosen()), space.sample()
    assert env.action_space is space
    assert env.step(given)[1] == 1.0


def test_what_is_no_choice_is_refused():
    one_line(lambda: FlatActions(Silent()), "Discrete", "Box")
