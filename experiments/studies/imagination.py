"""World models on the shared latent: what the product form loses in nats, and what imagined rollouts are worth."""

from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.config import parse, to_yaml
from experiments.imagination.plan import ImaginationConfig, jobs
from experiments.studies import new_folder, resumed
from unienv.aside import write_aside

CONFIG = ImaginationConfig
_FREE = ("ray.workers", "ray.address", "json")  # what may change on resuming


def prepare(arguments: list[str]) -> tuple[ImaginationConfig, Path]:
    """A checked configuration and its run folder."""
    going_on = resumed(arguments, ImaginationConfig, _FREE)
    if going_on:
        return going_on
    config = parse(arguments, ImaginationConfig)
    folder = new_folder(config.runs, "imagination")
    write_aside(folder / "config.yaml", to_yaml(config))
    return config, folder


def run(config: ImaginationConfig, folder: Path, console: Console) -> dict[str, Any]:
    """Do all jobs that are not done, and report; Ctrl-C leaves the rest for later."""
    from experiments.campaign import Campaign, carry_out
    from experiments.imagination.conclude import conclude
    from experiments.imagination.jobs import Grid, do
    from experiments.imagination.plain import to_markdown
    from experiments.imagination.report import tell, write_report
    from experiments.jobs import look

    grid = Grid(config, folder)
    campaign = Campaign(jobs(config), do, grid, partial(look, folder), partial(conclude, grid))
    summary = carry_out(campaign, config, folder, console)
    if summary is None:
        return {"stopped": True, "folder": str(folder)}
    write_aside(folder / "imagination.md", to_markdown(summary))
    write_report(folder)
    tell(summary, console)
    console.print(f"run folder  {folder}\nreport      {folder / 'report.html'}", soft_wrap=True)
    return summary
