"""What a run leaves behind while it goes: metrics.jsonl and TensorBoard, one record an update."""

import json
from itertools import takewhile
from pathlib import Path
from typing import Any

from unienv.aside import write_aside

METRICS = "metrics.jsonl"


class Recorder:
    """Appends metrics of updates to a run folder.

    Args:
        folder: run folder.
        steps: env steps that the run continues from; later records, of work that was lost, are dropped.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        kept = [record for record in read_metrics(folder) if record["steps"] <= steps]
        write_aside(folder / METRICS, "".join(json.dumps(record) + "\n" for record in kept))
        self.seconds = trained_seconds(folder) or 0.0
        self._file = (folder / METRICS).open("a")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=steps + 1)

    def write(self, record: dict[str, Any]) -> None:
        """One update; its line is on disk when this returns."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        for name, value in record.items():
            if value is not None and name != "steps":
                self._board.add_scalar(name, value, record["steps"])

    def close(self) -> None:
        """Flush and close."""
        self._file.close()
        self._board.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The records of a run folder; a line that is none, as one cut short by a crash, ends them."""
    path = folder / METRICS
    text = path.read_text(errors="replace") if path.exists() else ""
    return list(takewhile(bool, map(read_record, text.split("\n"))))


def trained_seconds(folder: Path) -> float | None:
    """Seconds of training so far; None where metrics do not tell."""
    records = read_metrics(folder)
    return records[-1].get("seconds") if records else None


def read_record(line: str | bytes) -> dict[str, Any]:
    """The record of a line; empty where it is damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    whole = isinstance(record, dict) and type(record.get("steps")) is int
    return record if whole and all(value is None or type(value) in (int, float) for value in record.values()) else {}
