import functools
import importlib.util
import string
import sys
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from unienv.adapt import BUCKETS, Adapted, make_env, make_vector, split_words
from unienv.modality import Vocabulary, check_modalities
from unienv.registry import register
from unienv.worlds.match import Match

BABYAI = "BabyAI-GoToLocal-v0"
TINY = f"{__name__}:Tiny-v0"
needs_minigrid = pytest.mark.skipif(not importlib.util.find_spec("minigrid"), reason="minigrid is not installed")


class Tiny(gym.Env):
    """Counts down from 1..4, saying and drawing (always into the same array) what is left; action 1 ends in success."""

    metadata: ClassVar = {"render_modes": ["rgb_array"]}

    def __init__(self, reports=None, render_mode=None):
        text = spaces.Text(40, charset=string.printable)
        self.observation_space = spaces.Dict(instruction=text, camera=pixels(4, 5, 1), noise=spaces.Box(0, 1, (2,)))
        self.action_space = spaces.Discrete(2)
        self.reports, self.render_mode, self.canvas = reports, render_mode, np.zeros((4, 5, 1), np.uint8)

    def observe(self):
        self.canvas[:] = self.left + 1
        return {"instruction": f"Wait {self.left} turns, then STOP!", "camera": self.canvas, "noise": np.zeros(2)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(1, 5))
        return self.observe(), {}

    def step(self, action):
        self.left -= 1
        info = {self.reports: np.bool_(False)} if self.reports else {}
        return self.observe(), float(action), self.left == 0, False, info

    def render(self):
        return np.repeat(self.canvas, 3, -1)


class Observing(gym.Env):
    """Observes samples of whatever space it is given."""

    def __init__(self, space, vocabulary=None):
        self.observation_space, self.action_space, self.vocabulary = space, spaces.Discrete(2), vocabulary

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}


class Watching(Tiny):
    """Observes what it renders."""

    def observe(self):
        return {**super().observe(), "camera": self.render()[..., :1]}

    def render(self):
        return super().render() if self.render_mode == "rgb_array" else None


class Plain(Match):
    """A world that knows no backend."""

    def __init__(self, kind="joint"):
        super().__init__(kind)


def pixels(*shape):
    return spaces.Box(0, 255, shape, np.uint8)


# Gymnasium's checker warns of the array that Tiny draws into, which is what some of these tests are about.
gym.register("Tiny-v0", entry_point=f"{__name__}:Tiny", disable_env_checker=True)
gym.register("Observing-v0", entry_point=f"{__name__}:Observing")


def error_of(call, *arguments, **parameters):
    with pytest.raises(ValueError) as raised:
        call(*arguments, **parameters)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def assert_equal(one, two, slot=...):
    assert one.keys() == two.keys()
    for key in one:
        np.testing.assert_array_equal(one[key][slot], two[key])


@needs_minigrid
def test_babyai_missions_and_pixels(capsys):
    env, own, printed, images = make_env(BABYAI), gym.make(BABYAI), "", set()
    assert [box.shape for box in check_modalities(env.observation_space, BABYAI).values()] == [(8,), (56, 56, 3)]
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        assert capsys.readouterr().out == ""
        mission = own.reset(seed=seed)[0]["mission"].lower()
        printed += capsys.readouterr().out
        assert env.observation_space.contains(observation)
        assert env.get_wrapper_attr("vocabulary").decode(observation["text"]) == mission
        assert (env.step(0)[0]["image"] != observation["image"]).any()  # turned left
        images.add(observation["image"].tobytes())
    assert len(images) > 15  # some face the same bare wall
    assert printed  # by BabyAI itself


