"""Progress of a study: how many jobs are done, how long the rest may take, and how far each that runs has come."""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_INTERVAL = 0.5  # seconds between looks


class Step(NamedTuple):
    """How far a job has come. Fields: done of total, and in words."""

    done: float
    total: float
    told: str


class Watch:
    """Bars, while the block lasts, of all jobs together and of each that has begun and is not done.

    Args:
        names: of all jobs.
        is_done: of a job by name.
        look: how far a job has come; None for one that has not begun.
        console: where bars are drawn; nothing moves on one that is no terminal.
    """

    def __init__(
        self,
        names: Sequence[str],
        is_done: Callable[[str], bool],
        look: Callable[[str], Step | None],
        console: Console,
    ) -> None:
        self._names, self._is_done, self._look = names, is_done, look
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
        clock = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        self._bar = Progress(*columns, *clock, console=console, transient=True, disable=not console.is_terminal)
        self._all = self._bar.add_task("jobs", total=len(names), told="")
        self._tasks: dict[str, TaskID] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watch":
        """Start drawing."""
        self._bar.start()
        if not self._bar.disable:  # else there is nobody to look for
            self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        """Stop drawing."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self._bar.stop()

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL):
            done = {name for name in self._names if self._is_done(name)}
            self._bar.update(self._all, completed=len(done), told=f"{len(done)}/{len(self._names)}")
            for name in self._names:
                step = None if name in done else self._look(name)
                if step is not None:
                    self._show(name, step)
                elif name in self._tasks:
                    self._bar.remove_task(self._tasks.pop(name))

    def _show(self, name: str, step: Step) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, told="")
        self._bar.update(self._tasks[name], completed=step.done, total=step.total, told=step.told)
