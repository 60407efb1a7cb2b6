"""What one shared latent gains over late fusion and one modality, in worlds of measured non-separability."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.ablation.plan import PRESETS, AblationConfig, absent, jobs, read_grid, run_config, trials
from experiments.config import build, override, to_yaml
from experiments.studies import new_folder, resumed
from unienv.aside import write_aside
from unienv.spelling import check_choice

CONFIG = AblationConfig
_OWN = ("study", "preset", "margin", "ray.workers", "ray.address", "runs", "resume", "json")
_FREE = ("ray.workers", "ray.address", "json")  # what may change on resuming


def prepare(arguments: list[str]) -> tuple[AblationConfig, Path]:
    """A checked configuration and its run folder; the settings of every trial are checked here."""
    going_on = resumed(arguments, AblationConfig, _FREE)
    if going_on:
        return going_on
    own = [a for a in arguments if a.partition("=")[0] in _OWN]
    config = override(AblationConfig(), own)
    check_choice("preset", config.preset, tuple(PRESETS))
    grid = read_grid(PRESETS[config.preset].split()) | read_grid([a for a in arguments if a not in own])
    config = build({**asdict(config), **grid}, AblationConfig)
    config.absent = absent(config)
    from experiments.train import make_learner

    tried: set[Any] = set()
    for trial in trials(config):
        one, parts = run_config(config, trial), {trial.cell, (trial.cell.env, trial.psi)}
        if not parts <= tried:
            make_learner(one).envs.close()
        tried |= parts
    folder = new_folder(config.runs, "ablation")
    write_aside(folder / "config.yaml", to_yaml(config))
    return config, folder


def run(config: AblationConfig, folder: Path, console: Console) -> dict[str, Any]:
    """Do all trials and measurements that are not done, and report; Ctrl-C leaves the rest for later."""
    from experiments.ablation.conclude import conclude
    from experiments.ablation.report import leave
    from experiments.ablation.trial import Grid, do
    from experiments.campaign import Campaign, carry_out
    from experiments.jobs import look

    for env, form in map(str.split, config.absent):
        console.print(f"{env} has no {form}: agent.psi={form} is left out there", markup=False, soft_wrap=True)
    grid = Grid(config, folder)
    campaign = Campaign(jobs(config), do, grid, partial(look, folder), partial(conclude, grid))
    summary = carry_out(campaign, config, folder, console)
    if summary is None:
        return {"stopped": True, "folder": str(folder)}
    leave(summary, folder, console)
    return {key: value for key, value in summary.items() if key != "worlds"}  # pictures, for the report
