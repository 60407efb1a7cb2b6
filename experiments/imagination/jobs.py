"""The jobs of the study."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from experiments.config import RunConfig, parse
from experiments.imagination.plan import ImaginationConfig, Trial, cells, fits, settings, trials
from experiments.jobs import job_folder, leave, train_agent
from experiments.recorder import METRICS, read_metrics
from experiments.watch import Step


class Grid(NamedTuple):
    """What all jobs share: settings and run folder."""

    config: ImaginationConfig
    folder: Path


def do(grid: Grid, name: str) -> None:
    """Do a job and leave its result."""
    from experiments.imagination.measure import exact_figures, measure

    exact = {f"exact-{cell.name}": cell for cell in cells()}
    models = {fit.name: fit for fit in fits()}
    if name in exact:
        leave(grid.folder, name, lambda: exact_figures(exact[name]))
    elif name in models:
        leave(grid.folder, name, lambda: measure(*models[name]))
    else:
        trial = _trial(grid, name)
        leave(grid.folder, name, lambda: _run(grid, trial))
        shutil.rmtree(job_folder(grid.folder, name) / "checkpoints", ignore_errors=True)


def look(grid: Grid, name: str) -> Step | None:
    """How far an agent has come."""
    if not (job_folder(grid.folder, name) / METRICS).exists():
        return None
    records = read_metrics(job_folder(grid.folder, name))
    if not records:
        return None
    done, total = records[-1]["steps"], run_config(grid.config, _trial(grid, name)).steps
    return Step(done, total, f"{done:,}/{total:,} steps")


def run_config(config: ImaginationConfig, trial: Trial) -> RunConfig:
    """The training run of an agent."""
    return parse(settings(trial, config))


def _trial(grid: Grid, name: str) -> Trial:
    return next(trial for trial in trials(grid.config) if trial.name == name)


def _run(grid: Grid, trial: Trial) -> dict[str, Any]:
    return train_agent(run_config(grid.config, trial), job_folder(grid.folder, trial.name))[1]
