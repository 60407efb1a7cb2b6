"""What the figures of a study are said to mean."""

import pytest

from experiments.ablation import findings
from experiments.ablation import summary as read
from tests.experiments.ablation.synthetic import changed, make_summary


@pytest.fixture
def summary():
    return make_summary()


@pytest.mark.parametrize(
    ("gap", "verdict"),
    [
        ({"value": 0.3, "low": 0.2, "high": 0.4, "p_corrected": 0.2, "p_step_down": 0.03}, read.AHEAD),
        ({"value": 0.3, "low": 0.2, "high": 0.4, "p_corrected": 0.2}, read.OPEN),
        ({"value": 0.3, "low": 0.2, "high": 0.4}, read.OPEN),
        ({"value": 0.02, "low": 0.01, "high": 0.03, "p_step_down": 0.03, "equivalent": True}, read.SLIGHT),
        ({"value": 0.0, "low": -0.01, "high": 0.01, "p_step_down": 0.6, "equivalent": True}, read.EQUAL),
        ({"value": -0.3, "low": -0.4, "high": -0.2, "p_behind": 0.03, "equivalent": False}, read.BEHIND),
        ({"value": -0.3, "low": -0.4, "high": -0.2, "p_behind": 0.3, "equivalent": False}, read.OPEN),
        ({"value": -0.02, "low": -0.03, "high": -0.01, "p_behind": 0.03, "equivalent": True}, read.SLIGHTLY_BEHIND),
        ({"value": -0.02, "low": -0.03, "high": -0.01, "p_behind": 0.06, "equivalent": True}, read.EQUAL),
        ({"value": -0.3, "p_step_down": 0.01}, read.OPEN),
        (None, read.OPEN),
    ],
)
def test_verdicts(gap, verdict):
    assert read.cells({"cells": [{"env": "match", "gap": gap}]})[0].verdict == verdict


def test_the_least_p_is_that_of_the_cell_with_most_seeds(summary):
    cells = read.cells(changed(summary, 0, gap=summary["cells"][0]["gap"] | {"smallest": 0.125}))
    assert "No p of a cell can be below 0.031" in findings.seeds(cells)


def test_a_trend_that_is_not_significant_is_not_claimed(summary):
    told = findings.trend({"trend": summary["trend"] | {"p": 0.2}})
    assert "it is not shown that" in told and "rises" in told
    assert "not measured" in findings.trend({})


def test_a_control_without_a_gap_counts_as_not_shown(summary):
    rows = [{"env": "match", "coupling": 0, "gap": None, "equivalent": None}, *summary["controls"][:1]]
    assert "On 1 of 2 controls" in findings.controls({"controls": rows})


def test_a_range_is_told_of_several_cells_only(summary):
    assert "From the worst cell to the best: joint " in findings.scores(summary)
    summary["cells"] = summary["cells"][:1]
    assert findings.scores(summary).startswith("IQM") and "worst" not in findings.scores(summary)


def test_forms_that_still_learn_are_named(summary):
    curve = {"steps": [1, 8, 10], "mean": [0.2, 0.5, 0.7]}
    cells = read.cells(changed(summary, 2, curves={"joint": curve}))
    assert findings.learning(cells).endswith("last fifth in match 0.5.")
