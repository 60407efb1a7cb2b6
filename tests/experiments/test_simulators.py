import sys

import pytest
import torch

from experiments.benchmark import simulators, worlds
from experiments.benchmark.timing import Timing

QUICK = Timing(rounds=1, seconds=0.001)


@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP"])
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_world_of_one_answer_returns_two_pictures_a_step(backend, mode):
    tally = worlds.Tally()
    step = worlds.vector("UniEnv/Match-v0", 4, backend, mode, tally)
    assert step() + step() == tally.steps == (32 if mode == "NEXT_STEP" else 64)
    assert tally.pictures_a_step == 2


@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP"])
def test_longer_episodes_return_little_more_than_a_picture_a_step(mode):
    tally = worlds.Tally()
    step = worlds.vector("UniEnv/Goto-v0", 64, "numpy", mode, tally)
    for _ in range(8):
        step()
    assert 1.0 < tally.pictures_a_step < 1.3


def test_worlds_are_timed_beside_copying(monkeypatch):
    monkeypatch.setattr(worlds, "_SIZES", (2, 1024))
    monkeypatch.setattr(worlds, "world_ids", lambda: ["UniEnv/Match-v0"])
    threads = torch.get_num_threads()
    told = {(row["name"], row["unit"]): row["median"] for row in worlds.worlds(QUICK)}
    limit = told["memcpy of 1024 pictures of Match-v0", "steps/s"]
    for backend, mode in (("numpy", "NEXT_STEP"), ("torch", "NEXT_STEP"), ("numpy", "SAME_STEP")):
        name = f"Match-v0, N=1024, {backend}, {mode}"
        assert told[name, "of memcpy"] == pytest.approx(2 * told[name, "steps/s"] / limit)
    assert told["Match-v0, gymnasium.make", "steps/s"] > 0 and len(told) == 10
    assert torch.get_num_threads() == threads


def test_peers_that_are_not_there_are_left_out_with_a_line(monkeypatch, capsys):
    for module in ("envpool", "jax", "crafter"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(simulators, "world_ids", lambda: ["UniEnv/Describe-v0"])
    monkeypatch.setattr(simulators, "_NUM_ENVS", 16)
    pytest.importorskip("minigrid")
    told = {(row["name"], row["unit"]): row["median"] for row in simulators.simulators(QUICK)}
    ours, theirs = told["UniEnv/Describe-v0", "steps/s"], told[simulators._BABYAI, "steps/s"]
    assert told["UniEnv/Describe-v0", "times BabyAI's pixels"] == pytest.approx(ours / theirs) and len(told) == 3
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines if line.startswith("left out: ")] == [
        "left out: BabyAI-GoToLocal-v0",
        "left out: Procgen CoinrunEasy-v0",
        "left out: Navix-DoorKey-8x8-v0",
        "left out: Crafter",
    ]
