"""The end of the ablation study: what all trials and measurements say, as one summary, `ablation.json`."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from experiments.ablation import statistics
from experiments.ablation.claims import allowed, claims, nats_of, said
from experiments.ablation.plain import to_csv, to_markdown
from experiments.ablation.plan import DIAL, AblationConfig, Cell, Trial, cells, run_config, trials
from experiments.ablation.statistics import Estimate
from experiments.ablation.trial import Grid
from experiments.ablation.worlds import worlds
from experiments.config import RunConfig
from experiments.evaluate import hardware, versions
from experiments.jobs import job_folder, results
from experiments.page import brief
from experiments.recorder import read_metrics
from experiments.studies import reproduce
from experiments.studies.reading import ZERO

__all__ = ["conclude", "to_csv", "to_markdown"]

_POINTS = 40  # of a learning curve, at most
_SEED = 0  # of bootstraps: equal folders give equal summaries

Found = Mapping[str, Any]


class Scale(NamedTuple):
    """Anchors of a trial; oracle is None where there is none, or none above chance."""

    random: float
    oracle: float | None

    def score(self, value: float | None, normalised: bool) -> float | None:
        """A return J as a score: 0 for chance and 1 for the oracle, or J itself."""
        if value is None or not normalised:
            return value
        return None if self.oracle is None else (value - self.random) / (self.oracle - self.random)


class Runs(NamedTuple):
    """What the trials of a cell that are done have found; `normalised` is false where there is no oracle."""

    cell: Cell
    found: dict[Trial, Found]
    normalised: bool

    def score(self, trial: Trial, value: float | None) -> float | None:
        """A return of a trial, by its own anchors."""
        return _scale(self.found[trial]).score(value, self.normalised)

    def scores(self, psi: str) -> dict[int, float]:
        """Of a form, by seed."""
        of = {trial.seed: self.score(trial, one["summary"]["J"]) for trial, one in self.of(psi).items()}
        return {seed: score for seed, score in of.items() if score is not None}

    def of(self, psi: str) -> dict[Trial, Found]:
        """The trials of a form."""
        return {trial: one for trial, one in self.found.items() if trial.psi == psi}

    def gaps(self) -> dict[int, float]:
        """Joint less late, by seed."""
        joint, late = self.scores("joint"), self.scores("late")
        return {seed: joint[seed] - late[seed] for seed in joint if seed in late}


def conclude(grid: Grid, failed: Mapping[str, str]) -> dict[str, Any]:
    """Put together what was found; what is missing or failed is None.

    Args:
        grid: whose jobs are done, but for those that failed.
        failed: what went wrong, by job.
    """
    found, config = results(grid.folder), grid.config
    groups = [_runs(cell, trials(config), found) for cell in cells(config)]
    told = []
    for runs in groups:
        run = run_config(config, Trial(runs.cell, config.psi[0], config.seeds[0]))
        cell = describe(runs, found.get(f"ns-{runs.cell.name}", {}), run, config.psi, config.margin)
        told.append(cell | {"curves": {psi: curve for psi in config.psi if (curve := _curve(grid, runs.of(psi)))}})
    first = next((one["summary"] for runs in groups for one in runs.found.values()), {})
    return {
        "command": _command(config),
        "versions": first.get("versions") or versions(),
        "hardware": first.get("hardware") or hardware("cpu"),
        "config": asdict(config),
        "failed": dict(failed),
        "worlds": worlds(config),
        "trials": [_trial(grid, trial, groups) for trial in trials(config)],
    } | compare(told, groups, config.psi, config.margin)


def compare(
    told: Sequence[dict[str, Any]], groups: Sequence[Runs], forms: Sequence[str], margin: float
) -> dict[str, Any]:
    """What holds over cells: corrected tests, which are written into the cells, trend, controls and claims.

    Args:
        told: of each cell, as `describe` has it.
        groups: its runs.
        forms: to be compared.
        margin: within which a gap counts as none.
    """
    _correct(told, groups)
    for cell in told:
        cell["claims"] = allowed(cell)
    summary = {
        "cells": told,
        "overall": _overall(groups, forms),
        "trend": _trend(told, groups, margin),
        "controls": [_control(cell) for cell in told if nats_of(cell) == 0.0],
    }
    return summary | {"claims": claims(summary, margin)}


def _command(config: AblationConfig) -> str:
    """What does this study again."""
    lists = {"env": config.worlds, DIAL: [f"{coupling:g}" for coupling in config.coupling]}
    lists |= {"agent.psi": config.psi, "seed": config.seeds}
    told = [f"{key}={','.join(map(str, values))}" for key, values in lists.items() if values] + config.trial
    if config.margin != AblationConfig().margin:
        told.append(f"margin={config.margin:g}")
    return shlex.join(["python", "experiments/run.py", "study=ablation", *told])


def _runs(cell: Cell, of: Iterable[Trial], found: Found) -> Runs:
    done = {trial: found[trial.name] for trial in of if trial.cell == cell and trial.name in found}
    return Runs(cell, done, bool(done) and all(_scale(one).oracle is not None for one in done.values()))


def _scale(one: Found) -> Scale:
    anchors = one["summary"]["anchors"]
    random, oracle = anchors["random"]["J"], anchors.get("oracle", {}).get("J")
    return Scale(random, oracle if oracle is not None and oracle - random > ZERO else None)


def describe(runs: Runs, measured: Found, run: RunConfig, forms: Sequence[str], margin: float) -> dict[str, Any]:
    """What is known of one cell.

    Args:
        runs: its trials that are done.
        measured: "ns" and "ladder", as far as they are known.
        run: settings of one of its trials.
        forms: to be told.
        margin: within which a gap counts as none.
    """
    gaps, joint, late = (list(values.values()) for values in (runs.gaps(), runs.scores("joint"), runs.scores("late")))
    gap = _told(statistics.mean(gaps)) if gaps else None
    if gap is not None:
        test = statistics.sign_flip(gaps, _rng())
        inside = statistics.equivalent(statistics.mean(gaps), margin) if runs.normalised else None
        gap |= {"n": len(gaps), "p": test.p, "smallest": test.smallest, "equivalent": inside}
    return {
        "env": runs.cell.env,
        "coupling": runs.cell.coupling,
        "parameters": {key: value for key, value in run.env.items() if key != "id"},
        "steps": run.steps,
        "memory": run.agent.memory,
        "score": "normalised" if runs.normalised else "J",
        "ns": _nonseparability(runs, measured, run.env),
        "anchors": _anchors(runs, measured.get("ladder")),
        "forms": {psi: _form(runs, psi) for psi in forms},
        "gap": gap,
        "improvement": _told(statistics.improvement(joint, late)) if joint and late else None,
        "diagnostics": _diagnostics(runs),
    }


def _nonseparability(runs: Runs, measured: Found, env: Mapping[str, Any]) -> dict[str, Any] | None:
    """As measured; else as the world states it in closed form."""
    ns = measured.get("ns")
    stated = next((one["summary"].get("nonseparability") for one in runs.found.values()), None)
    if ns is None and stated is not None:
        ns = {"nats": stated, "information": None, "share": None, "how": "closed form"}
    told = [f"env={env['id']}", *(f"env.{key}={'' if v is None else v}" for key, v in env.items() if key != "id")]
    return ns and {"command": shlex.join(["python", "experiments/run.py", "study=separability", *told])} | ns


def _anchors(runs: Runs, ladder: Found | None) -> dict[str, float | None]:
    """Scores of reference; the ladder's where it is proved, of the world itself, and worth J: in worlds of one step."""
    scales = [_scale(one) for one in runs.found.values()]
    random = float(np.mean([scale.random for scale in scales])) if scales else None
    oracles = [scale.oracle for scale in scales if scale.oracle is not None]
    mean = Scale(random or 0.0, float(np.mean(oracles)) if oracles else None)
    anchors: dict[str, float | None] = dict.fromkeys(
        ("random", "oracle", "late optimum", "joint optimum", "text", "image")
    )
    if random is None:
        return anchors
    values: dict[str, float | None] = {"random": random, "oracle": mean.oracle}
    if ladder and ladder["whole"] and ladder["certified"] and ladder["steps"] == 1:
        values |= {"late optimum": ladder["late"], "joint optimum": ladder["joint"]}
        values |= dict(zip(ladder["modalities"], ladder["single"], strict=True))
    return anchors | {name: mean.score(value, runs.normalised) for name, value in values.items()}


