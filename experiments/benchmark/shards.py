"""Transitions a second counted from disk, and the memory of each process, by the number of workers."""

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from experiments.benchmark.timing import Row, Timing, row
from unienv.separability.transitions import Distinct, Transitions

_SHARDS, _ROWS = 20, 500_000
_TEXTS, _PICTURES, _LONG = 32, 288, 8  # distinct values; rows an episode, which lies in one shard
_CASES = (("parquet", 1), ("parquet", 2), ("parquet", 4), ("npz", 1))  # kind of shards, workers
_POLL = 0.1  # seconds


def shards(timing: Timing) -> list[Row]:
    """10 million transitions in 20 shards: `study=separability data=..` as a command, workers of one thread each."""
    told = defaultdict[tuple[str, str], list[float]](list)
    with TemporaryDirectory() as place:
        for kind in {kind for kind, _ in _CASES}:
            _write(Path(place) / kind, kind)
        for _ in range(timing.rounds):
            for kind, workers in _CASES:
                name = f"{_SHARDS * _ROWS:,} transitions, {kind}, {workers} worker{'s' * (workers != 1)}"
                began = time.perf_counter()
                counting, memory = _measure(Path(place) / kind, workers)
                told[f"{name}: command", "s"].append(time.perf_counter() - began)
                told[name, "transitions/s"].append(_SHARDS * _ROWS / counting)
                for process, most in memory.items():
                    told[f"{name}: peak memory of {process}", "MiB"].append(most)
    return [row(name, unit, values) for (name, unit), values in told.items()]


def _write(folder: Path, kind: str) -> None:
    """Shards like those of match: two modalities, and feedback that is joint a little."""
    generator = np.random.default_rng(0)
    texts = generator.integers(0, 40, (_TEXTS, 8), np.int32)
    pictures = generator.integers(0, 256, (_PICTURES, 64), np.uint8)
    score = generator.normal(size=(_TEXTS, 1)) + generator.normal(size=_PICTURES)
    chance = 1 / (1 + np.exp(-score - 0.1 * generator.normal(size=score.shape)))
    folder.mkdir()
    for shard in range(_SHARDS):
        text, picture = generator.integers(0, _TEXTS, _ROWS), generator.integers(0, _PICTURES, _ROWS)
        action = generator.integers(0, 2, _ROWS)
        feedback = (generator.random(_ROWS) < chance[text, picture]).astype(np.int64)
        episode = (shard * _ROWS + np.arange(_ROWS)) // _LONG
        path = folder / f"{shard:02d}.{kind}"
        if kind == "npz":
            observation = {"text": Distinct(texts, text), "image": Distinct(pictures, picture)}
            Transitions(observation, action, feedback, episode).save(path)
        else:
            import pyarrow as pa
            import pyarrow.parquet as pq

            columns = {"action": action, "feedback": feedback, "episode": episode}
            columns["text"] = pa.FixedSizeListArray.from_arrays(texts[text].ravel(), texts.shape[1])
            columns["image"] = pa.array([value.tobytes() for value in pictures]).take(picture)
            pq.write_table(pa.table(columns), path)


def _measure(data: Path, workers: int) -> tuple[float, dict[str, float]]:
    """Seconds of counting, and the most memory (MiB) of the driver and of a worker, where the system tells it."""
    command = [sys.executable, "-m", "experiments.run", "study=separability", f"data={data}", f"ray.workers={workers}"]
    memory: dict[str, float] = {}
    command += [f"runs={data.parent / 'runs'}", "json=true"]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=alone, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            for name, most in _peaks(process.pid).items():
                memory[name] = max(memory.get(name, 0), most)
            time.sleep(_POLL)
        told, mistakes = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {mistakes}")
    return json.loads(told.splitlines()[-1])["counting_seconds"], memory


def _peaks(driver: int) -> dict[str, float]:
    """Peak resident memory (MiB) of a process and of its largest worker on Ray, from Linux' /proc."""
    seen: dict[int, tuple[int, float, bytes]] = {}  # parent, memory, command
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, KeyError):  # it has ended
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
            most = int(status["VmHWM"].split()[0]) / 1024
            seen[int(folder.name)] = (int(status["PPid"]), most, (folder / "cmdline").read_bytes())
    family = {driver}
    while grown := {pid for pid, (parent, *_) in seen.items() if parent in family} - family:
        family |= grown
    workers = [seen[pid][1] for pid in family & seen.keys() if seen[pid][2].startswith(b"ray::")]
    own = {"the driver": seen[driver][1]} if driver in seen else {}
    return own | ({"a worker": max(workers)} if workers else {})
