"""What is left, and what a user reads, when a command or its Ray is killed."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from agents import checkpoint
from encoders.tensors import load_tensors
from experiments import run
from experiments.recorder import read_metrics
from tests.agents.test_distributed import PATIENCE, ROOT, children, needs_proc, wait_for
from tests.experiments.fragile import TINY, UPDATE
from tests.wait import wait_for as wait

pytestmark = [pytest.mark.timeout(3 * PATIENCE), pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]
STUDY = ["study=ablation", "env=match", "env.num_colours=2", "env.num_shapes=2", "env.coupling=1", "agent.psi=joint"]
STUDY += ["seed=0:2", "steps=6400"]
OFTEN = """
import sys
from functools import partial
from experiments import run, train
train.as_argument = partial(train.as_argument, save_every=0.2)
sys.exit(run.main(sys.argv[1:]))
"""
ENDED = 60.0  # seconds after which no worker of a killed command lives: two or three, where nothing else runs
TOLD = 60.0  # seconds after which a command has told that Ray was lost


@contextmanager
def command(runs, *arguments):
    """The command on two workers, with a checkpoint every 0.2 s."""
    words = [sys.executable, "-c", OFTEN, *arguments, "ray.workers=2", f"runs={runs}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, cwd=ROOT, env=environment, stdout=-1, stderr=-1, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def kill(process, victim, runs, going):
    """Kill the command or its raylet once it is `going`; exit status, what it said, and its run folder."""
    wait_for(lambda: process.poll() is not None or any(going(folder) for folder in runs.iterdir()))
    assert process.poll() is None
    below = children(process.pid)
    os.kill({"driver": process.pid, "raylet": next(p for p in below if below[p] == "raylet")}[victim], signal.SIGKILL)
    out, err = process.communicate(timeout=TOLD)
    (folder,) = runs.iterdir()
    workers = [pid for pid, name in below.items() if name.startswith(("ray::RayTrainWo", "ray::_with_thre"))]
    assert workers
    wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), seconds=ENDED)
    return process.returncode, out, err, folder


def expect_told(victim, status, out, err, hint):
    """A killed command says nothing; one whose Ray was killed says so in one line, and how to go on."""
    told = f"error: Ray's raylet on this machine was lost: killed, perhaps for want of memory; continue with {hint}\n"
    assert (status, out, err) == ((-signal.SIGKILL, "", "") if victim == "driver" else (1, "", told))


@needs_proc
@pytest.mark.parametrize("victim", ["driver", "raylet"])
def test_killed_in_training(tmp_path, victim):
    with command(tmp_path, *TINY, "steps=1000000") as process:
        going = lambda folder: len(read_metrics(folder)) > 20 and checkpoint.newest(folder)  # noqa: E731
        status, out, err, folder = kill(process, victim, tmp_path, going)
    expect_told(victim, status, out, err, f"resume={folder}")
    newest = checkpoint.newest(folder)
    held = {path.stem: load_tensors(path) for path in newest.iterdir()}
    assert held.keys() == {"agent", "worlds-0", "worlds-1"} and int(held["agent"]["steps"]) == int(newest.name) > 0
    kept = [record for record in read_metrics(folder) if record["steps"] <= int(newest.name)]
    assert run.main([f"resume={folder}", "ray.workers=0", f"steps={int(newest.name) + 2 * UPDATE}"]) == 0
    after = read_metrics(folder)
    assert after[: len(kept)] == kept and len(after) == len(kept) + 2
    assert [record["steps"] for record in after] == [UPDATE * i for i in range(1, len(after) + 1)]
    assert not list(folder.glob("**/*.part"))


@needs_proc
@pytest.mark.parametrize("victim", ["driver", "raylet"])
def test_killed_in_a_study(tmp_path, victim):
    jobs = lambda folder, name: {path.parent: path.stat() for path in folder.glob(f"jobs/*/{name}")}  # noqa: E731
    with command(tmp_path, *STUDY, *TINY) as process:
        going = lambda folder: jobs(folder, "result.json") and jobs(folder, "metrics.jsonl")  # noqa: E731
        status, out, err, folder = kill(process, victim, tmp_path, going)
    expect_told(victim, status, out, err, f"study=ablation resume={folder}")
    done = jobs(folder, "result.json")
    assert 1 <= len(done) < 3 and not (folder / "ablation.json").exists()
    assert all(json.loads((job / "result.json").read_text()) for job in done)
    assert run.main(["study=ablation", f"resume={folder}", "ray.workers=0"]) == 0
    after = jobs(folder, "result.json")
    assert len(after) == 3 and all(after[job].st_mtime_ns == done[job].st_mtime_ns for job in done)
    assert json.loads((folder / "ablation.json").read_text())["failed"] == {}
    assert not list(folder.glob("**/*.part"))
