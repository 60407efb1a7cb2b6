"""Where a job of the study works: its folder, its generators, its data, and fits that can be interrupted."""

import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

from encoders.text.corpus import SPLITS, Corpus, Sentences, open_corpus
from encoders.text.fit import Record, fit
from encoders.text.tokens import load_tokens
from experiments.bridge.models import make_baseline, make_latent, make_vae
from experiments.bridge.plan import SHORTER, BridgeConfig, plan
from experiments.config import ConfigError
from experiments.jobs import job_folder
from experiments.train import choose_device
from experiments.watch import Step
from unienv.aside import write_aside

TOKENS = "tokens.json"
_PROGRESS = "progress.json"
_RECORDS = 40  # of a fit
_MILESTONES = (0.25, 0.5)  # shares of a fit at which held-out figures are taken, besides its end
_ROWS = 512  # of a table of texts, at most, where a corpus is measured
_DRAWN = 96  # rows that stand for a larger corpus there: densities of latents take long
_LENGTH = 64  # of rows of a user's files


@dataclass(frozen=True)
class Study:
    """What all jobs share: settings, corpus, L, run folder and device."""

    config: BridgeConfig
    corpus: Corpus
    length: int
    folder: Path
    device: torch.device


def open_study(config: BridgeConfig, folder: Path | None) -> Study:
    """Corpus and device of a study, which are checked with all that can be checked before the first fit.

    Args:
        config: settings.
        folder: of a run that has begun, whose tokens are taken; None for a new one.

    Raises:
        ValueError: one line, for a corpus that can't be read, or settings that do not fit together.
    """
    tokens = load_tokens(folder / TOKENS) if folder else config.tokens
    corpus = open_corpus(config.corpus, tokens, config.vocabulary)
    patch = config.vae.patch
    length = config.length or -(-_longest(corpus) // patch) * patch
    if length % patch:
        raise ConfigError(f"length: expected a multiple of vae.patch={patch}, got {length}")
    study = Study(config, corpus, length, folder or Path(), choose_device(config.device))
    for split in SPLITS:
        next(corpus.batches(split, 1, length, Generator()))
    with torch.device("meta"):
        make_latent(config, make_vae(config, len(corpus.tokens)))
        for task in plan(config).values():
            if task.kind == "baseline":
                make_baseline(config, size=len(corpus.tokens), **task.arguments)
    return study


def _longest(corpus: Corpus) -> int:
    if not isinstance(corpus, Sentences):
        return _LENGTH
    return 1 + max(len(corpus.tokens.encode(text)) for split in SPLITS for text in corpus.texts(split))


class Bench:
    """The place of one job.

    Args:
        study: shared.
        name: of the job; its generators are seeded by it and by the study's seed.
    """

    def __init__(self, study: Study, name: str) -> None:
        self.study, self.config, self.name = study, study.config, name
        self.folder = job_folder(study.folder, name)
        self.seed = zlib.crc32(f"{study.config.seed} {name}".encode())
        self.generator = Generator(study.device).manual_seed(self.seed)

    def steps(self, full: bool) -> tuple[int, int]:
        """Steps of both stages: those set, or fewer for models beside the full-sized ones."""
        both = self.config.stage1, self.config.stage2
        return both if full else (math.ceil(SHORTER * both[0]), math.ceil(SHORTER * both[1]))

    @property
    def size(self) -> int:
        """V."""
        return len(self.study.corpus.tokens)

    def build(self, make: Callable[[], nn.Module]) -> Any:
        """A network on the study's device, its weights drawn from the job's seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return make().to(self.study.device)

    def fresh(self) -> Generator:
        """A generator of draws that only measure: equal ones each time, so that differences are not of chance."""
        return Generator(self.study.device).manual_seed(self.config.seed)

    def law(self, split: str) -> tuple[Tensor, Tensor | None]:
        """Rows (B, L) that stand for a split and their probabilities (B,): the whole table of texts, or some draws."""
        corpus, length = self.study.corpus, self.study.length
        if isinstance(corpus, Sentences) and len(rows := corpus.rows(split, length)) <= _ROWS:
            return rows, corpus.probabilities(split)
        return next(corpus.batches(split, _DRAWN, length, Generator().manual_seed(self.config.seed))), None

    def rows(self) -> Tensor:
        """A batch of the training split, (B, L)."""
        return next(self._batches()).to(self.study.device)

    def fit(
        self,
        loss: Callable[[Any, Generator], Mapping[str, Tensor]],
        parameters: Iterable[nn.Parameter],
        steps: int,
        stage: str = "fit",
        milestone: Callable[[], Any] | None = None,
    ) -> list[Record]:
        """Fit to the training split, see `encoders.text.fit`, and go on where it was interrupted.

        Args:
            loss: of rows.
            parameters: to fit.
            steps: of AdamW.
            stage: a name that no other fit of this job has.
            milestone: measures at some points of the fit; what it gives is the "milestone" of their records.
        """
        how = self.how(steps, stage, milestone)
        return fit(loss, parameters, self._batches(), steps, self.config.lr, self.generator, **how)

    def how(self, steps: int, stage: str = "fit", milestone: Callable[[], Any] | None = None) -> dict[str, Any]:
        """How a fit reports, and where it is kept: `report`, `every` and `keep` of `encoders.text.fit`."""
        every = max(1, steps // _RECORDS)
        marks = {round(share * steps / every) * every for share in _MILESTONES} | {steps}

        def report(record: Record) -> None:
            if milestone is not None and record["step"] in marks:
                record["milestone"] = milestone()
            told = {"stage": stage, "step": record["step"], "steps": steps, "loss": record["loss"]}
            write_aside(self.folder / _PROGRESS, json.dumps(told))

        return {"report": report, "every": every, "keep": self.folder / f"{stage}.state"}

    def _batches(self) -> Iterator[Tensor]:
        drawn = Generator().manual_seed(self.seed)
        return self.study.corpus.batches("train", self.config.batch, self.study.length, drawn)


def look(folder: Path, name: str) -> Step | None:
    """How far a job has come."""
    path = job_folder(folder, name) / _PROGRESS
    if not path.exists():
        return None
    told = json.loads(path.read_text())
    words = f"{told['stage']}: {told['step']:,}/{told['steps']:,} steps, loss {told['loss']:.4g}"
    return Step(told["step"], told["steps"], words)
