"""The summary of a study from made-up results: a world with a dial, and what may be missing."""

import csv
import io
import json
import math

import numpy as np
import pytest

from experiments.ablation import claims, statistics
from experiments.ablation.conclude import conclude
from experiments.ablation.plain import to_csv, to_markdown
from experiments.ablation.plan import AblationConfig, Cell, Trial, read_grid, run_config, trials
from experiments.ablation.trial import Grid

COUPLINGS = (0.0, 0.25, 0.5, 0.75, 1.0)
NS = dict(zip(COUPLINGS, (1e-17, 0.02, 0.1, 0.3, math.log(2)), strict=True))
CHANCE, ORACLE = 0.5, 0.9
LEVELS = {"joint": lambda c: 0.95, "late": lambda c: 0.95 - 0.5 * c, "text": lambda c: 0.2, "image": lambda c: 0.0}


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(statistics, "DRAWS", 1000)


def make_config(**changes):
    told = {"worlds": ["match"], "coupling": list(COUPLINGS), "psi": list(LEVELS), "seeds": [0, 1, 2, 3, 4]}
    return AblationConfig(**{**told, "trial": ["steps=8192"], **changes})


def jitter(trial):
    return 0.004 * math.sin(7 * trial.seed + len(trial.psi) + (trial.cell.coupling or 0))


def share(trial):
    return LEVELS[trial.psi](trial.cell.coupling or 0.0) + jitter(trial)


def result(trial, **changes):
    J = CHANCE + (ORACLE - CHANCE) * share(trial)
    summary = {"J": J, "success": J, "nonseparability": None, "versions": {"unienv": "1"}, "hardware": {"cores": 4}}
    summary |= {"anchors": {"random": {"J": CHANCE}, "oracle": {"J": ORACLE}}}
    diagnostics = None
    if trial.psi == "joint":
        diagnostics = {"shuffle": {"text": 0.5, "image": 0.6}, "emap": J - 0.04, "whole": J, "episodes": 500}
    return {
        "summary": summary,
        "diagnostics": diagnostics,
        "command": "run it",
        "seconds": 3.5,
        "job_seconds": 4.0,
    } | changes


def measured(coupling):
    ladder = {"modalities": ["text", "image"], "blind": 0.5, "single": [0.5, 0.6], "late": 0.8, "late_bound": 0.8}
    ladder |= {"joint": 0.9, "decision": "x", "steps": 1, "certified": True, "whole": True}
    ns = {"nats": NS[coupling], "information": 0.7, "share": NS[coupling] / 0.7, "how": "exact"}
    return {"ns": ns, "ladder": ladder, "job_seconds": 0.1}


