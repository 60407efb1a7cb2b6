"""The template for a world of one's own: its README is followed to the letter."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "examples" / "README.md").read_text()
CHECK, TRAIN, MEASURE = (
    line.partition(" # ")[0].strip() for line in re.search(r"```\n(.*?)```", README, re.DOTALL)[1].strip().splitlines()
)


def follow(command, *more):
    """What a command of the README prints on stdout, with some settings added."""
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # whose `python` is this one
    environment = {**os.environ, "PATH": search, "OMP_NUM_THREADS": "1"}
    line = " ".join([command, *more])
    done = subprocess.run(line, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def told(command, runs, *more):
    """The JSON object that a run ends with."""
    return json.loads(follow(command, f"runs={runs}", "json=true", *more).splitlines()[-1])


def test_it_keeps_the_contract():
    passed = re.search(r"(\d+) passed", follow(CHECK, "-p no:cacheprovider", "-v"))
    assert int(passed[1]) > 100


def test_it_can_be_trained_on(tmp_path):
    """Better than chance, and than any agent that sees one modality alone: these find 1 song in 6."""
    summary = told(TRAIN, tmp_path, "device=cpu", "episodes=500", "until=0.5")
    assert summary["anchors"]["random"]["success_high"] < summary["success_low"]
    assert summary["success_low"] > 1 / 6
    assert summary["anchors"]["oracle"]["success"] == 1.0


def test_it_can_be_measured(tmp_path):
    """As many nats as the docstring says; the second ring takes place a third of the time."""
    first, second = np.log(3) - np.log(2) * 2 / 3, np.log(2) * 2 / 3
    told_by = told(MEASURE, tmp_path)
    found = [step["feedback"]["nonseparability"] for step in told_by["exact"]["steps"]]
    assert found == pytest.approx([first, second])
    (row,) = (row for row in told_by["rows"] if row["name"] == "NS_fb" and row["source"] == "exact")
    assert row["nats"] == pytest.approx((first + second / 3) / (4 / 3))
    assert f"{row['nats']:.3f} nats" in README
    assert told_by["ladder"]["gap"] == pytest.approx(1 / 16)


def test_it_is_registered():
    shown = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    code = shown + "print(env.spec.id, envs.num_envs, *(part.shape for part in envs.reset(seed=0)[0].values()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=2)[:2] == ["UniEnv/Bells-v0", "1024"] and "(1024, 8, 48, 3)" in done.stdout
