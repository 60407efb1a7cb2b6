"""What agents that read `manual` as tokens, or as latents of a bridge, carry over to manuals held out."""

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.config import ConfigError, override, to_yaml
from experiments.studies import new_folder, resumed
from experiments.transfer.plan import FIXED, TransferConfig, jobs, run_config, tasks
from unienv.aside import write_aside

CONFIG = TransferConfig
_OWN = ("study", "seeds", "attempts", "fit", "batch", "lr", "runs", "resume", "json")
_FREE = ("ray.workers", "ray.address", "json")  # what may change on resuming


def prepare(arguments: list[str]) -> tuple[TransferConfig, Path]:
    """A checked configuration and its run folder; the settings of agents are checked here."""
    going_on = resumed(arguments, TransferConfig, _FREE)
    if going_on:
        return going_on
    own = [a for a in arguments if (key := a.partition("=")[0]) in _OWN or key.startswith(("ray.", "vae."))]
    config = replace(override(TransferConfig(), own), trial=[a for a in arguments if a not in own])
    _check(config)
    from experiments.train import make_learner

    make_learner(run_config(config, tasks(config)["tokens-0"], Path())).envs.close()
    folder = new_folder(config.runs, "transfer")
    write_aside(folder / "config.yaml", to_yaml(config))
    return config, folder


def _check(config: TransferConfig) -> None:
    for name in ("seeds", "attempts", "fit"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name}: expected at least 1, got {getattr(config, name)}")
    for key in (argument.partition("=")[0] for argument in config.trial):
        if key in FIXED:
            raise ConfigError(f"{key} is set by study=transfer itself; how many seeds there are is seeds=5")


def run(config: TransferConfig, folder: Path, console: Console) -> dict[str, Any]:
    """Do all jobs that are not done, and compare; Ctrl-C leaves the rest for later."""
    from experiments.jobs import is_done
    from experiments.pool import run_jobs
    from experiments.transfer.conclude import conclude, tell, to_markdown
    from experiments.transfer.jobs import Study, do, look
    from experiments.watch import Watch

    began, study, todo, done = time.perf_counter(), Study(config, folder), jobs(config), partial(is_done, folder)
    whole = not any(done(job.name) for job in todo)
    try:
        with Watch([job.name for job in todo], done, partial(look, study), console):
            failed = run_jobs(todo, do, study, done, config.ray.workers, config.ray.address)
    except KeyboardInterrupt:
        console.print(f"stopped; continue with study=transfer resume={folder}", soft_wrap=True)
        return {"stopped": True, "folder": str(folder)}
    seconds = round(time.perf_counter() - began, 1) if whole else None
    summary = conclude(study, failed) | {"seconds": seconds, "folder": str(folder)}
    write_aside(folder / "transfer.json", json.dumps(summary, indent=1) + "\n")
    write_aside(folder / "transfer.md", to_markdown(summary))
    tell(summary, console)
    console.print(f"run folder  {folder}", soft_wrap=True)
    return summary