@needs_minigrid
def test_minigrid_grammar_rendering_and_parameters():
    env = make_env("MiniGrid-Fetch-5x5-N2-v0", render_mode="rgb_array")
    assert {"get", "fetch", "must", "purple", "key", "ball"} <= set(env.get_wrapper_attr("vocabulary").words)
    env.reset(seed=0)
    assert env.render().ndim == 3
    message = error_of(make_env, BABYAI, rooms=3)
    assert message.startswith(f"{BABYAI} has no parameter 'rooms'; it takes room_size, num_dists")


@needs_minigrid
def test_babyai_success_is_reward_at_the_end():
    env = make_env("BabyAI-GoToRedBallNoDists-v0")
    env.action_space.seed(0)
    successes = set()
    for seed in range(12):
        env.reset(seed=seed)
        over = False
        while not over:
            _, reward, terminated, truncated, info = env.step(env.action_space.sample() % 3)  # turn or walk
            over = terminated or truncated
            assert info["success"] is (reward > 0)
        successes.add(info["success"])
    assert successes == {True, False}


@pytest.mark.parametrize("name", [pytest.param(BABYAI, marks=needs_minigrid), TINY])
def test_slot_i_equals_the_environment_of_seed_s_plus_i(name):
    vector, singles = make_vector(name, 3), [make_env(name) for _ in range(3)]
    assert vector.vocabulary.words == singles[0].get_wrapper_attr("vocabulary").words
    observations, _ = vector.reset(seed=5)
    for slot, env in enumerate(singles):
        assert_equal(observations, env.reset(seed=5 + slot)[0], slot)
    vector.action_space.seed(0)
    ended = []
    for _ in range(150):
        actions = vector.action_space.sample()
        observations, rewards, terminations, truncations, info = vector.step(actions)
        for slot, env in enumerate(singles):
            observation, reward, terminated, truncated, own = env.step(actions[slot])
            assert (reward, terminated, truncated) == (rewards[slot], terminations[slot], truncations[slot])
            if terminated or truncated:
                ended.append(slot)
                assert_equal(info["final_obs"][slot], observation)
                assert info["final_info"]["success"][slot] == own["success"]
                observation, _ = env.reset()
            assert_equal(observations, observation, slot)
    assert len(set(ended)) > 1


def test_environments_in_processes_of_their_own_agree():
    makers = [functools.partial(make_env, TINY)] * 2
    apart = AsyncVectorEnv(makers, context="forkserver", autoreset_mode=AutoresetMode.SAME_STEP)
    together = make_vector(TINY, 2)
    assert_equal(apart.reset(seed=1)[0], together.reset(seed=1)[0])
    for _ in range(12):
        (one, *_, one_info), (two, *_, two_info) = apart.step(np.ones(2, int)), together.step(np.ones(2, int))
        assert_equal(one, two)
        for mine, theirs in zip(one_info.get("final_obs", ()), two_info.get("final_obs", ()), strict=True):
            assert_equal(mine or {}, theirs or {})
    apart.close()


@pytest.mark.parametrize("mode", AutoresetMode)
def test_vector_in_any_mode(mode):
    vector = make_vector(TINY, 2, autoreset_mode=mode, render_mode="rgb_array")
    assert vector.metadata["autoreset_mode"] is mode
    vector.reset(seed=0)
    assert vector.step(np.zeros(2, int))[4]["success"].dtype == bool
    assert [frame.shape for frame in vector.render()] == [(4, 5, 3)] * 2


def test_user_environment_reads_as_text_and_image():
    env = make_env(TINY)
    assert env.vocabulary.words == ("!", ",", "0", "1", "2", "3", "4", "stop", "then", "turns", "wait")
    assert len(env.vocabulary) == 1 + 11 + BUCKETS
    first, _ = env.reset(seed=3)
    second, *_ = env.step(0)
    for observation, left in ((first, 4), (second, 3)):  # the first keeps its pixels when the second is drawn
        assert set(observation) == {"text", "image"}
        assert env.vocabulary.decode(observation["text"]) == f"wait {left} turns , then stop !"
        np.testing.assert_array_equal(observation["image"], np.full((4, 5, 3), left + 1))


