"""What jobs leave in their folders, and what can be told of them meanwhile."""

import json

import pytest

from experiments.config import build
from experiments.jobs import has_failed, is_done, job_folder, leave, look, results, train_agent
from experiments.recorder import METRICS
from experiments.watch import Step

UPDATE = 64  # env steps


def config(updates):
    return build(
        {
            "ppo": {"worlds": 8, "horizon": 8, "minibatches": 2, "play": 0.0},
            "agent": {"dim": 16, "heads": 2, "hidden": 32},
            "episodes": 8,
            "device": "cpu",
            "steps": updates * UPDATE,
        }
    )


def test_a_job_that_begins_again_has_not_failed(tmp_path):
    def fail():
        raise KeyError("out of luck")

    seen = []
    with pytest.raises(KeyError):
        leave(tmp_path, "a", fail)
    assert has_failed(tmp_path, "a") and "out of luck" in (job_folder(tmp_path, "a") / "failure.txt").read_text()
    leave(tmp_path, "a", lambda: {"failed": seen.append(has_failed(tmp_path, "a"))})
    assert seen == [False] and not has_failed(tmp_path, "a") and is_done(tmp_path, "a")
    assert results(tmp_path)["a"]["failed"] is None


def test_a_look_tells_how_far_the_training_of_a_job_has_come(tmp_path):
    place = job_folder(tmp_path, "a b")
    assert look(tmp_path, "a b") is None
    leave(tmp_path, "a b", lambda: train_agent(config(2), place)[1])
    assert look(tmp_path, "a b") == Step(2 * UPDATE, 2 * UPDATE, "128/128 steps")
    (place / METRICS).write_text(json.dumps({"steps": UPDATE}) + '\n{"ste')
    assert look(tmp_path, "a b") == Step(UPDATE, 2 * UPDATE, "64/128 steps")
    (place / METRICS).write_text("")
    assert look(tmp_path, "a b") is None


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("damaged\n")])
def test_an_agent_that_is_trained_needs_no_metrics(tmp_path, damage):
    _, first = train_agent(config(1), tmp_path)
    assert first["seconds"] > 0.0
    damage(tmp_path / METRICS)
    _, again = train_agent(config(1), tmp_path)
    assert again["seconds"] is None and again["summary"]["J"] == first["summary"]["J"]