def put(folder, name, told, records=()):
    place = folder / "jobs" / name
    place.mkdir(parents=True)
    (place / "result.json").write_text(json.dumps(told))
    (place / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def update(steps, success, episodes=100):
    return {"steps": steps, "episodes": episodes, "success": success, "seconds": 1.0}


@pytest.fixture
def grid(tmp_path):
    grid = Grid(make_config(), tmp_path)
    for coupling in COUPLINGS:
        put(tmp_path, f"ns-match-{coupling:g}", measured(coupling))
    for trial in trials(grid.config):
        records = [update(1000 * i, min(1.0, 0.5 + 0.1 * i + jitter(trial))) for i in range(1, 9)]
        put(tmp_path, trial.name, result(trial), records)
    return grid


def test_a_whole_study(grid):
    summary = conclude(grid, {})
    json.dumps(summary, allow_nan=False)
    assert [cell["coupling"] for cell in summary["cells"]] == list(COUPLINGS)
    assert len(summary["trials"]) == 5 * 4 * 5 and summary["failed"] == {}
    cell = summary["cells"][-1]
    assert cell["env"] == "match" and cell["parameters"] == {"coupling": 1} and cell["steps"] == 8192
    assert cell["score"] == "normalised" and cell["ns"]["nats"] == pytest.approx(math.log(2))
    assert cell["ns"]["command"] == "python experiments/run.py study=separability env=match env.coupling=1"
    expected = {str(seed): share(Trial(Cell("match", 1.0), "late", seed)) for seed in range(5)}
    assert cell["forms"]["late"]["scores"] == pytest.approx(expected)
    assert cell["forms"]["late"]["iqm"]["low"] < cell["forms"]["late"]["iqm"]["value"]
    assert cell["gap"]["value"] == pytest.approx(0.5, abs=0.01) and cell["gap"]["p"] == 1 / 32
    assert cell["gap"]["p_step_down"] == 1 / 32 and cell["gap"]["p_corrected"] >= 4 / 32
    assert not cell["gap"]["equivalent"] and cell["improvement"]["value"] == 1.0
    assert summary["versions"] == {"unienv": "1"} and summary["config"]["margin"] == 0.05


def test_gap_is_paired_by_seed(grid):
    gap = conclude(grid, {})["cells"][2]["gap"]
    of = {
        psi: np.array([share(Trial(Cell("match", 0.5), psi, seed)) for seed in range(5)]) for psi in ("joint", "late")
    }
    told = statistics.mean(of["joint"] - of["late"])
    assert [gap[name] for name in told._fields] == pytest.approx(list(told))


def test_what_was_held_out_is_what_counts(grid):
    for trial in trials(grid.config):
        path = grid.folder / "jobs" / trial.name / "result.json"
        told = json.loads(path.read_text())
        anchors = {"random": {"J": 0.0}, "oracle": {"J": 2.0}}
        told["summary"]["held_out"] = {"J": 0.5 if trial.psi == "joint" else 1.0, "success": 0.25, "anchors": anchors}
        path.write_text(json.dumps(told))
    summary = conclude(grid, {})
    forms = summary["cells"][0]["forms"]
    assert forms["joint"]["scores"] == dict.fromkeys("01234", 0.25) and forms["late"]["scores"]["0"] == 0.5
    assert forms["joint"]["success"]["value"] == 0.25 and summary["trials"][0]["J"] == 0.5


def test_a_claim_is_not_decided_while_a_cell_was_not_measured(grid):
    assert [one["verdict"] for one in conclude(grid, {})["claims"]] == ["holds"] * 3
    (grid.folder / "jobs" / "ns-match-0.5" / "result.json").unlink()
    told = conclude(grid, {"ns-match-0.5": "RuntimeError: out of luck"})["claims"]
    assert [one["verdict"] for one in told] == ["holds", "not decided", "not decided"]
    assert told[1]["evidence"].endswith(" NS is not known of match 0.5.")


def test_a_form_is_behind_by_a_corrected_test_alone(grid):
    assert conclude(grid, {})["cells"][-1]["gap"]["p_behind"] == 1.0
    for path in grid.folder.glob("jobs/*-late-*/result.json"):
        told = json.loads(path.read_text())
        told["summary"]["J"] = ORACLE + 0.1
        path.write_text(json.dumps(told))
    summary = conclude(grid, {})
    assert summary["cells"][-1]["gap"]["p_behind"] == 1 / 32
    assert summary["claims"][2]["verdict"] == "does not hold"


def test_anchors_are_scores(grid):
    anchors = conclude(grid, {})["cells"][0]["anchors"]
    expected = {"random": 0, "oracle": 1, "late optimum": 0.75, "joint optimum": 1, "text": 0, "image": 0.25}
    assert anchors == pytest.approx(expected)


@pytest.mark.parametrize("change", [{"certified": False}, {"whole": False}, {"steps": 3}])
def test_a_ladder_that_is_not_worth_j_anchors_nothing(grid, change):
    path = grid.folder / "jobs" / "ns-match-0" / "result.json"
    told = measured(0.0)
    path.write_text(json.dumps(told | {"ladder": told["ladder"] | change}))
    first, second, *_ = conclude(grid, {})["cells"]
    assert {name for name, value in first["anchors"].items() if value is not None} == {"random", "oracle"}
    assert None not in second["anchors"].values()


def test_diagnostics_are_scores_of_joint_agents(grid):
    told = conclude(grid, {})["cells"][1]["diagnostics"]
    assert told["shuffle"]["text"]["value"] == pytest.approx(0.0)
    assert told["shuffle"]["image"]["value"] == pytest.approx(0.25)
    assert told["whole"]["value"] - told["emap"]["value"] == pytest.approx(0.1)
    assert told["emap"]["low"] < told["emap"]["value"] < told["emap"]["high"]


def test_curves_are_means_of_episodes_in_bins(grid):
    curve = conclude(grid, {})["cells"][0]["curves"]["joint"]
    assert curve["steps"] == [500 + 1000 * i for i in range(8)]
    success = [min(1.0, 0.8 + jitter(Trial(Cell("match", 0.0), "joint", seed))) for seed in range(5)]
    told = statistics.mean(success)
    assert [curve[name][2] for name in ("mean", "low", "high")] == pytest.approx(list(told))
    assert curve["mean"][-1] == curve["high"][-1] == 1.0


def test_curves_of_seeds_that_went_unequally_far(grid):
    """Bins reach as far as all seeds; one in which a seed saw no episode end is left out; a spread ends at 0 and 1."""
    rows = {
        0: [update(1500, None, 0), update(2000, 1.0), update(4000, 0.0)],
        1: [update(2000, 0.0), update(4000, 1.0), update(8000, 0.3)],
    }
    for seed in range(5):
        path = grid.folder / "jobs" / f"match-0-text-{seed}" / "metrics.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows.get(seed, [])))
    curve = conclude(grid, {})["cells"][0]["curves"]["text"]
    assert curve["steps"] == [2000, 3333]  # of bins of 4000/3; the first has no episode of seed 0
    assert curve["mean"] == pytest.approx([(0.75 + 0.5) / 2, 0.5])
    assert curve["low"] == [0.0, 0.0] and curve["high"] == [1.0, 1.0]


def test_the_tests_stated_before(grid):
    summary = conclude(grid, {})
    assert summary["trend"]["rho"]["value"] == pytest.approx(1.0) and summary["trend"]["p"] == pytest.approx(1 / 120)
    assert summary["trend"]["n"] == 5 and "0.0083" in summary["trend"]["statement"]
    (control,) = summary["controls"]
    assert control["coupling"] == 0.0 and control["equivalent"] is True
    assert [claim["verdict"] for claim in summary["claims"]] == ["holds"] * 3
    assert summary["overall"]["cells"] == 5 and 0.9 < summary["overall"]["iqm"]["joint"]["value"] < 1


def test_a_study_without_an_effect_claims_none(grid, monkeypatch):
    monkeypatch.setitem(LEVELS, "late", LEVELS["joint"])
    for trial in trials(grid.config):
        (grid.folder / "jobs" / trial.name / "result.json").write_text(json.dumps(result(trial)))
    increases, nothing, ahead = conclude(grid, {})["claims"]
    assert increases["verdict"] != "holds" and nothing["verdict"] == "holds" and ahead["verdict"] != "holds"


@pytest.mark.parametrize(("gap", "verdict"), [(0.0, "holds"), (0.06, "not decided"), (0.3, "does not hold")])
def test_verdict_of_controls(gap, verdict):
    told = {"value": gap, "low": gap - 0.02, "high": gap + 0.02}
    control = {"env": "match", "coupling": 0.0, "gap": told, "equivalent": gap == 0.0}
    summary = {"trend": {"p": None, "rho": None, "statement": ""}, "cells": []}
    find = lambda *controls: claims.claims({**summary, "controls": controls}, 0.05)[1]["verdict"]  # noqa: E731
    assert find(control) == verdict
    assert find({**control, "gap": None, "equivalent": None}) == find() == "not decided"


def test_without_an_oracle_scores_are_j(grid):
    for trial in trials(grid.config):
        if trial.cell.coupling == 0.5:
            told = result(trial)
            del told["summary"]["anchors"]["oracle"]
            (grid.folder / "jobs" / trial.name / "result.json").write_text(json.dumps(told))
    summary = conclude(grid, {})
    cell = summary["cells"][2]
    assert cell["score"] == "J" and cell["anchors"]["random"] == CHANCE and cell["anchors"]["oracle"] is None
    assert cell["anchors"]["late optimum"] == 0.8
    told = result(Trial(Cell("match", 0.5), "joint", 3))["summary"]["J"]
    assert cell["forms"]["joint"]["scores"]["3"] == pytest.approx(told)
    assert cell["gap"]["equivalent"] is None  # the margin is of normalised return
    assert summary["trend"]["n"] == 4 and summary["overall"]["cells"] == 4


def test_closed_forms_stand_in_for_what_is_not_measured(grid):
    (grid.folder / "jobs" / "ns-match-1" / "result.json").write_text('{"ns": null, "ladder": null}')
    for trial in trials(grid.config):
        if trial.cell.coupling == 1.0:
            told = result(trial)
            told["summary"]["nonseparability"] = 0.69
            (grid.folder / "jobs" / trial.name / "result.json").write_text(json.dumps(told))
    ns = conclude(grid, {})["cells"][-1]["ns"]
    assert (ns["nats"], ns["share"], ns["how"]) == (0.69, None, "closed form")


@pytest.mark.parametrize("kept", ["", "joint", "joint-0", "ns-", "late"])
def test_what_is_missing_is_none(grid, kept):
    for path in grid.folder.glob("jobs/*/result.json"):
        if not kept or kept not in path.parent.name:
            path.unlink()
    failed = {"match-0-text-0": "ValueError: | no"}
    summary = conclude(grid, failed)
    json.dumps(summary, allow_nan=False)
    assert summary["failed"] == failed and len(summary["trials"]) == 100
    assert all(cell["gap"] is None and cell["improvement"] is None for cell in summary["cells"])
    assert all(claim["verdict"] == "not decided" for claim in summary["claims"])
    assert summary["trend"]["rho"] is None and summary["hardware"] and summary["versions"]
    late = summary["trials"][5]
    assert late["command"].startswith("python experiments/run.py") or late["command"] == "run it"
    assert "ValueError" in to_markdown(summary) and len(to_csv(summary).splitlines()) == 101


def test_a_single_seed(grid):
    summary = conclude(grid._replace(config=make_config(seeds=[2])), {})
    json.dumps(summary, allow_nan=False)
    gap = summary["cells"][-1]["gap"]
    assert gap["low"] is None and gap["p"] == 0.5 and gap["equivalent"] is False
    assert summary["claims"][1]["verdict"] == "not decided" and "n/a" not in summary["claims"][0]["evidence"]
    assert to_markdown(summary)


def test_a_world_without_a_dial(tmp_path):
    grid = Grid(make_config(worlds=["rules"], psi=["joint", "late"]), tmp_path)
    for trial in trials(grid.config):
        put(tmp_path, trial.name, result(trial))
    (cell,) = conclude(grid, {})["cells"]
    assert cell["coupling"] is None and cell["ns"] is None and cell["gap"] and cell["curves"] == {}


def test_equal_folders_give_equal_summaries(grid):
    assert conclude(grid, {}) == conclude(grid, {})


def test_csv_has_a_row_a_trial(grid):
    (grid.folder / "jobs" / "match-0.5-late-3" / "result.json").unlink()
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(to_csv(conclude(grid, {}))))}
    assert len(rows) == 100
    row = rows["match-1-joint-4"]
    assert (row["env"], row["coupling"], row["psi"], row["seed"]) == ("match", "1.0", "joint", "4")
    assert float(row["score"]) == pytest.approx((float(row["J"]) - CHANCE) / (ORACLE - CHANCE))
    lost = rows["match-0.5-late-3"]
    assert lost["J"] == lost["score"] == "" and "agent.psi=late" in lost["command"] and "seed=3" in lost["command"]


