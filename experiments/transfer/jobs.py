"""The jobs of the transfer study: a bridge that reads manuals of the split "train" only, and agents trained there."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Generator

from encoders.text.corpus import SPLITS, Sentences
from encoders.text.fit import fit
from encoders.text.pretrained import save_text
from encoders.text.vae import TextVAE
from experiments.config import RunConfig
from experiments.jobs import job_folder, leave, train_agent
from experiments.transfer.plan import SENTENCE, Task, TransferConfig, run_config, tasks
from unienv.registry import make_world

_WORLDS = 256  # in which attempts are made


class Study(NamedTuple):
    """What all jobs share: settings and run folder."""

    config: TransferConfig
    folder: Path


def do(study: Study, name: str) -> None:
    """Do a job and leave its result."""
    task = tasks(study.config)[name]
    leave(study.folder, name, partial(_fit if task.kind == "bridge" else _train, study, task))
    shutil.rmtree(job_folder(study.folder, name) / "checkpoints", ignore_errors=True)


def world(config: RunConfig, split: str) -> dict[str, Any]:
    """Parameters of the world of a run, with manuals of a split."""
    return {key: value for key, value in config.env.items() if key != "id"} | {"split": split}


def _fit(study: Study, task: Task) -> dict[str, Any]:
    """A text VAE. It is tried on the manuals held out, all new to it: how many come back whole from their latents."""
    config = study.config
    run = run_config(config, Task("tokens", task.seed), study.folder)
    train, test = (Sentences({"manual": make_world("manual", **world(run, split))}) for split in SPLITS)
    patch = config.vae.patch
    length = -(-(run.env["num_keys"] * SENTENCE + 1) // patch) * patch
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        vae = TextVAE(len(train.tokens), config.vae)
    drawn, noise = (Generator().manual_seed(2 * task.seed + i) for i in range(2))
    batches = train.batches("train", config.batch, length, drawn)
    curve = fit(vae.loss, vae.parameters(), batches, config.fit, config.lr, noise)
    save_text(job_folder(study.folder, task.name) / "text", vae, train.tokens)
    rows = torch.cat([test.rows(split, length) for split in SPLITS if any(test.texts(split))])
    with torch.no_grad():
        back = vae.sample(vae.posterior(rows).mean, temperature=0.0)
    return {"distortion": curve[-1]["distortion"], "given_back": (back == rows).all(dim=1).double().mean().item()}


def _train(study: Study, task: Task) -> dict[str, Any]:
    """An agent, and in either split how often it succeeds and how well it foresees which attempts do."""
    from experiments.evaluate import unseen
    from experiments.train import make_envs
    from experiments.transfer.attempts import judge

    config, folder = run_config(study.config, task, study.folder), job_folder(study.folder, task.name)
    learner, found = train_agent(config, folder)
    network, foresight = learner.network.cpu(), {}
    for split in SPLITS:
        envs = make_envs({"id": "manual", **world(config, split)}, _WORLDS, torch.device("cpu"))
        foresight[split] = judge(network, envs, study.config.attempts, unseen(config.seed))
        envs.close()
    return found | {"foresight": foresight}
