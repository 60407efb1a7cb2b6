"""Progress of a run, read from its metrics as they are written: the same for training in process and on Ray."""

import os
import threading
from collections import deque
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from experiments.config import RunConfig
from experiments.recorder import METRICS, read_record

_INTERVAL = 0.25  # seconds between looks
_WINDOW = 1000  # episodes of the success shown


class Progress:
    """A bar with success, steps per second and time left, while the block lasts.

    Args:
        folder: run folder.
        config: of the run.
        console: where the bar is drawn; nothing moves on one that is no terminal.
    """

    def __init__(self, folder: Path, config: RunConfig, console: Console) -> None:
        self._reader = MetricsReader(folder / METRICS)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(str(config.env["id"]), total=config.steps, told="starting")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Progress":
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
        recent: deque[dict[str, Any]] = deque(maxlen=200)
        while not self._ended.wait(_INTERVAL):
            for record in self._reader.new():
                if recent and record["steps"] <= recent[-1]["steps"]:
                    recent.clear()  # work was lost and is done again
                recent.append(record)
            if recent:
                self._bar.update(self._task, completed=recent[-1]["steps"], told=_tell(recent))


class MetricsReader:
    """Records appended to a metrics file since the last look; all of them again when the file was cut back."""

    def __init__(self, path: Path) -> None:
        self._path, self._offset, self._file_number = path, 0, -1

    def new(self) -> list[dict[str, Any]]:
        """Whole lines only; what is half written waits for the next look."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            number = os.fstat(file.fileno()).st_ino
            if number != self._file_number:  # a recorder puts a new file in place when it cuts back to a checkpoint
                self._file_number, self._offset = number, 0
            file.seek(self._offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [record for record in map(read_record, whole.split(b"\n")) if record]


def _tell(recent: deque[dict[str, Any]]) -> str:
    wins = count = 0.0
    for record in reversed(recent):
        episodes, success = record.get("episodes"), record.get("success")
        if episodes and success is not None:  # a damaged line may lack either
            wins, count = wins + success * episodes, count + episodes
        if count >= _WINDOW:
            break
    told = f"success {wins / count:.3f}  " if count else ""
    return f"{told}{recent[-1].get('steps_per_second') or 0:,.0f} steps/s"
