"""The end of the ablation study: what all trials and measurements say, as one summary, `ablation.json`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from experiments.ablation import statistics
from experiments.ablation.cell import Found, Runs, chance, describe, scale_of
from experiments.ablation.claims import allowed, claims, nats_of, said
from experiments.ablation.plan import DIAL, AblationConfig, Cell, Trial, cells, dial, run_config, trials
from experiments.ablation.statistics import Estimate
from experiments.ablation.trial import Grid
from experiments.ablation.worlds import worlds
from experiments.evaluate import hardware, judged, versions
from experiments.jobs import job_folder, results
from experiments.page import brief
from experiments.recorder import read_metrics
from experiments.studies import command, reproduce

_POINTS = 40  # of a learning curve, at most


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
    lists = {"env": config.worlds, DIAL: list(map(dial, config.coupling))}
    lists |= {"agent.psi": config.psi, "seed": config.seeds}
    told = [f"{key}={','.join(map(str, values))}" for key, values in lists.items() if values] + config.trial
    if config.margin != AblationConfig().margin:
        told.append(f"margin={config.margin:g}")
    return command("study=ablation", *told)


def _runs(cell: Cell, of: Iterable[Trial], found: Found) -> Runs:
    done = {trial: found[trial.name] for trial in of if trial.cell == cell and trial.name in found}
    return Runs(cell, done, bool(done) and all(scale_of(one).oracle is not None for one in done.values()))


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
    """Write p-values corrected for the number of cells into the gaps; p_behind is that of a gap below 0."""
    pairs = [(cell["gap"], runs.gaps()) for cell, runs in zip(told, groups, strict=True) if cell["gap"]]
    if pairs:
        holm = statistics.holm([gap["p"] for gap, _ in pairs])
        ahead, behind = (
            statistics.step_down([{seed: sign * gap for seed, gap in gaps.items()} for _, gaps in pairs], chance())
            for sign in (1, -1)
        )
        for (gap, _), *corrected in zip(pairs, holm, ahead, behind, strict=True):
            gap |= dict(zip(("p_corrected", "p_step_down", "p_behind"), corrected, strict=True))


def _overall(groups: Sequence[Runs], forms: Sequence[str]) -> dict[str, Any]:
    """Interquartile mean of each form over all cells in which every form has a score."""
    scores = [{psi: list(runs.scores(psi).values()) for psi in forms} for runs in groups if runs.normalised]
    whole = [cell for cell in scores if all(cell.values())]
    iqm = {psi: statistics.iqm([cell[psi] for cell in whole], chance())._asdict() if whole else None for psi in forms}
    return {"cells": len(whole), "iqm": iqm}


def _trend(told: Sequence[Found], groups: Sequence[Runs], margin: float) -> dict[str, Any]:
    ranked = [(runs, nats_of(cell)) for cell, runs in zip(told, groups, strict=True) if runs.normalised and runs.gaps()]
    ranked = [(runs, nats) for runs, nats in ranked if nats is not None]
    found = statistics.Trend(None, None)
    if ranked:
        gaps, worlds = [list(runs.gaps().values()) for runs, _ in ranked], [runs.cell.env for runs, _ in ranked]
        found = statistics.trend(gaps, [nats for _, nats in ranked], worlds, chance())
    p, smallest = found.test or (None, None)
    rho = found.rho._asdict() if found.rho else None
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
    of = judged(one.get("summary", {}))
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
