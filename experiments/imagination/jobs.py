"""The jobs of the study."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from experiments.config import RunConfig, parse
from experiments.imagination.plan import ImaginationConfig, Trial, cells, fits, settings, trials
from experiments.jobs import job_folder, leave, train_agent


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
        trial = next(trial for trial in trials(grid.config) if trial.name == name)
        leave(grid.folder, name, lambda: _run(grid, trial))
        shutil.rmtree(job_folder(grid.folder, name) / "checkpoints", ignore_errors=True)


def run_config(config: ImaginationConfig, trial: Trial) -> RunConfig:
    """The training run of an agent."""
    return parse(settings(trial, config))


def _run(grid: Grid, trial: Trial) -> dict[str, Any]:
    return train_agent(run_config(grid.config, trial), job_folder(grid.folder, trial.name))[1]
