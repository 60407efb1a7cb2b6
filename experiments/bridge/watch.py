"""Progress of the study: how many jobs are done, and how far each of those that run has come."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from experiments.bridge.bench import PROGRESS, is_done, job_folder

_INTERVAL = 0.5  # seconds between looks


class Watch:
    """Bars, while the block lasts, of all jobs together and of each that has begun and is not done.

    Args:
        folder: run folder.
        names: of all jobs.
        console: where bars are drawn; nothing moves on one that is no terminal.
    """

    def __init__(self, folder: Path, names: Sequence[str], console: Console) -> None:
        self._folder, self._names = folder, names
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
        self._bar = Progress(
            *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
        )
        self._all = self._bar.add_task("jobs", total=len(names), told="")
        self._tasks: dict[str, TaskID] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watch":
        """Start drawing."""
        self._bar.start()
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        """Stop drawing."""
        self._ended.set()
        self._thread.join()
        self._bar.stop()

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL):
            done = {name for name in self._names if is_done(self._folder, name)}
            self._bar.update(self._all, completed=len(done), told=f"{len(done)}/{len(self._names)}")
            for name in self._names:
                path = job_folder(self._folder, name) / PROGRESS
                if name in done and name in self._tasks:
                    self._bar.remove_task(self._tasks.pop(name))
                elif name not in done and path.exists():
                    self._show(name, json.loads(path.read_text()))

    def _show(self, name: str, told: dict) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, told="")
        what = f"{told['stage']}: {told['step']:,}/{told['steps']:,} steps, loss {told['loss']:.4g}"
        self._bar.update(self._tasks[name], completed=told["step"], total=told["steps"], told=what)