def test_commands_of_lost_trials_do_what_the_trial_does(grid):
    (grid.folder / "jobs" / "match-0.5-late-3" / "result.json").unlink()
    told = {row["name"]: row["command"] for row in conclude(grid, {})["trials"]}["match-0.5-late-3"]
    from experiments.config import parse

    trial = Trial(Cell("match", 0.5), "late", 3)
    assert parse(told.split()[2:]) == run_config(grid.config, trial)


def test_the_command_makes_the_same_grid(grid):
    config = grid.config
    told = conclude(grid, {})["command"].split()[2:]
    assert told[0] == "study=ablation" and "margin" not in " ".join(told)
    read = read_grid(told[1:])
    assert [read[key] for key in ("worlds", "coupling", "psi", "seeds", "trial")] == [
        config.worlds, config.coupling, config.psi, config.seeds, config.trial,
    ]  # fmt: skip


def test_markdown_tells_numbers_and_outcomes(grid):
    text = to_markdown(conclude(grid, {"a|b": "ValueError: x"}) | {"seconds": 90.0})
    assert "100 of 100 trials in 1.5 minutes" in text
    assert "**holds**: Stated before: the gap increases with NS" in text
    assert "| match 1 | 0.6931 |" in text and "| match 0 | 0.0000 |" in text
    assert "python experiments/run.py study=ablation" in text and "1/2^n" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in tables[:8]}) == 1  # the first table is whole
    assert "None" not in text and "nan" not in text
