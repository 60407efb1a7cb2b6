"""The text bridge measured: a continuous latent of text, its ELBO, its three curves, and what it is used for."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.bridge.plan import BridgeConfig, jobs
from experiments.config import parse, to_yaml
from experiments.studies import new_folder, resumed
from unienv.aside import write_aside

CONFIG = BridgeConfig
_FREE = ("ray.workers", "ray.address", "device", "json")  # what may change on resuming


def prepare(arguments: list[str]) -> tuple[BridgeConfig, Path]:
    """A checked configuration and its run folder; corpus and models are tried once, so that mistakes show here."""
    from encoders.text.tokens import save_tokens
    from experiments.bridge.bench import TOKENS, open_study

    going_on = resumed(arguments, BridgeConfig, _FREE)
    if going_on:
        open_study(*going_on)
        return going_on
    config = parse(arguments, BridgeConfig)
    study = open_study(config, None)
    config = replace(config, length=study.length)
    folder = new_folder(config.runs, f"bridge-{Path(config.corpus).name}")
    save_tokens(folder / TOKENS, study.corpus.tokens)
    write_aside(folder / "config.yaml", to_yaml(config))
    return config, folder


def run(config: BridgeConfig, folder: Path, console: Console) -> dict[str, Any]:
    """Do all jobs that are not done, measure what takes the machine alone, and report; Ctrl-C leaves all for later."""
    from experiments.bridge.bench import look, open_study
    from experiments.bridge.claims import tell
    from experiments.bridge.conclude import conclude
    from experiments.bridge.jobs import do
    from experiments.bridge.report import write_report
    from experiments.campaign import Campaign, carry_out

    study = open_study(config, folder)
    campaign = Campaign(jobs(config), do, study, partial(look, folder), partial(conclude, study))
    summary = carry_out(campaign, config, folder, console)
    if summary is None:
        return {"stopped": True, "folder": str(folder)}
    write_report(folder)
    tell(summary, console)
    console.print(f"run folder  {folder}\nreport      {folder / 'report.html'}", soft_wrap=True)
    return summary
