"""What is left, and what a user reads, when an environment fails or learning diverges in the middle of a run."""

import math

import gymnasium as gym
import pytest
import torch

import unienv
from agents import checkpoint
from agents.learner import Learner
from encoders.tensors import load_tensors
from experiments import run
from experiments.recorder import read_metrics
from tests.agents.test_distributed import PATIENCE, ROOT
from tests.agents.tiny import Stairs
from tests.experiments.fragile import LEFT_OPEN, TINY, UPDATE
from unienv.worlds.match import Match

pytestmark = [
    *LEFT_OPEN,
    pytest.mark.timeout(PATIENCE),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.usefixtures("undrawn"),
]


def goes_wrong(monkeypatch, capsys, tmp_path, *arguments):
    """What stderr says of a run with a checkpoint after every update that fails: one line; and the run folder."""
    from experiments import train

    monkeypatch.setattr(train.train, "__defaults__", (0.0,))
    assert run.main([*TINY, f"runs={tmp_path}", "steps=640", *arguments]) == 1
    (folder,) = tmp_path.iterdir()
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert not list(folder.rglob("*.part"))
    return err.removeprefix("error: ").strip(), folder


def updates(folder):
    """Updates on record; the newest checkpoint is of the last."""
    steps = [record["steps"] for record in read_metrics(folder)]
    assert steps == [UPDATE * i for i in range(1, len(steps) + 1)] and int(checkpoint.newest(folder).name) == steps[-1]
    return len(steps)


class Trip(Stairs):
    """The stairs, on which all goes well for some steps of this process; then it goes wrong in a way of its choice."""

    SOUND, COUNT = 200, 0

    def __init__(self, how: str = "") -> None:
        self.how = how

    def step(self, action):
        type(self).COUNT += 1
        observation, *told = super().step(action)
        if self.COUNT > self.SOUND:
            observation = self.fall(observation)
            told[0] = {"nothing": math.nan, "huge": 1e30}.get(self.how, told[0])
        return observation, *told

    def fall(self, seen):
        if self.how == "bug":
            return [][self.t]
        if self.how == "shape":
            return {**seen, "image": seen["image"][:4]}
        if self.how == "floats":
            return {**seen, "image": seen["image"] / 255}
        if self.how == "id":
            return {**seen, "text": seen["text"] + 10}
        if self.how == "runtime":
            raise RuntimeError("the game has closed")
        return seen


gym.register("TestTrip-v0", Trip)
TRIP = "env=tests.experiments.test_going_wrong:TestTrip-v0"


@pytest.fixture
def trip(monkeypatch):
    monkeypatch.setattr(Trip, "COUNT", 0)


@pytest.mark.parametrize(
    "how, said", [("bug", "IndexError: list index out of range"), ("runtime", "RuntimeError: the game has closed")]
)
def test_an_environment_that_raises(tmp_path, monkeypatch, capsys, trip, how, said):
    told, folder = goes_wrong(monkeypatch, capsys, tmp_path, TRIP, f"env.how={how}")
    path = folder / "failure.txt"
    assert told == f"{said}; the traceback is in {path}; mend the cause, then continue with resume={folder}"
    assert "in fall\n" in path.read_text()
    assert updates(folder) == 3
    Trip.COUNT = -1000  # mended
    assert run.main([f"resume={folder}", TRIP]) == 0
    assert updates(folder) == 10


@pytest.mark.parametrize(
    "how, said",
    [
        ("shape", "image outside its space: expected (8, 8, 3) uint8, got (4, 8, 3) uint8"),
        ("floats", "image outside its space: expected (8, 8, 3) uint8, got (8, 8, 3) float64"),
        ("id", "text outside its space: expected ids from 0 to 9, got 1"),
    ],
)
def test_an_environment_that_leaves_its_space(tmp_path, monkeypatch, capsys, trip, how, said):
    told, folder = goes_wrong(monkeypatch, capsys, tmp_path, TRIP, f"env.how={how}")
    assert told.startswith(f"TestTrip-v0 observes {said}") and not (folder / "failure.txt").exists()
    assert updates(folder) == 3


class Drift(Match):
    """A world whose words leave the vocabulary after a while, or whose pictures shrink."""

    SOUND, COUNT = 20, 0

    def __init__(self, wrong: str = "text", **parameters) -> None:
        super().__init__(**parameters)
        self.wrong = wrong

    def observe(self, state):
        type(self).COUNT += 1
        seen = super().observe(state)
        if self.COUNT > self.SOUND:
            seen[self.wrong] = seen[self.wrong] + 100 if self.wrong == "text" else seen[self.wrong][:, 1:]
        return seen


@pytest.fixture
def drift(monkeypatch):
    """The world's name."""
    monkeypatch.setattr(Drift, "COUNT", 0)
    unienv.register("TestDrift-v0", "tests.experiments.test_going_wrong:Drift")
    yield "env=UniEnv/TestDrift-v0"
    del gym.registry["UniEnv/TestDrift-v0"]


@pytest.mark.parametrize("wrong, expected", [("text", "ids from 0 to "), ("image", "(8, 64, 64, 3) uint8, got (8, 63")])
def test_a_world_that_leaves_its_space(tmp_path, monkeypatch, capsys, drift, wrong, expected):
    told, folder = goes_wrong(monkeypatch, capsys, tmp_path, drift, f"env.wrong={wrong}")
    assert told.startswith(f"Drift observes {wrong} outside its space: expected {expected}")
    assert updates(folder) >= 1


@pytest.mark.parametrize("how", ["nothing", "huge"])
def test_a_loss_that_is_no_number(tmp_path, monkeypatch, capsys, trip, how):
    told, folder = goes_wrong(monkeypatch, capsys, tmp_path, TRIP, f"env.how={how}")
    path = folder / "diverged-0.safetensors"
    assert told.startswith(f"training diverged after {3 * UPDATE} steps: the loss is ")
    assert told.endswith(f"; the weights before that and the batch are in {path}; try a ppo.lr below 0.002")
    held = load_tensors(path)
    assert held["experience.rewards"].nan_to_num(1e30).max() == 1e30 and held["experience.actions"].shape == (8, 8, 1)
    saved = load_tensors(checkpoint.newest(folder) / "agent.safetensors")
    weights = {name: value for name, value in held.items() if name.startswith("network.")}
    assert weights and all(torch.equal(value, saved[name]) for name, value in weights.items())
    assert updates(folder) == 3


def test_weights_that_are_no_numbers(tmp_path, monkeypatch, capsys):
    update = Learner.update

    def spoil(self):
        told = update(self)
        with torch.no_grad():
            self.network.heads[0].policy.weight.fill_(math.inf)
        return told

    monkeypatch.setattr(Learner, "update", spoil)
    told, folder = goes_wrong(monkeypatch, capsys, tmp_path)
    assert told.startswith(f"training diverged after {UPDATE} steps: the policy's logits are no numbers any more; ")
    held = load_tensors(folder / "diverged-0.safetensors")
    assert held["network.heads.0.policy.weight"].isinf().all() and held["experience.text.which"].shape == (8,)


def test_a_loss_that_is_no_number_on_ray(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    arguments = [*TINY, f"runs={tmp_path}", "steps=64000", "ray.workers=2", TRIP, "env.how=nothing"]
    assert run.main(arguments) == 1
    (folder,) = tmp_path.iterdir()
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: a worker failed: RuntimeError: training diverged after ")
    assert err.count("\n") == 1 and f"more in {folder / 'ray' / 'failure.txt'}" in err
    assert list(folder.glob("diverged-*.safetensors"))
