import base64
import io
import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image

from tests.experiments.games import WORLDS, best, started
from tests.experiments.test_run import LAMP, Lamp
from unienv.adapt import make_env


def pixels(src):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(src.partition(",")[2]))))


@pytest.mark.parametrize("name", WORLDS)
def test_the_oracle_plays_every_world_to_its_end(name):
    game = started(name)
    for _ in range(3):
        while not (state := game.step({"action": best(game.env)}))["over"]:
            assert json.dumps(state)
        assert state["over"] == {"success": True, "truncated": False}
        game.reset({})
    assert game.tally()[0]["successes"] == 3


@pytest.mark.parametrize("name", WORLDS)
def test_what_is_seen_is_what_the_environment_shows(name):
    game, env = started(name, seed=4), make_env(name)
    for seed in (4, None):
        expected, _ = env.reset(seed=seed)
        seen = game.state()["observation"]
        assert seen.pop("text") == env.get_wrapper_attr("vocabulary").decode(expected["text"])
        for key, src in seen.items():
            frames = expected[key] if key == "video" else expected[key][None]
            assert np.array_equal(pixels(src), np.concatenate(frames, axis=1))
        game.reset({})


def test_actions_are_asked_for_in_groups():
    def groups(name, **parameters):
        return [(g["name"], g["sizes"], g["grid"]) for g in started(name, **parameters).groups]

    assert started("terminal").groups[0]["labels"][:4] == ["", "edit", "run", "check"]
    assert groups("goto") == [("", [5], None)]
    assert groups("rules", size=2, num_colours=2) == [("", [2] * 4, None)]
    assert ("image", [25], (5, 5)) in groups("describe", size=5)
    text = next(group for group in started("describe").groups if group["name"] == "text")
    assert text["labels"][0] == "" and "ring" in text["labels"]


def test_an_environment_of_the_users_own():
    game = started(LAMP.partition("=")[2])
    assert game.groups[0]["labels"] == ["action 0", "action 1"]
    state = game.step({"action": [1]})
    assert set(state["steps"][0]["feedback"]) == {"success"}
    assert state["over"]["success"] == bool(state["return"])


def test_an_environment_of_the_users_own_that_acts_in_parts():
    class Many(Lamp):
        action_space = spaces.Dict({"a": spaces.Discrete(3, start=1), "b": spaces.MultiDiscrete([2, 4])})

        def step(self, action):
            self.acted = action
            return self._observe(), 0.0, False, True, {}

    gym.register("TestMany-v0", Many)
    game = started("TestMany-v0")
    assert [group["labels"] for group in game.groups] == [["0", "1", "2"], ["0", "1", "2", "3"]]
    state = game.step({"action": [2, 1, 3]})
    assert game.env.unwrapped.acted["a"] == 3 and game.env.unwrapped.acted["b"].tolist() == [1, 3]
    assert state["steps"][0]["action"] == "2 1 3" and state["over"] == {"success": False, "truncated": True}


def test_minigrid_names_its_actions():
    labels = started("BabyAI-GoToLocal-v0").groups[0]["labels"]
    assert labels == ["left", "right", "forward", "pickup", "drop", "toggle", "done"]


def test_what_the_signal_discloses_is_told():
    game = started("goto", signal="label")
    feedback = game.step({"action": best(game.env)})["steps"][0]["feedback"]
    assert feedback["label"] in ("up", "down", "left", "right") and feedback["success"] in (True, False)


@pytest.mark.filterwarnings("ignore:.*The reward is a NaN value")
def test_numbers_that_json_lacks():
    class Odd(Lamp):
        def step(self, action):
            return self._observe(), float("nan"), False, False, {}

    gym.register("TestOdd-v0", Odd)
    state = started("TestOdd-v0").step({"action": [0]})
    assert state["return"] is None and "NaN" not in json.dumps(state)


def test_what_is_hidden_is_not_told_and_what_was_shown_counts():
    game = started("match")
    assert set(game.show({"shown": ["image"]})["observation"]) == {"image"}
    game.step({"action": [1]})  # the text had been shown
    game.show({"shown": ["text", "image"]})  # after the end, which is no peeking
    game.show({"shown": ["text"]})
    game.reset({})
    assert set(game.step({"action": [1]})["observation"]) == {"text"}
    game.show({"shown": []})
    game.reset({})
    game.step({"action": [1]})
    game.reset({})  # and one that is not played to its end
    game.reset({})
    assert [(row["seen"], row["episodes"]) for row in game.tally()] == [
        ("text and image", 1),
        ("text alone", 1),
        ("nothing", 1),
    ]
