"""The transfer study: as users run it, what it tells, and its mistakes."""

import errno
import json
import math
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.network import AgentConfig, make_network
from encoders.text.corpus import Sentences
from encoders.text.pretrained import load_text
from experiments.config import load
from experiments.jobs import is_done, job_folder
from experiments.run import main
from experiments.transfer.attempts import _attempts, judge
from experiments.transfer.conclude import _measure
from experiments.transfer.jobs import Study, do
from experiments.transfer.plan import TransferConfig, jobs, run_config, tasks
from unienv.adapt import make_vector
from unienv.aside import write_aside
from unienv.registry import make_world

SMALL = [
    "study=transfer", "seeds=2", "steps=512", "ppo.worlds=16", "ppo.horizon=8", "ppo.minibatches=2", "episodes=64",
    "agent.dim=16", "agent.hidden=32", "attempts=100", "fit=4", "vae.width=16", "device=cpu", "ray.workers=0",
]  # fmt: skip
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The run folder of a small study."""
    runs = tmp_path_factory.mktemp("runs")
    assert main([*SMALL, f"runs={runs}"]) == 0
    (folder,) = runs.iterdir()
    return folder


def read(folder):
    return json.loads((folder / "transfer.json").read_text())


def test_agents_of_both_kinds_are_compared_in_both_splits(done):
    summary = read(done)
    assert summary["failed"] == {}
    assert [(a["text"], a["seed"]) for a in summary["agents"]] == [
        ("tokens", 0), ("tokens", 1), ("latent", 0), ("latent", 1)
    ]  # fmt: skip
    for measure in summary["measures"].values():
        for split in ("train", "test"):
            latent, tokens = (measure["means"][kind][split]["value"] for kind in ("latent", "tokens"))
            assert measure["gap"][split]["value"] == pytest.approx(latent - tokens)
    assert summary["anchors"]["oracle"]["value"] == 1.0
    text = (done / "transfer.md").read_text()
    assert "| foreseen | test |" in text and "num_keys 3" in text and "steps=512" in text
    assert not list(done.rglob("checkpoints"))


def test_a_study_that_was_cut_off_repeats_nothing(done, tmp_path, capsys):
    folder = shutil.copytree(done, tmp_path / "run")
    (folder / "jobs" / "tokens-1" / "result.json").unlink()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("jobs/*/result.json")}
    assert main(["study=transfer", f"resume={folder}"]) == 0
    assert len(kept) == 5 and all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert read(folder)["measures"] == read(done)["measures"]  # the agent that was trained again found the same
    assert main(["study=transfer", f"resume={folder}", "seeds=3"]) == 2
    assert "can't change on resuming" in capsys.readouterr().err


def test_a_checkpoint_stays_until_the_result_is_written(done, tmp_path, monkeypatch):
    def full(path, text):
        if path.name == "result.json":
            raise OSError(errno.ENOSPC, "full", str(path))
        write_aside(path, text)

    study = Study(load(done, TransferConfig), tmp_path)
    checkpoints = job_folder(tmp_path, "tokens-0") / "checkpoints"
    with monkeypatch.context() as disk, pytest.raises(OSError, match="full"):
        disk.setattr("experiments.jobs.write_aside", full)
        do(study, "tokens-0")
    assert list(checkpoints.iterdir())
    monkeypatch.setattr("experiments.train._update", None)  # nothing is trained again
    do(study, "tokens-0")
    assert is_done(tmp_path, "tokens-0") and not checkpoints.exists()


def test_the_bridge_has_not_read_what_is_held_out(done, tmp_path, monkeypatch):
    train, test = (
        Sentences({"manual": make_world("manual", size=2, num_keys=3, paraphrases=1, split=split)})
        for split in ("train", "test")
    )
    told = [{*of.texts("train"), *of.texts("test")} for of in (train, test)]
    assert len(told[0]) == len(told[1]) == 18 and not told[0] & told[1]  # 3 manuals in 6 orders
    _, tokens = load_text(done / "jobs" / "bridge-0" / "text")
    assert len(tokens) == len(train.tokens)
    heard = set()

    def watched(loss, parameters, batches, steps, *rest):
        for rows in islice(batches, 50):
            heard.update(map(tokens.sentence, rows))
        return [{"distortion": 0.0}]

    monkeypatch.setattr("experiments.transfer.jobs.fit", watched)
    do(Study(TransferConfig(seeds=1), tmp_path), "bridge-0")
    assert heard == set(train.texts("train")) and not heard & told[1]
    result = json.loads((done / "jobs" / "bridge-0" / "result.json").read_text())
    assert 0.0 <= result["given_back"] <= 1.0 and result["distortion"] > 0.0


def test_latents_need_the_bridge_of_their_seed_and_settings_hold_for_both_kinds():
    config = TransferConfig(seeds=2, trial=["steps=64", "env.num_keys=4", "env.size=3"])
    assert {job.name: job.needs for job in jobs(config)}["latent-1"] == ("bridge-1",)
    runs = [run_config(config, tasks(config)[name], Path("folder")) for name in ("tokens-1", "latent-1")]
    for run in runs:
        assert (run.seed, run.steps, run.env["num_keys"], run.env["split"]) == (1, 64, 4, "train")
        assert run.ppo.play == 0.4
    assert [run.agent.bridge for run in runs] == [None, "folder/jobs/bridge-1"]


def make_attempts():
    return make_vector("manual", 64, size=2, num_keys=3, paraphrases=1, horizon=16)


def test_attempts_are_steps_up_with_a_key_and_succeed_by_the_manual():
    envs = make_attempts()
    parts = list(_attempts(envs, 1100, seed=3))
    assert [len(won) for *_, won in parts] == [1024, 76]
    for observation, actions, won in parts:
        assert (actions == 1).all() and actions.shape == (len(won), 1)
        assert observation["image"].shape[1:] == (24, 16, 3)
        assert 0.2 < won.float().mean() < 0.47  # of three keys one is right
    again = next(_attempts(envs, 1100, seed=3))
    assert torch.equal(again[0]["text"], parts[0][0]["text"]) and torch.equal(again[2], parts[0][2])


class Told:
    """Stands for a network that says what it is told, of every attempt in turn."""

    def __init__(self, network, log_odds):
        self.network, self.log_odds, self.at = network, log_odds, 0
        self.encoder, self.choices, self.initial_carry = network.encoder, network.choices, network.initial_carry

    def __call__(self, prepared, carry):
        count = len(carry)
        told = self.log_odds[self.at : self.at + count]
        self.at += count
        decision = self.network(prepared, carry)
        return decision._replace(feedback=told[:, None, None].expand(-1, 2, 5))


def test_an_agent_that_knows_foresees_all_and_one_that_does_not_half():
    envs = make_attempts()
    network = make_network(envs.single_observation_space, envs.single_action_space, AgentConfig(dim=16, hidden=32))
    won = torch.cat([won for *_, won in _attempts(envs, 300, seed=3)])
    sure = torch.where(won, 2.0, -2.0)
    knows, wrong = (judge(Told(network, odds), envs, 300, seed=3) for odds in (sure, -sure))  # type: ignore[arg-type]
    assert knows["foreseen"] == 1.0 and knows["nats"] == pytest.approx(math.log1p(math.exp(-2.0)), rel=1e-5)
    assert wrong["foreseen"] == 0.0 and wrong["nats"] == pytest.approx(math.log1p(math.exp(2.0)), rel=1e-5)
    mute = judge(Told(network, torch.zeros(300)), envs, 300, seed=3)  # type: ignore[arg-type]
    assert mute["foreseen"] == 0.5 and mute["nats"] == pytest.approx(math.log(2.0), rel=1e-5)


def test_gaps_are_paired_by_seed_and_less_nats_are_better():
    def agent(train, test):
        return {"foresight": {"train": {"nats": train}, "test": {"nats": test}}}

    tokens = {0: agent(0.7, 0.7), 1: agent(0.6, 0.9), 2: agent(0.5, 0.5)}
    latent = {1: agent(0.1, 0.8), 0: agent(0.3, 0.8)}  # the third is not done yet
    found = _measure({"tokens": tokens, "latent": latent}, "nats")
    assert found["gap"]["train"]["value"] == pytest.approx(np.mean([0.1 - 0.6, 0.3 - 0.7]))
    assert found["p"]["train"] == 0.25  # both are better: the least that two seeds can give
    assert found["p"]["test"] > 0.25
    assert found["carried"]["latent"]["value"] == pytest.approx(0.6)
    assert _measure({"tokens": tokens, "latent": {}}, "nats")["gap"]["train"] is None


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("seed=3", "set by study=transfer itself"),
        ("agent.text=latent", "set by study=transfer itself"),
        ("env.num_keys=2", "at least 3 keys"),
        ("env.nun_keys=3", "did you mean 'env.num_keys'"),
        ("ppo.pley=1", "did you mean 'ppo.play'"),
        ("attempts=99", "at least 100"),
        ("vae.width=65", "width must be a multiple"),
    ],
)
def test_mistakes_are_told_in_a_line(argument, told, tmp_path, capsys):
    assert main(["study=transfer", argument, f"runs={tmp_path}"]) == 2
    assert told in capsys.readouterr().err and not list(tmp_path.iterdir())
