"""What jobs of a study have in common: a folder each in its run folder, with a result once it is done."""

import contextlib
import json
import time
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from agents.learner import Learner
from experiments.config import RunConfig, load, to_yaml
from experiments.recorder import read_metrics, trained_seconds
from experiments.studies import reproduce
from experiments.watch import Step
from unienv.aside import write_aside

JOBS = "jobs"  # below a run folder, from the first job on
_RESULT, _FAILURE = "result.json", "failure.txt"


def job_folder(folder: Path, name: str) -> Path:
    """Where a job works, in a run folder: below it whatever the name, which may come from another's settings."""
    return folder / JOBS / quote(name, safe=" ")


def is_done(folder: Path, name: str) -> bool:
    """Whether a job has left its result."""
    return (job_folder(folder, name) / _RESULT).exists()


def has_failed(folder: Path, name: str) -> bool:
    """Whether a job has ended in a failure, and has not begun again since."""
    return (job_folder(folder, name) / _FAILURE).exists()


def look(folder: Path, name: str) -> Step | None:
    """How far the training of a job has come, see `train_agent`; None before its first update, or if it trains none."""
    place = job_folder(folder, name)
    records = read_metrics(place)
    if not records:
        return None
    done, total = records[-1]["steps"], _steps(place)
    return Step(done, total, f"{done:,}/{total:,} steps")


@cache
def _steps(place: Path) -> int:
    """For how long a job trains, which is asked for twice a second."""
    return load(place).steps


def results(folder: Path) -> dict[str, Any]:
    """What the jobs that are done have found, by name."""
    found = sorted(folder.glob(f"{JOBS}/*/{_RESULT}"))
    return {unquote(path.parent.name): json.loads(path.read_text()) for path in found}


def train_agent(config: RunConfig, place: Path) -> tuple[Learner, dict[str, Any]]:
    """Train and evaluate an agent in a job's folder: the learner, its worlds closed, and what it brings to a result.

    Returns:
        The learner; and summary, see `experiments.evaluate`, seconds of training, None where they are not known, and
        the command that does the same.
    """
    from experiments.evaluate import evaluate
    from experiments.train import make_learner, train

    write_aside(place / "config.yaml", to_yaml(config))
    train(config, place)
    learner = make_learner(config)
    learner.load(place)
    summary = evaluate(config, learner)
    learner.envs.close()
    return learner, {"summary": summary, "seconds": trained_seconds(place), "command": reproduce(config)}


def leave(folder: Path, name: str, work: Callable[[], dict[str, Any]]) -> None:
    """Do a job and leave its result, and the seconds it took; what it raises is written down, and raised."""
    place, began = job_folder(folder, name), time.perf_counter()
    place.mkdir(parents=True, exist_ok=True)
    (place / _FAILURE).unlink(missing_ok=True)  # of a try before
    try:
        result = work()
    except Exception:
        with contextlib.suppress(OSError):  # on a full disk what the job itself raised says more
            write_aside(place / _FAILURE, traceback.format_exc())
        raise
    write_aside(place / _RESULT, json.dumps(result | {"job_seconds": round(time.perf_counter() - began, 1)}) + "\n")
