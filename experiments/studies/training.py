"""Train an agent in an environment, evaluate it, and report what it learned."""

import json
import signal
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.config import RunConfig, parse, to_yaml
from experiments.recorder import METRICS, trained_seconds
from experiments.studies import new_folder, reproduce, resumed
from unienv.aside import write_aside

CONFIG = RunConfig
_FREE = ("steps", "until", "episodes", "json", "ray.workers", "ray.address", "device")  # what may change on resuming


def prepare(arguments: list[str]) -> tuple[RunConfig, Path]:
    """A checked configuration and its run folder; worlds and network are built once, so that mistakes show here."""
    from experiments.train import make_learner

    going_on = resumed(arguments, RunConfig, _FREE)
    config = going_on[0] if going_on else parse(arguments)
    make_learner(config).envs.close()
    if going_on:
        return going_on
    folder = new_folder(config.runs, str(config.env["id"]))
    write_aside(folder / "config.yaml", to_yaml(config))
    return config, folder


def run(config: RunConfig, folder: Path, console: Console) -> dict[str, Any]:
    """Train and conclude; the summary holds "stopped" when Ctrl-C ended the training."""
    if config.resume:  # settings that changed hold from now on, also for who continues once more
        write_aside(folder / "config.yaml", to_yaml(replace(config, resume=None, json=False)))
    stopped = _train(config, folder, console)
    return _conclude(config, folder, stopped, console)


def _train(config: RunConfig, folder: Path, console: Console) -> bool:
    """Train, showing progress; True when it was stopped by Ctrl-C."""
    from experiments.progress import Progress
    from experiments.train import STOP, as_argument, train

    stop = folder / STOP
    stop.unlink(missing_ok=True)
    with _interruptible(stop) as interrupted, Progress(folder, config, console):
        if config.ray.workers:
            from agents.distributed import launch
            from experiments.train import train_replica

            launch(train_replica, as_argument(config, folder), config.ray.workers, config.ray.address, folder)
        else:
            train(config, folder)
    stop.unlink(missing_ok=True)
    return bool(interrupted)


def _conclude(config: RunConfig, folder: Path, stopped: bool, console: Console) -> dict[str, Any]:
    """Evaluate, write summary, episodes, dreams and report, and tell what came out."""
    from experiments.dream import dream
    from experiments.evaluate import evaluate, watch
    from experiments.report import write_report
    from experiments.train import make_learner

    learner = make_learner(config)
    learner.load(folder)
    if stopped:
        for name in ("dreams.npz", "episodes.npz", "summary.json"):  # of an agent that has been trained on
            (folder / name).unlink(missing_ok=True)
        if (folder / METRICS).exists():
            write_report(folder)
        console.print(f"stopped and saved; continue with resume={folder}", soft_wrap=True)
        return {"stopped": True, "steps": learner.steps, "folder": str(folder)}
    with console.status("evaluating"):
        summary = evaluate(config, learner)
        watch(config, learner, folder / "episodes.npz")
        if config.agent.imagine is not None:
            dream(config, learner, folder / "dreams.npz")
    seconds = trained_seconds(folder)
    summary |= {
        "steps": learner.steps,
        "seconds": seconds,
        "steps_per_second": None if seconds is None else learner.steps / max(seconds, 1e-9),
        "command": reproduce(config),
    }
    summary |= {"folder": str(folder)}
    write_aside(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    write_report(folder)
    _tell(summary, folder, console)
    return summary


def _tell(summary: dict[str, Any], folder: Path, console: Console) -> None:
    took = "" if summary["seconds"] is None else f" in {summary['seconds']:.1f} s"
    table = Table(title=f"{summary['env']}: {summary['steps']:,} steps{took}", title_justify="left")
    for heading in ("", "success", "95 %", f"J (gamma {summary['gamma']:g})", "95 %", "length"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    held_out = {"held out": summary["held_out"]} if summary["held_out"] else {}
    for name, row in {"agent": summary, **held_out, **summary["anchors"]}.items():
        first, second = (f"{row[key + '_low']:.3f} {row[key + '_high']:.3f}" for key in ("success", "J"))
        table.add_row(name, f"{row['success']:.3f}", first, f"{row['J']:.3f}", second, f"{row['length']:.1f}")
    console.print(table)
    console.print(f"run folder  {folder}\nreport      {folder / 'report.html'}", soft_wrap=True)


@contextmanager
def _interruptible(stop: Path) -> Any:
    """Ctrl-C asks the replicas to save and end; a second one ends at once."""
    seen: list[int] = []

    def handle(number: int, frame: Any) -> None:
        del frame
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        stop.touch()

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, previous)
