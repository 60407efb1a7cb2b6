"""A run folder belongs to one process at a time."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments import lock, run
from experiments.lock import InUseError, alone

ROOT = Path(__file__).parents[2]
HOLDS = """
import subprocess, sys, time
from pathlib import Path
from experiments.lock import alone
with alone(Path(sys.argv[1])):
    print(subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL).pid, flush=True)
    time.sleep(60)
"""


def test_a_run_whose_folder_is_in_use_is_refused_in_one_line(tmp_path, monkeypatch, capsys):
    held = []

    def go(config, folder, console):
        held.append([path.name for path in folder.iterdir()])
        return {"stopped": run.main(["resume"]) == 2}  # another one, while this goes on

    config = SimpleNamespace(json=False, study="training")
    monkeypatch.setattr(run, "_study", lambda _: SimpleNamespace(prepare=lambda _: (config, tmp_path), run=go))
    assert run.main([]) == 130
    told = f"error: {tmp_path} is in use by another process; wait for it or stop it\n"
    assert capsys.readouterr() == ("", told)
    assert held == [[".lock"]] and not list(tmp_path.iterdir())


def test_a_killed_process_gives_its_folder_back_though_one_that_it_began_lives_on(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDS, tmp_path], cwd=ROOT, stdout=-1, text=True) as process:
        try:
            assert process.stdout
            child = int(process.stdout.readline())
            with pytest.raises(InUseError), alone(tmp_path):
                pass
        finally:
            process.kill()
    with alone(tmp_path):
        os.kill(child, signal.SIGKILL)  # it lived
    assert not list(tmp_path.iterdir())


def test_a_lock_that_its_owner_removes_just_now_is_no_lock(tmp_path, monkeypatch):
    def late(file, how, flock=fcntl.flock):
        (tmp_path / ".lock").unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(InUseError), alone(tmp_path):
        pass


@pytest.mark.parametrize("missing", ["module", "on this file system"])
def test_without_locks_a_run_goes_on(tmp_path, monkeypatch, missing):
    def refuse(file, how):
        raise OSError(errno.ENOSYS, "no locks here")

    fake = SimpleNamespace(LOCK_EX=fcntl.LOCK_EX, LOCK_NB=fcntl.LOCK_NB, flock=refuse)
    monkeypatch.setattr(lock, "fcntl", None if missing == "module" else fake)
    with alone(tmp_path), alone(tmp_path):
        pass
    with alone(None):
        pass