def test_seeds_beyond_31_bits_are_folded():
    """Old generators, of numpy and of C, take no more; and no two such seeds are the same by it."""
    old, seen = make_env(TINY), []
    take = old.env.unwrapped.reset
    old.env.unwrapped.reset = lambda *, seed=None, options=None: seen.append(seed) or take(seed=seed)
    for seed in (7, (1 << 31) - 1, 1 << 31, 1 << 52, (1 << 52) + 1):
        old.reset(seed=seed)
    assert seen[:2] == [7, (1 << 31) - 1] and max(seen) < 1 << 31 and len(set(seen)) == 5


def test_an_environment_may_observe_what_it_renders():
    gym.register("Watching-v0", Watching, disable_env_checker=True)
    assert make_env("Watching-v0", render_mode="rgb_array").reset(seed=3)[0]["image"].max() > 0


def test_words_are_split_and_never_heard_ones_fall_into_buckets():
    assert split_words("Don't GO;  red-ball.") == ["don", "'", "t", "go", ";", "red", "-", "ball", "."]
    env = Adapted(gym.make("Tiny-v0"), words=("wait", "turns"), length=4)
    observation, _ = env.reset(seed=0)
    assert env.vocabulary.decode(observation["text"]) == "wait <?> turns <?>"
    assert 3 <= observation["text"][1] < len(env.vocabulary) == 3 + BUCKETS


@pytest.mark.parametrize(
    ("vocabulary", "words"), [(None, tuple("123456789")), (Vocabulary("abcdefghijkl"), tuple("abcdefghijkl"))]
)
def test_text_of_ids_keeps_its_ids(vocabulary, words):
    space = spaces.Dict(text=spaces.Box(0, 9, (3,), np.int64), video=pixels(2, 4, 4, 3))
    env = make_env("Observing-v0", space=space, vocabulary=vocabulary)
    assert env.vocabulary.words == words
    assert env.observation_space["text"] == spaces.Box(0, len(words), (3,), np.int32)
    assert env.observation_space.contains(env.reset(seed=0)[0])


@pytest.mark.parametrize(
    ("reports", "action", "success"),
    [(None, 1, True), (None, 0, False), ("success", 1, False), ("is_success", 1, False)],
)
def test_success(reports, action, success):
    env = make_env(TINY, reports=reports)
    env.reset(seed=0)
    terminated = False
    while not terminated:
        _, _, terminated, _, info = env.step(action)
        assert info["success"] is (success and terminated)


def test_worlds_are_as_gymnasium_makes_them():
    env = make_env("match", kind="additive")
    assert (env.spec.id, env.unwrapped.world.kind) == ("UniEnv/Match-v0", "additive")
    assert isinstance(env.get_wrapper_attr("vocabulary"), Vocabulary)
    vector = make_vector("UniEnv/Goto-v0", 3, size=6)
    assert (vector.num_envs, vector.world.size, vector.autoreset_mode) == (3, 6, AutoresetMode.SAME_STEP)
    assert vector.vocabulary.words[:3] == ("go", "to", "the")
    assert make_vector("match", 2, backend="torch").world.backend == "torch"


def test_a_user_s_world_by_its_module():
    register("Plain-v0", f"{__name__}:Plain")
    try:
        assert make_vector(f"{__name__}:plain", 2).num_envs == 2
        assert "unexpected keyword argument 'backend'" in error_of(make_vector, "plain", 2, backend="torch")
    finally:
        del gym.registry["UniEnv/Plain-v0"]


