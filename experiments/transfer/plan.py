"""The transfer study's settings, and the jobs that it is made of."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from agents.bridge import LATENT, TEXTS
from agents.distributed import cores
from encoders.text.vae import VAEConfig
from experiments.config import INTERNAL, RayConfig, RunConfig, parse
from experiments.jobs import job_folder
from experiments.pool import Job

SENTENCE = 8  # words of a sentence of `manual`
# A version of `manual` that agents learn to read; what is given besides takes the place of these. Of how an attempt
# ends, two of manual, symbol and key tell nothing: reading begins all at once, after some 100,000 steps.
SETTINGS = (
    "env.size=2", "env.num_keys=3", "env.paraphrases=1", "env.horizon=16", "steps=600000", "ppo.play=0.4",
)  # fmt: skip
FIXED = ("env", "env.split", "agent.text", "agent.bridge", "seed")  # what the study itself sets


@dataclass
class TransferConfig:
    """One study. Any setting of a training run in `manual` may be given besides, and holds for all agents."""

    study: str = "transfer"
    seeds: int = 5  # 0, 1, ..: each has a bridge of its own and an agent of either kind
    trial: list[str] = field(default_factory=list, metadata=INTERNAL)  # settings of all agents, key=value
    attempts: int = 4000  # at the door, in each split, of which an agent has to say whether they succeed
    # a latent a sentence: its colour and its symbol come together in one
    vae: VAEConfig = field(default_factory=lambda: VAEConfig(width=64, layers=1, latent=16, patch=SENTENCE))
    fit: int = 600  # steps of the bridge
    batch: int = 32  # manuals of such a step
    lr: float = 3e-3  # of the bridge
    ray: RayConfig = field(default_factory=lambda: RayConfig(workers=cores()))  # jobs side by side
    runs: str = "runs"  # folder of run folders
    resume: str | None = None  # run folder to continue
    json: bool = False  # whether the last line of output is one JSON object


class Task(NamedTuple):
    """What a job does: fits the bridge of a seed, or trains an agent that reads text as tokens or as latents."""

    kind: str
    seed: int

    @property
    def name(self) -> str:
        """For people and for folders."""
        return f"{self.kind}-{self.seed}"


def tasks(config: TransferConfig) -> dict[str, Task]:
    """All by name, seed by seed, so that a study that was cut off has whole pairs."""
    told = (Task(kind, seed) for seed in range(config.seeds) for kind in ("bridge", *TEXTS))
    return {task.name: task for task in told}


def jobs(config: TransferConfig) -> list[Job]:
    """The tasks as the pool takes them: who reads latents needs the bridge of its seed."""
    return [Job(n, (f"bridge-{t.seed}",) if t.kind == LATENT else ()) for n, t in tasks(config).items()]


def run_config(config: TransferConfig, task: Task, folder: Path) -> RunConfig:
    """The training run of an agent.

    Raises:
        ValueError: one line, for settings that a training run does not have or take.
    """
    given = {argument.partition("=")[0] for argument in config.trial}
    usual = [setting for setting in SETTINGS if setting.partition("=")[0] not in given]
    own = ["env=manual", "env.split=train", f"agent.text={task.kind}", f"seed={task.seed}"]
    if task.kind == LATENT:
        own.append(f"agent.bridge={job_folder(folder, f'bridge-{task.seed}')}")
    return parse([*usual, *config.trial, *own])
