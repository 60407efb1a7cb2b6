"""The end of the study: what all jobs say, as one summary, `imagination.json`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from experiments.ablation import statistics
from experiments.ablation.statistics import Estimate
from experiments.evaluate import hardware, versions
from experiments.imagination.jobs import Grid, run_config
from experiments.imagination.plan import FORMS, LEARNERS, TRAINED, Cell, Fit, Trial, cells, fits, trials
from experiments.jobs import results
from experiments.page import number
from experiments.studies import reproduce
from experiments.studies.reading import ZERO

HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"
BASE = "model-free"

_CLOSE = 0.1  # of the exact figure, or..
_NEAR = 0.005  # ..nats, within which a loss counts as equal to it

Found = Mapping[str, Any]


def conclude(grid: Grid, failed: Mapping[str, str]) -> dict[str, Any]:
    """Put together what was found; what is missing or failed is None.

    Args:
        grid: whose jobs are done, but for those that failed.
        failed: what went wrong, by job.
    """
    found, config = results(grid.folder), grid.config
    told = [_cell(cell, [fit for fit in fits() if fit.cell == cell], found) for cell in cells()]
    agents = [_world(grid, env, [trial for trial in trials(config) if trial.env == env], found) for env in TRAINED]
    return {
        "command": reproduce(config),
        "versions": versions(),
        "hardware": hardware("cpu"),
        "config": asdict(config),
        "failed": dict(failed),
        "cells": told,
        "agents": agents,
        "claims": [_loses(told), _nothing(told), *(_helps(agent) for agent in agents)],
    }


def _cell(cell: Cell, of: Sequence[Fit], found: Found) -> dict[str, Any]:
    """What world models of both forms foresee, beside what is exact."""
    exact = {name: value for name, value in found.get(f"exact-{cell.name}", {}).items() if name != "job_seconds"}
    losses = {
        form: {fit.seed: found[fit.name] for fit in of if fit.form == form and fit.name in found} for form in FORMS
    }
    known = next((of for seeds in losses.values() for of in seeds.values()), {})
    parts = {}
    for part in (name for name in known if name != "job_seconds"):
        by_form = {form: {seed: one[part] for seed, one in seeds.items()} for form, seeds in losses.items()}
        paired = [late - by_form["joint"][seed] for seed, late in by_form["late"].items() if seed in by_form["joint"]]
        told = {form: _mean(list(values.values()), 0.0) for form, values in by_form.items()}
        parts[part] = {"exact": exact.get(part), **told, "lost": _mean(paired)}
    return {"name": cell.name, "env": cell.env, "parameters": cell.parameters, "parts": parts}


def _world(grid: Grid, env: str, of: Sequence[Trial], found: Found) -> dict[str, Any]:
    """The agents of a world, by how they learn; scores are 0 for chance and 1 for the oracle."""
    done = {trial: found[trial.name] for trial in of if trial.name in found}
    anchors = [one["summary"]["anchors"] for one in done.values()]
    random, oracle = (
        float(np.mean([a[name]["J"] for a in anchors])) if anchors else None for name in ("random", "oracle")
    )
    scores = {name: {t.seed: _score(one) for t, one in done.items() if t.learner == name} for name in LEARNERS}
    learners = {}
    for name, of_seeds in scores.items():
        mine = {trial: one for trial, one in done.items() if trial.learner == name}
        gaps = [] if name == BASE else [s - scores[BASE][seed] for seed, s in of_seeds.items() if seed in scores[BASE]]
        seconds = [one["seconds"] for one in mine.values() if one["seconds"] is not None]
        learners[name] = {
            "scores": {str(seed): score for seed, score in of_seeds.items()},
            "score": _mean(list(of_seeds.values())),
            "success": _mean([one["summary"]["success"] for one in mine.values()], 0.0, 1.0),
            "seconds": float(np.mean(seconds)) if seconds else None,
            "difference": _mean(gaps),
            "p": _two_sided(gaps) if gaps else None,
            "commands": {str(trial.seed): one["command"] for trial, one in mine.items()},
        }
    steps = run_config(grid.config, of[0]).steps
    shape = {"env": env, "settings": list(TRAINED[env]), "steps": steps, "random": random, "oracle": oracle}
    return shape | {"learners": learners}


def _score(one: Found) -> float:
    anchors = one["summary"]["anchors"]
    return (one["summary"]["J"] - anchors["random"]["J"]) / (anchors["oracle"]["J"] - anchors["random"]["J"])


def _loses(told: Sequence[Found]) -> dict[str, str]:
    claim = (
        "Where Eq. (10) fails, the product form loses as many nats of the signal as it must, and of the next "
        "observation at least as many, within 10 % or 0.005 nats: the 95 % interval lies there"
    )
    rows = [(name, part, of) for name, part, of in _parts(told) if of["exact"] > ZERO]
    verdicts = {_as_must_be(part, of) for _, part, of in rows}
    verdict = FAILS if FAILS in verdicts else HOLDS if verdicts == {HOLDS} and not _unknown(told) else OPEN
    return {"claim": claim, "verdict": verdict, "evidence": _evidence(rows, told)}


def _as_must_be(part: str, of: Found) -> str:
    """By the interval of the loss. Of small figures half is the slack, else to lose nothing would do.

    Of an observation more may be lost, since places are foreseen apart: what shows at k of them counts k times.
    """
    if of["lost"]["low"] is None:
        return OPEN
    low, high = (of["lost"][end] - of["exact"] for end in ("low", "high"))
    slack = max(min(_NEAR, of["exact"] / 2), _CLOSE * of["exact"])
    most = slack if part == "signal" else math.inf
    return FAILS if high < -slack or low > most else HOLDS if low >= -slack and high <= most else OPEN


def _nothing(told: Sequence[Found]) -> dict[str, str]:
    """Every one has to pass, so that no correction is needed."""
    claim = "Where it holds, the product form loses nothing: the 95 % interval lies inside \u00b10.01 nats"
    rows = [(name, part, of) for name, part, of in _parts(told) if of["exact"] <= ZERO]
    ends = [(of["lost"]["low"], of["lost"]["high"]) for _, _, of in rows]
    verdict = OPEN
    if rows and all(low is not None and low > -2 * _NEAR and high < 2 * _NEAR for low, high in ends):
        verdict = OPEN if _unknown(told) else HOLDS
    elif any(low is not None and (low >= 2 * _NEAR or high <= -2 * _NEAR) for low, high in ends):
        verdict = FAILS
    return {"claim": claim, "verdict": verdict, "evidence": _evidence(rows, told)}


def _helps(agent: Found) -> dict[str, str]:
    claim = f"Imagined rollouts help at equal environment steps, in {agent['env']}"
    of = agent["learners"]["imagine"]
    gap, verdict = of["difference"], OPEN
    if gap is not None and gap["low"] is not None:
        verdict = HOLDS if gap["low"] > 0 else FAILS if gap["high"] < 0 else OPEN
    evidence = (
        f"{_said(gap)} of normalised return over model-free, p = {number(of['p'])}" if gap else "It is not known."
    )
    return {"claim": claim, "verdict": verdict, "evidence": evidence}


def _parts(told: Sequence[Found]) -> list[tuple[str, str, Found]]:
    """Parts of which the exact figure and the loss are known."""
    rows = [(cell["name"], part, of) for cell in told for part, of in cell["parts"].items()]
    return [(name, part, of) for name, part, of in rows if of["exact"] is not None and of["lost"] is not None]


def _unknown(told: Sequence[Found]) -> list[str]:
    """Cells that may hold a part of either kind: nothing of theirs is exact, or no loss was measured."""
    return [cell["name"] for cell in told if not _parts([cell])]


def _evidence(rows: Sequence[tuple[str, str, Found]], told: Sequence[Found]) -> str:
    known = [f"{name} {part}: {_said(of['lost'])}, exact {number(of['exact'], 4)}" for name, part, of in rows]
    unknown = f" Not known of {', '.join(names)}." if (names := _unknown(told)) else ""
    return ("; ".join(known) or "There is no such part.") + unknown


def _said(estimate: Found) -> str:
    ends = (estimate[name] for name in Estimate._fields)
    value, low, high = (number(None if end is None else round(end, 4) + 0.0, 4) for end in ends)  # no -0.0000
    return value if estimate["low"] is None else f"{value} [{low}, {high}]"


def _mean(values: Sequence[float], least: float = -math.inf, most: float = math.inf) -> dict[str, Any] | None:
    return statistics.mean(values, least, most)._asdict() | {"n": len(values)} if values else None


def _two_sided(gaps: Sequence[float]) -> float:
    """By exact sign flips; n seeds give no less than 2 / 2^n."""
    rng = np.random.default_rng(0)
    ahead, behind = (statistics.sign_flip(list(sign * np.array(gaps)), rng).p for sign in (1, -1))
    return min(1.0, 2 * min(ahead, behind))