NEEDED = "text is a space of strings, an image a uint8 Box (H, W, 3)"
NO_MODULE = "there is no module 'no_such' for 'no_such:Tiny-v0'; install it or run where it can be imported"
MISSPELT = "there is no environment 'babyai-GoToLocl-v0'; did you mean 'BabyAI-GoToLocal-v0'?"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mach", "there is no environment 'mach'; did you mean 'match'?"),
        (f"{__name__}:Tyny-v0", f"there is no environment '{__name__}:Tyny-v0'; did you mean 'Tiny-v0'?"),
        ("no_such:Tiny-v0", NO_MODULE),
        pytest.param("babyai-GoToLocl-v0", MISSPELT, marks=needs_minigrid),
        ("CartPole-v1", f"CartPole-v1 observes a Box, expected a Dict with text and image; {NEEDED}"),
    ],
)
def test_wrong_name(name, message):
    assert error_of(make_env, name) == error_of(make_vector, name, 2) == message


def test_modules_found_incomplete_and_missing(tmp_path, monkeypatch):
    source = f"import gymnasium\ngymnasium.register('Fresh-v0', {__name__ + ':Tiny'!r}, disable_env_checker=True)\n"
    (tmp_path / "fresh_environments.py").write_text(source)
    (tmp_path / "needy_environments.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert make_env("fresh_environments:Fresh-v0").spec.id == "Fresh-v0"
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        make_env("needy_environments:Fresh-v0")
    monkeypatch.setitem(sys.modules, "minigrid", None)
    assert error_of(make_env, "BabyAI-No-v0") == "'BabyAI-No-v0' needs minigrid; pip install 'unienv-lab[minigrid]'"


IMAGE, EYES = {"image": pixels(4, 4, 3)}, {"left": pixels(4, 4, 3), "right": pixels(4, 4, 3)}
TEXT, IDS = {"mission": spaces.Text(9)}, {"ids": spaces.Box(0, 9, (4,), np.int32)}
NEGATIVE, HUGE = {"text": spaces.Box(-1, 9, (3,), np.int32)}, {"text": spaces.Box(0, 1 << 30, (3,), np.int64)}


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (TEXT, f"has no image or video in its observation, its keys are ['mission']; {NEEDED}"),
        (IMAGE, f"has no text in its observation, its keys are ['image']; {NEEDED}"),
        (IDS, f"has no text and no image or video in its observation, its keys are ['ids']; {NEEDED}"),
        (EYES | TEXT, "has several keys that may be its image: ['left', 'right']; call one 'image'"),
        (IMAGE | NEGATIVE, "writes ids from -1 to 9, expected 0 to at most 9"),
        (IMAGE | HUGE, f"writes ids from 0 to {1 << 30}, expected 0 to at most 65536"),
    ],
)
def test_observation_that_does_not_fit(space, message):
    assert error_of(make_env, "Observing-v0", space=spaces.Dict(space)) == f"Observing-v0 {message}"


def test_wrong_parameters():
    assert error_of(make_env, TINY, size=3) == "Tiny-v0 has no parameter 'size'; it takes reports, render_mode"
    assert "did you mean 'kind'?" in error_of(make_env, "match", kynd="joint")
    assert "did you mean 'size'?" in error_of(make_vector, "goto", 2, sise=8)
    assert error_of(make_vector, TINY, 0) == "num_envs must be at least 1, got 0"
    assert error_of(make_vector, TINY, 2, backend="torch").startswith("Tiny-v0 runs on numpy; backend='torch' is for")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_ids_of_any_whole_numbers_are_text_and_are_checked(dtype):
    """Of uint8 too, which is what pixels are made of."""
    env = Adapted(Observing(spaces.Dict({"text": spaces.Box(0, 9, (3,), dtype), "image": pixels(8, 8, 3)})))
    observation, _ = env.reset(seed=0)
    assert observation["text"].dtype == np.int32 and env.observation_space.contains(observation)
    env.env.unwrapped.reset = lambda **_: ({"text": np.full(3, 10, dtype), "image": np.zeros((8, 8, 3), np.uint8)}, {})
    with pytest.raises(ValueError, match="expected ids from 0 to 9, got 10 to 10"):
        env.reset()
