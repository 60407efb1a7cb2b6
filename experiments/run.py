"""Run an experiment: train an agent in an environment and report what it learned.

python experiments/run.py env=match
python experiments/run.py env=goto env.size=8 agent.psi=late ppo.lr=3e-4 ray.workers=2 seed=3
python experiments/run.py env=BabyAI-GoToLocal-v0 agent.memory=gru
python experiments/run.py resume=runs/match-20260101-120000
"""

import json
import os
import signal
import sys
import time
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from experiments.config import ConfigError, RunConfig, load, override, parse, to_yaml
from experiments.recorder import read_metrics, write_aside

console = Console(stderr=True, highlight=False)


def main(arguments: list[str]) -> int:
    """Exit status: 0 done, 1 failed, 2 mistaken arguments, 130 stopped by Ctrl-C after saving."""
    if arguments in (["-h"], ["--help"], ["help"]):
        print(f"{__doc__}\n{to_yaml(RunConfig())}")
        return 0
    try:
        config, folder = prepare(arguments)
    except (ConfigError, ValueError) as error:
        console.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
        return 2
    try:
        stopped = run_training(config, folder)
        summary = conclude(config, folder, stopped)
    except (RuntimeError, ValueError) as error:
        console.print(f"[red]error:[/red] {escape(' '.join(str(error).split()))}", soft_wrap=True)
        return 1
    except Exception as error:  # an environment of the user's own may raise anything
        write_aside(folder / "failure.txt", traceback.format_exc())
        told = f"{type(error).__name__}: {' '.join(str(error).split())}; the traceback is in {folder / 'failure.txt'}"
        console.print(f"[red]error:[/red] {escape(told)}", soft_wrap=True)
        return 1
    if config.json:
        print(json.dumps(summary))
    return 130 if stopped else 0


def prepare(arguments: list[str]) -> tuple[RunConfig, Path]:
    """A checked configuration and its run folder; worlds and network are built once, so that mistakes show here."""
    resume = [a.partition("=")[2] for a in arguments if a.startswith("resume=")]
    if resume:
        folder = Path(resume[-1])
        config = _resumed(load(folder), arguments)
    else:
        config = parse(arguments)
        folder = _new_folder(config)
    from experiments.train import make_learner

    make_learner(config).envs.close()
    if config.resume is None:
        folder.mkdir(parents=True)
        write_aside(folder / "config.yaml", to_yaml(config))
    return config, folder


def run_training(config: RunConfig, folder: Path) -> bool:
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


def conclude(config: RunConfig, folder: Path, stopped: bool) -> dict[str, Any]:
    """Evaluate, write summary, episodes and report, and tell what came out."""
    from experiments.evaluate import evaluate, watch
    from experiments.report import write_report
    from experiments.train import make_learner

    learner = make_learner(config)
    learner.load(folder)
    if stopped:
        console.print(f"stopped and saved; continue with resume={folder}", soft_wrap=True)
        return {"stopped": True, "steps": learner.steps, "folder": str(folder)}
    with console.status("evaluating"):
        summary = evaluate(config, learner)
        watch(config, learner, folder / "episodes.npz")
    last = read_metrics(folder)[-1]
    command = "python experiments/run.py " + " ".join(_reproduce(config))
    speed = last["steps"] / max(last["seconds"], 1e-9)
    summary |= {"steps": last["steps"], "seconds": last["seconds"], "steps_per_second": speed, "command": command}
    summary |= {"folder": str(folder)}
    write_aside(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    write_report(folder)
    _tell(summary, folder)
    return summary


def _resumed(config: RunConfig, arguments: list[str]) -> RunConfig:
    """A run's own configuration; on resuming only its length, distribution and output may change."""
    free = ("resume", "steps", "until", "episodes", "json", "ray.workers", "ray.address", "device")
    for argument in arguments:
        key = argument.partition("=")[0]
        if key not in free:
            raise ConfigError(f"{key!r} can't change on resuming; only {', '.join(free)} can")
    return override(config, arguments)


def _new_folder(config: RunConfig) -> Path:
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in str(config.env["id"])).strip("-.")
    base = Path(config.runs) / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    taken = (base.with_name(f"{base.name}-{i}") for i in range(1, 1000))
    return base if not base.exists() else next(folder for folder in taken if not folder.exists())


def _reproduce(config: RunConfig) -> list[str]:
    """The arguments that differ from the defaults."""
    from omegaconf import OmegaConf

    def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        leaves: dict[str, Any] = {}
        for key, value in values.items():
            leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        return leaves

    mine, default = (
        flat(OmegaConf.to_container(OmegaConf.structured(c)))  # type: ignore[arg-type]
        for c in (config, RunConfig())
    )
    changed = {key: value for key, value in mine.items() if key != "env.id" and value != default.get(key)}
    hidden = ("resume", "json", "runs")
    told = [f"{key}={'' if value is None else value}" for key, value in changed.items() if key not in hidden]
    return [f"env={mine['env.id']}", *told]


def _tell(summary: dict[str, Any], folder: Path) -> None:
    from rich.table import Table

    table = Table(
        title=f"{summary['env']}: {summary['steps']:,} steps in {summary['seconds']:.1f} s", title_justify="left"
    )
    for heading in ("", "success", "95 %", f"J (gamma {summary['gamma']:g})", "95 %", "length"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for name, row in {"agent": summary, **summary["anchors"]}.items():
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


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        os._exit(130)
