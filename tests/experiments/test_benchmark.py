import json
import sys

import numpy as np
import pytest

from experiments.benchmark import growth, plan, shards
from experiments.benchmark.separability import by_dit
from experiments.benchmark.timing import Timing, alternate, row
from experiments.config import ConfigError
from experiments.run import main
from unienv.separability.feedback import feedback_nonseparability


def test_cases_take_turns_and_rates_count_work_a_second():
    order = []

    def make(name, work):
        def step():
            order.append(name)
            return work

        return step

    cases = {"a": lambda: make("a", 1), "b": lambda: make("b", 3)}
    rates = alternate(cases, Timing(rounds=3, seconds=0.01))
    assert [name for name, before in zip(order, [None, *order], strict=False) if name != before] == ["a", "b"] * 3
    assert len(rates["a"]) == len(rates["b"]) == 3 and min(rates["a"]) > 0
    assert row("a", "steps/s", [3.0, 1.0, 8.0]) == {"name": "a", "unit": "steps/s", "median": 3, "least": 1, "most": 8}


def test_a_part_that_is_none_is_one_line(capsys):
    with pytest.raises(ConfigError, match="did you mean 'worlds'"):
        plan.parts(plan.BenchmarkConfig(parts="world"))
    assert main(["study=benchmark", "rounds=0"]) == 2
    assert "rounds >= 1" in capsys.readouterr().err


def test_the_study_writes_what_it_measured(tmp_path, monkeypatch, capsys):
    rows = [row("copying", "steps/s", [1e6, 2e6, 3e6])]
    monkeypatch.setattr(plan, "parts", lambda config: {"worlds": lambda timing: rows})
    monkeypatch.setattr("experiments.studies.benchmark.parts", plan.parts)
    assert main(["study=benchmark", "parts=worlds", "rounds=3", f"runs={tmp_path}"]) == 0
    (folder,) = tmp_path.iterdir()
    told = json.loads((folder / "benchmark.json").read_text())
    assert told["parts"] == {"worlds": rows} and told["versions"] and told["hardware"]
    assert told["command"] == "python experiments/run.py study=benchmark parts=worlds rounds=3"
    assert "| copying | steps/s | 2,000,000 | 1,000,000 | 3,000,000 |" in (folder / "benchmark.md").read_text()
    assert "copying" in capsys.readouterr().err


def test_shards_are_timed_and_memory_is_measured(monkeypatch):
    monkeypatch.setattr(shards, "_ROWS", 480)
    monkeypatch.setattr(shards, "_SHARDS", 2)
    monkeypatch.setattr(shards, "_CASES", (("parquet", 0),))
    told = {row["name"]: (row["unit"], row["median"]) for row in shards.shards(Timing(1, 0.01))}
    name = "960 transitions, parquet, 0 workers"
    assert told[name][0] == "transitions/s" and told[name][1] > 0
    assert told[f"{name}: command"][1] > 960 / told[name][1]
    if sys.platform == "linux":
        assert 50 < told[f"{name}: peak memory of the driver"][1] < 5000


def test_estimates_and_solvers_are_set_side_by_side(monkeypatch):
    monkeypatch.setattr(growth, "_CASES", ((2, 2, 600),))
    told = {row["name"]: row["median"] for row in growth.growth(Timing(1, 0.01))}
    assert len(told) == 4 and min(told.values()) >= 0
    assert told["2x2 values, 600 transitions, table: error of 0.3681"] < 0.1
    pytest.importorskip("dit")
    joint = np.random.default_rng(0).dirichlet(np.ones(12)).reshape(2, 3, 1, 2)
    assert by_dit(joint) == pytest.approx(feedback_nonseparability(joint).nonseparability, abs=1e-8)