def _form(runs: Runs, psi: str) -> dict[str, Any]:
    scores, successes = runs.scores(psi), [one["summary"]["success"] for one in runs.of(psi).values()]
    return {
        "scores": {str(seed): score for seed, score in scores.items()},
        "iqm": _told(statistics.iqm([list(scores.values())], _rng())) if scores else None,
        "success": _told(statistics.mean(successes, 0.0, 1.0)) if successes else None,
    }


def _diagnostics(runs: Runs) -> dict[str, Any] | None:
    """Scores of trained joint agents as they are, without their interactions, and with a modality of other worlds."""
    told = {trial: one["diagnostics"] for trial, one in runs.of("joint").items() if one.get("diagnostics")}

    def over_seeds(values: Mapping[Trial, float | None]) -> dict[str, Any] | None:
        scores = [score for trial, value in values.items() if (score := runs.score(trial, value)) is not None]
        return _told(statistics.mean(scores)) if scores else None

    if not told:
        return None
    names = dict.fromkeys(name for one in told.values() for name in one["shuffle"])
    shuffle = {name: over_seeds({trial: one["shuffle"].get(name) for trial, one in told.items()}) for name in names}
    whole, emap = (over_seeds({trial: one.get(key) for trial, one in told.items()}) for key in ("whole", "emap"))
    return {"shuffle": shuffle, "emap": emap, "whole": whole}


