"""Jobs on Ray and in this process: order, failures, what was done before."""

import os
import signal
import time

import pytest

from experiments.pool import Job, gpu_share, run_jobs

pytestmark = [pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]
JOBS = [Job("a"), Job("b", ("a",)), Job("c"), Job("bad"), Job("after bad", ("bad",)), Job("d", ("b", "c"))]


def note(folder, name):
    needs = next(job.needs for job in JOBS if job.name == name)
    assert all((folder / need).exists() for need in needs)
    if name == "bad":
        raise KeyError("no such\nword")
    with (folder / name).open("a") as file:
        file.write("x")


@pytest.mark.parametrize("workers", [0, 2])
def test_each_job_is_done_once_after_what_it_needs(tmp_path, workers):
    (tmp_path / "c").write_text("done before")
    done = lambda name: (tmp_path / name).exists()  # noqa: E731
    failed = run_jobs(JOBS, note, tmp_path, done, workers)
    assert failed == {"bad": "KeyError: 'no such\\nword'", "after bad": "needs bad, which failed"}
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a": "x", "b": "x", "c": "done before", "d": "x",
    }  # fmt: skip


def test_jobs_run_side_by_side_and_a_lost_process_is_replaced(tmp_path):
    def meet(folder, name):
        (folder / name).touch()
        if name == "kills itself" and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        other = {"left": "right", "right": "left"}.get(name, name)
        while not (folder / other).exists():
            time.sleep(0.01)

    jobs = [Job("left"), Job("right"), Job("kills itself")]
    assert run_jobs(jobs, meet, tmp_path, lambda name: False, 2) == {}
    assert (tmp_path / "killed").exists()


def test_what_others_wait_for_comes_before_what_stands_behind_it(tmp_path):
    begun = []
    jobs = [Job("long"), Job("needs it", ("long",)), Job("last")]
    assert run_jobs(jobs, lambda _, name: begun.append(name), None, lambda name: False, 0) == {}
    assert begun == ["long", "needs it", "last"]


def test_what_needs_a_failed_job_is_not_waited_for(tmp_path):
    failed = run_jobs([Job("bad"), Job("after bad", ("bad",))], note, tmp_path, lambda name: False, 0)
    assert list(failed) == ["bad", "after bad"]


def test_nothing_is_started_for_nothing(monkeypatch):
    monkeypatch.setattr("experiments.pool.session", None)
    assert run_jobs([Job("a")], note, None, lambda name: True, 2) == {}


@pytest.mark.parametrize(
    "gpus, workers, share",
    [(0, 3, 0.0), (1, 1, 1.0), (1, 6, 1 / 6), (2, 3, 0.5), (3, 7, 1 / 3), (4, 4, 1.0), (8, 5, 1.0), (0.5, 2, 0.25)],
)
def test_gpus_are_shared_out_so_that_as_many_jobs_run_as_there_are_workers(gpus, workers, share):
    assert gpu_share(gpus, workers) == share
    if share and gpus >= 1:
        assert int(gpus) * int(1 / share + 1e-9) >= workers  # no job reaches over two GPUs
