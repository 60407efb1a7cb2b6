"""What agents that read `manual` as tokens, or as latents of a bridge, carry over to manuals held out."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from encoders.text.vae import TextVAE
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
    for name, least in (("seeds", 1), ("attempts", 100), ("fit", 1)):
        if getattr(config, name) < least:
            raise ConfigError(f"{name}: expected at least {least}, got {getattr(config, name)}")
    with torch.random.fork_rng(devices=[]):
        TextVAE(2, config.vae)
    for key in (argument.partition("=")[0] for argument in config.trial):
        if key in FIXED:
            raise ConfigError(f"{key} is set by study=transfer itself; how many seeds there are is seeds=5")


def run(config: TransferConfig, folder: Path, console: Console) -> dict[str, Any]:
    """Do all jobs that are not done, and compare; Ctrl-C leaves the rest for later."""
    from experiments.campaign import Campaign, carry_out
    from experiments.jobs import look
    from experiments.transfer.conclude import conclude, tell, to_markdown
    from experiments.transfer.jobs import Study, do

    study = Study(config, folder)
    campaign = Campaign(jobs(config), do, study, partial(look, folder), partial(conclude, study))
    summary = carry_out(campaign, config, folder, console)
    if summary is None:
        return {"stopped": True, "folder": str(folder)}
    write_aside(folder / "transfer.md", to_markdown(summary))
    tell(summary, console)
    console.print(f"run folder  {folder}", soft_wrap=True)
    return summary
