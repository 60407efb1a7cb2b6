"""What the study of the text bridge does: its settings, and the jobs that it is made of."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agents.distributed import cores
from encoders.text.corpus import worlds_of
from encoders.text.latent import LatentConfig
from encoders.text.vae import VAEConfig
from experiments.config import RayConfig
from experiments.pool import Job

RATES = tuple((latent, kl) for latent in (4, 8, 16) for kl in (0.001, 0.1, 1.0, 4.0))  # d and weight of the KL
PRIORS = (0.25, 0.5, 1.0)  # widths of priors on the same latents, as shares of the full one
SIZES = (0.25, 0.375, 0.5)  # widths of smaller models, as shares of the full one
SHORTER = 0.4  # steps of models beside the full-sized ones, as a share of theirs
FAMILIES = ("latent", "autoregressive", "masked")
HEADS = ("words", "autoregressive", "latent")  # of the speaker


@dataclass
class PriorConfig:
    """Shape of the prior."""

    width: int = 64
    layers: int = 4
    heads: int = 4  # attention heads
    block: int = 2  # latents that are generated together


def _all_cores() -> RayConfig:
    return RayConfig(workers=cores())


@dataclass
class BridgeConfig:
    """One study."""

    study: str = "bridge"
    corpus: str = "worlds"  # worlds, for all of them; names of worlds, goto,manual; or a file or folder of text
    tokens: str | None = None  # words, bytes or bpe; none for words of worlds and bytes of files
    vocabulary: int = 1024  # V of bpe, at most
    length: int | None = None  # L of rows; none for the longest sentence, 64 for files
    vae: VAEConfig = field(default_factory=lambda: VAEConfig(width=48, layers=1, latent=8, patch=2))
    prior: PriorConfig = field(default_factory=PriorConfig)
    latent: LatentConfig = field(default_factory=lambda: LatentConfig(reference=5e-3))
    batch: int = 32
    lr: float = 3e-3
    stage1: int = 1000  # steps of the VAE alone
    stage2: int = 3000  # steps of VAE and prior; the baselines take as many as both stages together
    samples: int = 1000  # texts that each model writes to be judged
    seed: int = 0
    device: str = "auto"  # auto, cpu, cuda or cuda:0 and so on
    ray: RayConfig = field(default_factory=_all_cores)  # jobs side by side; 0 workers for one after another
    runs: str = "runs"  # folder of run folders
    resume: str | None = None  # run folder to continue
    json: bool = False  # whether the last line of output is one JSON object


class Task(NamedTuple):
    """A job's function in `experiments.bridge.jobs`, its arguments, and the jobs whose results it needs."""

    kind: str
    arguments: dict[str, Any]
    needs: tuple[str, ...] = ()


def plan(config: BridgeConfig) -> dict[str, Task]:
    """All jobs by name; what a job needs stands before it, and what takes long before what does not."""
    whole = {"share": 1.0}
    tasks = {"stage1": Task("stage1", {}), "stage2": Task("latent", whole, ("stage1",))}
    tasks |= {name: Task("baseline", {"family": name, **whole}) for name in FAMILIES[1:]}
    worlds = worlds_of(config.corpus)  # which have pictures and answers beside their texts
    if worlds:
        tasks["pixels"] = Task("pixels", {})
        tasks |= {f"speaker-{head}": Task("speaker", {"head": head}) for head in HEADS}
    for share in reversed(SIZES):
        tasks[f"latent-{share}"] = Task("latent", {"share": share})
        tasks |= {f"{name}-{share}": Task("baseline", {"family": name, "share": share}) for name in FAMILIES[1:]}
    tasks["gap"] = Task("gap", {}, ("stage2",))
    tasks["guidance"] = Task("guidance", {}, ("stage2",))
    if worlds:
        tasks["modalities"] = Task("modalities", {}, ("stage2", "pixels"))
    tasks |= {f"prior-{share}": Task("prior", {"share": share}, ("stage1",)) for share in reversed(PRIORS)}
    tasks |= {f"rate-{d}-{kl}": Task("rate", {"latent": d, "kl": kl}) for d, kl in RATES}
    return tasks


def jobs(config: BridgeConfig) -> list[Job]:
    """The plan as the pool takes it."""
    return [Job(name, task.needs) for name, task in plan(config).items()]