def _curve(grid: Grid, found: Iterable[Trial]) -> dict[str, Any] | None:
    """Success while training, over seeds, in bins of steps as far as all seeds went."""
    told = [rows for trial in found if (rows := read_metrics(job_folder(grid.folder, trial.name)))]
    if not told:
        return None
    count = min(_POINTS, *map(len, told))
    edges = np.linspace(0, min(rows[-1]["steps"] for rows in told), count + 1)
    shares = np.stack([_binned(rows, edges) for rows in told])
    known = np.isfinite(shares).all(axis=0)  # long episodes end late
    levels = [statistics.mean(column, 0.0, 1.0) for column in shares[:, known].T]
    steps = ((edges[1:] + edges[:-1]) / 2)[known].round().astype(int).tolist()
    value, low, high = ([getattr(level, name) for level in levels] for name in Estimate._fields)
    return {"steps": steps, "mean": value, "low": low, "high": high}


def _binned(rows: Sequence[Found], edges: np.ndarray) -> np.ndarray:
    """Share of episodes that succeeded, by bin of steps; nan where none ended."""
    steps = np.array([0, *(row["steps"] for row in rows)])
    ended = np.array([0, *(row["episodes"] if row["success"] is not None else 0 for row in rows)])
    won = ended * np.array([0.0, *(row["success"] or 0.0 for row in rows)])
    ended, won = (np.diff(np.interp(edges, steps, np.cumsum(column))) for column in (ended, won))
    return np.divide(won, ended, out=np.full(len(ended), np.nan), where=ended > 0)


def _correct(told: Sequence[dict[str, Any]], groups: Sequence[Runs]) -> None:
    """Write p-values corrected for the number of cells into the gaps."""
    pairs = [(cell["gap"], runs.gaps()) for cell, runs in zip(told, groups, strict=True) if cell["gap"]]
    if pairs:
        holm = statistics.holm([gap["p"] for gap, _ in pairs])
        stepped = statistics.step_down([gaps for _, gaps in pairs], _rng())
        for (gap, _), corrected, step in zip(pairs, holm, stepped, strict=True):
            gap |= {"p_corrected": corrected, "p_step_down": step}


def _overall(groups: Sequence[Runs], forms: Sequence[str]) -> dict[str, Any]:
    """Interquartile mean of each form over all cells in which every form has a score."""
    scores = [{psi: list(runs.scores(psi).values()) for psi in forms} for runs in groups if runs.normalised]
    whole = [cell for cell in scores if all(cell.values())]
    iqm = {psi: _told(statistics.iqm([cell[psi] for cell in whole], _rng())) if whole else None for psi in forms}
    return {"cells": len(whole), "iqm": iqm}


def _trend(told: Sequence[Found], groups: Sequence[Runs], margin: float) -> dict[str, Any]:
    ranked = [(runs, nats_of(cell)) for cell, runs in zip(told, groups, strict=True) if runs.normalised and runs.gaps()]
    ranked = [(runs, nats) for runs, nats in ranked if nats is not None]
    found = statistics.Trend(None, None)
    if ranked:
        gaps, worlds = [list(runs.gaps().values()) for runs, _ in ranked], [runs.cell.env for runs, _ in ranked]
        found = statistics.trend(gaps, [nats for _, nats in ranked], worlds, _rng())
    p, smallest = found.test or (None, None)
    rho = _told(found.rho) if found.rho else None
    statement = "There are too few cells, or too few different ones, to rank."
    if rho:
        statement = f"Over {len(ranked)} cells, gap and NS have a rank correlation of {said(rho)}"
        tested = (
            f" one-sided p = {brief(p)} by exchanging NS within worlds, the smallest possible is {brief(smallest)}."
        )
        statement += ";" + tested if p is not None else "; no world has two cells to exchange, so it is not tested."
    return {"rho": rho, "p": p, "smallest": smallest, "n": len(ranked), "margin": margin, "statement": statement}


def _control(cell: Found) -> dict[str, Any]:
    gap = cell["gap"] and {key: cell["gap"][key] for key in Estimate._fields}
    return {key: cell[key] for key in ("env", "coupling")} | {
        "gap": gap,
        "equivalent": gap and cell["gap"]["equivalent"],
    }


def _trial(grid: Grid, trial: Trial, groups: Iterable[Runs]) -> dict[str, Any]:
    runs = next(runs for runs in groups if runs.cell == trial.cell)
    one = runs.found.get(trial, {})
    of = one.get("summary", {})
    return {
        "name": trial.name,
        "env": trial.cell.env,
        "coupling": trial.cell.coupling,
        "psi": trial.psi,
        "seed": trial.seed,
        "J": of.get("J"),
        "success": of.get("success"),
        "score": runs.scores(trial.psi).get(trial.seed),
        "seconds": one.get("seconds"),
        "command": one.get("command") or reproduce(run_config(grid.config, trial)),
    }


def _told(estimate: Estimate) -> dict[str, Any]:
    return estimate._asdict()


def _rng() -> np.random.Generator:
    return np.random.default_rng(_SEED)
