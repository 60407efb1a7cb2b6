"""Studies that are made of jobs, while they go on."""

from types import SimpleNamespace

from rich.console import Console

from experiments import campaign
from experiments.campaign import Campaign, carry_out
from experiments.config import RayConfig
from experiments.jobs import has_failed, leave
from experiments.pool import Job
from experiments.watch import Step, Watch


def test_a_job_that_has_failed_is_not_shown_as_running(tmp_path, monkeypatch):
    looks, shown = [], []

    class Looked(Watch):
        def __init__(self, names, is_done, look, console):
            super().__init__(names, is_done, look, console)
            looks.append(look)

    def work(folder, name):
        def run():
            shown.append((name, looks[-1](name), looks[-1]("fails")))
            if name == "fails":
                raise ValueError("diverged")
            return {}

        leave(folder, name, run)

    monkeypatch.setattr(campaign, "Watch", Looked)
    half, jobs = Step(1, 2, "half way"), [Job("fails"), Job("goes on")]
    study = Campaign(jobs, work, tmp_path, lambda _: half, lambda failed: {"failed": failed})
    config = SimpleNamespace(study="test", ray=RayConfig())
    for _ in range(2):
        summary = carry_out(study, config, tmp_path, Console(stderr=True))
        assert summary and summary["failed"] == {"fails": "ValueError: diverged"}
    assert shown[:2] == [("fails", half, half), ("goes on", half, None)]
    assert shown[2:] == [("fails", half, half)] and has_failed(tmp_path, "fails")  # it began again
