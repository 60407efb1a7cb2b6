"""A study that is made of jobs: those that are not done are done, watched, and concluded from."""

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from experiments.jobs import JOBS, has_failed, is_done
from experiments.pool import Job, Work, run_jobs
from experiments.watch import Step, Watch
from unienv.aside import write_aside


class Campaign(NamedTuple):
    """What there is to do.

    Fields:
        jobs, work, shared: see `run_jobs`.
        look: how far a job has come, see `Watch`.
        conclude: makes the summary, given what went wrong by the name of the job.
    """

    jobs: Sequence[Job]
    work: Work
    shared: Any
    look: Callable[[str], Step | None]
    conclude: Callable[[dict[str, str]], dict[str, Any]]


def carry_out(campaign: Campaign, config: Any, folder: Path, console: Console) -> dict[str, Any] | None:
    """Do all jobs that are not done and leave `<study>.json`, or at Ctrl-C the rest for later.

    Args:
        campaign: what to do.
        config: of the study, with `study` and `ray`.
        folder: of the run.
        console: where progress is drawn.

    Returns:
        The summary with the folder, and the seconds it took: None where it had begun before. None at Ctrl-C.
    """
    began, done = time.perf_counter(), partial(is_done, folder)
    whole = not (folder / JOBS).exists()
    try:
        with Watch([job.name for job in campaign.jobs], done, partial(_look, campaign, folder), console):
            failed = run_jobs(
                campaign.jobs, campaign.work, campaign.shared, done, config.ray.workers, config.ray.address
            )
        with console.status("concluding"):
            summary = campaign.conclude(failed)
    except KeyboardInterrupt:
        console.print(f"stopped; continue with study={config.study} resume={folder}", soft_wrap=True)
        return None
    seconds = round(time.perf_counter() - began, 1) if whole else None
    summary |= {"seconds": seconds, "folder": str(folder)}
    write_aside(folder / f"{config.study}.json", json.dumps(summary, indent=1) + "\n")
    return summary


def _look(campaign: Campaign, folder: Path, name: str) -> Step | None:
    """How far a job has come that goes on; one that has failed leaves what it had reached lying about."""
    return None if has_failed(folder, name) else campaign.look(name)
