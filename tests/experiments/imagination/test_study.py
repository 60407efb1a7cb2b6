"""The study from end to end, in a version of seconds."""

import json
from functools import partial

import pytest

from experiments.imagination import measure, plan
from experiments.imagination.plan import Cell
from experiments.run import main

SMALL = {"num_colours": 2, "num_shapes": 2}


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(plan, "_MEASURED", (("match", (1.0,)),))
    monkeypatch.setattr(plan, "_MODELS", 1)
    monkeypatch.setitem(plan.TRAINED, "match", ("steps=1024", "ppo.worlds=32", "ppo.minibatches=2"))
    monkeypatch.delitem(plan.TRAINED, "goto")
    monkeypatch.setattr(measure, "measure", partial(measure.measure, rounds=1, updates=2))
    monkeypatch.setattr(measure, "_WORLDS", 16)
    monkeypatch.setattr(measure, "_HELD_OUT", 1)


def test_all_is_done_once_and_told(tiny, tmp_path, capsys):
    arguments = ["study=imagination", "seeds=1", "episodes=16", "ray.workers=0"]
    assert main([*arguments, f"runs={tmp_path}", "json=true"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    (folder,) = tmp_path.iterdir()
    assert not told["failed"] and (folder / "report.html").exists() and (folder / "imagination.md").exists()
    assert len(list(folder.glob("jobs/*/result.json"))) == 1 + 4 + 2
    (cell,), (agents,) = told["cells"], told["agents"]
    signal = cell["parts"]["signal"]
    assert signal["exact"] == pytest.approx(0.6931, abs=1e-4)
    assert signal["lost"]["value"] == pytest.approx(signal["late"]["value"] - signal["joint"]["value"])
    assert set(agents["learners"]) == set(plan.LEARNERS)
    assert "agent.imagine=1" in agents["learners"]["imagine"]["commands"]["0"]
    (folder / "jobs/agent-match-imagine-0/result.json").unlink()
    before = (folder / "jobs/agent-match-auxiliary-0/result.json").stat().st_mtime_ns
    assert main(["study=imagination", f"resume={folder}"]) == 0
    assert (folder / "jobs/agent-match-imagine-0/result.json").exists()
    assert (folder / "jobs/agent-match-auxiliary-0/result.json").stat().st_mtime_ns == before


def test_what_is_exact_is_of_the_version_that_is_fitted():
    figures = measure.exact_figures(Cell("match", SMALL | {"coupling": 0.5}))
    assert figures == pytest.approx({"signal": 0.17329, "text": 0.0, "image": 0.0}, abs=1e-5)


def test_a_joint_world_model_foresees_what_one_in_product_form_cannot(monkeypatch):
    """Of the ln 2 nats of the signal at full coupling, most after a few updates."""
    monkeypatch.setattr(measure, "_HELD_OUT", 2)
    monkeypatch.setattr(measure, "_WORLDS", 64)
    cell = Cell("match", SMALL | {"coupling": 1.0})
    joint, late = (measure.measure(cell, form, seed=0, rounds=1, updates=8)["signal"] for form in plan.FORMS)
    assert late > 0.65 and joint < 0.1


def test_mistakes_are_told_in_one_line(tmp_path, capsys):
    assert main(["study=imagination", "seeds=0", f"runs={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "seeds: expected a number from 1 to 1000, got 0" in error and error.count("\n") == 1
