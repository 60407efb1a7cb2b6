"""What a study tells of its worlds, against the worlds themselves."""

import base64
import importlib.util
import io
import json

import numpy as np
import pytest
from PIL import Image

from experiments.ablation.plan import AblationConfig, read_grid
from experiments.ablation.worlds import entries, worlds
from experiments.config import build
from unienv.adapt import make_env
from unienv.registry import world_names

OTHER = "tests.unienv.test_adapt:Tiny-v0"  # which registers itself
needs_minigrid = pytest.mark.skipif(not importlib.util.find_spec("minigrid"), reason="minigrid is not installed")


def told(*arguments):
    return worlds(build(read_grid(["agent.psi=joint", "seed=0", *arguments]), AblationConfig))


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


def test_examples_are_starts_of_the_world_at_its_largest_coupling():
    match = told("env=match", "env.coupling=0,1", "env.num_colours=2")["match"]
    env = make_env("match", coupling=1.0, num_colours=2)
    observation, _ = env.reset(seed=0)
    example = match["examples"][0]
    np.testing.assert_array_equal(pixels(example["image"]), observation["image"])
    assert example["text"] == env.get_wrapper_attr("vocabulary").decode(observation["text"])
    assert example["oracle"] == ("no", "yes")[env.unwrapped.oracle()]
    assert match["coupling"] == 1.0 and match["parameters"] == {"kind": "joint", "num_colours": 2, "num_shapes": 4}


def test_two_starts_differ_in_text_and_in_what_is_right():
    for env, world in told("env=match,chase,goto", "env.coupling=1").items():
        first, second = world["examples"]
        assert first["text"] != second["text"] and first["oracle"] != second["oracle"], env


def test_a_video_is_drawn_frame_by_frame():
    chase = told("env=chase", "env.coupling=1", "env.frames=4", "env.order=3")["chase"]
    observation, _ = make_env("chase", coupling=1.0, frames=4, order=3, num_objects=2, num_motions=2).reset(seed=0)
    for drawn, frame in zip(chase["examples"][0]["video"], observation["video"], strict=True):
        np.testing.assert_array_equal(pixels(drawn), frame)
    np.testing.assert_array_equal(pixels(chase["examples"][0]["image"]), observation["image"])
    assert chase["observation"]["video"] == [4, 32, 64, 3] and chase["actions"] == "left, right"


@pytest.mark.parametrize("name", [name for name in world_names() if name != "dataset"])
def test_each_world_says_what_it_is_and_why(name):
    world = told(f"env={name}", "env.coupling=1")[name]
    assert world["id"].lower() == f"unienv/{name}-v0" and world["about"].endswith(".")
    (reason, *_), control = world["why"], name == "terminal"
    assert reason == ("Why separable" if control else "Why non-separable")
    assert world["signal"].startswith("reward: ") and world["end"].startswith("terminated")
    assert json.loads(json.dumps(world)) == world


@pytest.mark.parametrize(
    ("name", "actions"),
    [
        ("goto", "wait, up, down, left, right"),
        ("rules", "9 times one of 3"),
        ("terminal", "3 times nothing, edit, run, check, 0, 1, 2, 3, a, b"),
        ("describe", "image: one of 4; text: 2 times nothing, square, circle, 1, 2"),
    ],
)
def test_actions_in_words(name, actions):
    assert told(f"env={name}", "env.coupling=1")[name]["actions"] == actions


def test_the_rule_of_the_signal_is_told():
    world = told("env=goto", "env.signal=label", "env.horizon=9")["goto"]
    assert world["signal"].startswith("label: l is 1 where the action is the oracle's")
    assert world["horizon"] == 9


def test_of_other_environments_there_is_what_can_be_seen():
    world = told(f"env={OTHER}")[OTHER]
    assert world["id"] == "Tiny-v0" and world["about"].startswith("Counts down from 1..4")
    assert world["why"] == {} and world["actions"] == "one of 2" and world["horizon"] is None
    observation, _ = make_env(OTHER).reset(seed=0)
    np.testing.assert_array_equal(pixels(world["examples"][0]["image"]), observation["image"])
    assert world["examples"][0]["text"].startswith("wait") and world["examples"][0]["oracle"] is None


@needs_minigrid
def test_minigrid_tells_names_of_actions_and_its_limit():
    world = told("env=BabyAI-GoToLocal-v0")["BabyAI-GoToLocal-v0"]
    assert world["actions"] == "left, right, forward, pickup, drop, toggle, done" and world["horizon"] == 64
    assert world["about"].startswith("Go to an object") and world["examples"][0]["text"].startswith("go to")


def test_a_world_that_cannot_be_made_does_not_hide_the_others():
    world = told("env=Nonsense-v0,goto")
    assert world["Nonsense-v0"]["error"].startswith("ValueError: there is no environment 'Nonsense-v0'")
    assert "examples" in world["goto"]


def test_large_pictures_are_thinned(tmp_path):
    images = np.arange(6 * 20 * 600 * 3).reshape(6, 20, 600, 3).astype(np.uint8)
    np.savez(tmp_path / "data.npz", text=np.array(["a b", "c"] * 3), image=images, label=np.arange(6))
    world = told("env=dataset", f"env.path={tmp_path / 'data.npz'}", "env.split=all")["dataset"]
    drawn = pixels(world["examples"][0]["image"])
    assert drawn.shape == (7, 200, 3)
    assert any((drawn == image[::3, ::3]).all() for image in images)


def test_headings_may_stand_within_a_line():
    class Told:
        """# Title

        What it
        is.

        Why non-separable: `a` b. Why a video: c.
        Actions: d. Reward: e: f. End: g.

        Args:
            h: i.
        """

    why = {"Why non-separable": "a b.", "Why a video": "c."}
    assert entries(Told) == {"": "What it is.", **why, "Actions": "d.", "Reward": "e: f.", "End": "g.", "Args": "h: i."}
    assert entries(type("Silent", (), {})) == {"": ""}
