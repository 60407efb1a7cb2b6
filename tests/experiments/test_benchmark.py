import json

import pytest

from experiments.benchmark import plan
from experiments.benchmark.timing import Timing, alternate, row
from experiments.config import ConfigError
from experiments.run import main


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
