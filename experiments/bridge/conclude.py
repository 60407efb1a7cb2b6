"""The end of the study: what takes the machine alone, and all results as one summary, `bridge.json`."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import nn

from encoders.text.corpus import SPLITS, Sentences
from encoders.text.latent import LatentLanguage
from experiments.bridge import measure
from experiments.bridge.bench import Bench, Study
from experiments.bridge.claims import claims
from experiments.bridge.jobs import load_model
from experiments.bridge.models import write
from experiments.bridge.plan import FAMILIES
from experiments.evaluate import hardware, versions
from experiments.jobs import is_done, results
from experiments.studies import reproduce
from unienv.modality import PAD

_TEXTS = 64  # written at once where speed is measured
_PREFIXES = 5
_JOBS: dict[str, str] = {name: name for name in FAMILIES} | {"latent": "stage2"}  # that left the full-size models


def conclude(study: Study, failed: Mapping[str, str]) -> dict[str, Any]:
    """Time the models, let them go on from prefixes, and put all that was found together.

    Args:
        study: whose jobs are done, but for those that failed.
        failed: what went wrong, by job.
    """
    models = {family: load_model(study, job) for family, job in _JOBS.items() if is_done(study.folder, job)}
    speeds = _speeds(study, models)
    found = results(study.folder)
    entries = [found[_JOBS[family]]["model"] | {"tokens_per_second": speeds[family]} for family in models]
    latent, guidance = found.get("stage2", {}), found.get("guidance", {})
    summary = {
        "corpus": _corpus(study),
        "command": reproduce(study.config),
        "versions": versions(),
        "hardware": hardware(study.device.type) | ({"precision": "float32"} if study.device.type == "cpu" else {}),
        "config": asdict(study.config),
        "models": entries,
        "guidance": guidance.get("guidance"),
        "reconstruction": latent.get("reconstruction"),
        "completions": _completions(study, models),
        "split": latent.get("split"),
        "curves": {
            "rate_distortion": [r["rate"] for r in found.values() if "rate" in r],
            "prior": sorted((r["prior"] for r in found.values() if "prior" in r), key=lambda prior: prior["width"]),
            "gap": found.get("gap", {}).get("gap"),
        },
        "scaling": [point for r in found.values() for point in r.get("scaling", ())],
        "speaker": [r["speaker"] for r in found.values() if "speaker" in r],
        "modalities": found.get("modalities", {}).get("modalities"),
        "failed": dict(failed),
        "job_seconds": {name: r["job_seconds"] for name, r in found.items()},
    }
    return summary | {"claims": claims(summary)}


def _corpus(study: Study) -> dict[str, Any]:
    corpus, table = study.corpus, isinstance(study.corpus, Sentences)
    told: dict[str, Any] = {"name": study.config.corpus, "V": len(corpus.tokens), "length": study.length}
    told["tokens"] = type(corpus.tokens).__name__.lower()
    told |= {split: sum(1 for _ in corpus.texts(split)) for split in SPLITS}
    bench = Bench(study, "corpus")
    told["entropy"] = {split: corpus.entropy(split) if isinstance(corpus, Sentences) else None for split in SPLITS}
    told["tokens_per_text"] = {split: measure.mean_length(*bench.law(split)) for split in SPLITS}
    return told | {"complete": corpus.complete if table else None}  # type: ignore[attr-defined]


def _speeds(study: Study, models: Mapping[str, nn.Module]) -> dict[str, dict[str, float]]:
    """Tokens a second, of training steps and of writing texts, all models in turns."""
    bench = Bench(study, "speed")
    rows = bench.rows()
    prefix = torch.zeros(_TEXTS, 0, dtype=torch.int64, device=study.device)

    def step(model: Any) -> int:
        loss = model.stage2_loss if isinstance(model, LatentLanguage) else model.loss
        loss(rows, bench.generator)["loss"].backward()
        model.zero_grad()
        return int((rows != PAD).sum())

    def generate(model: nn.Module) -> int:
        return int((write(model, prefix, study.length, bench.generator) != PAD).sum())

    training = {name: partial(step, model) for name, model in models.items()}
    return measure.speeds(training, {name: partial(generate, model) for name, model in models.items()})


def _completions(study: Study, models: Mapping[str, nn.Module]) -> list[dict[str, str]]:
    """How each model goes on from the first half of held-out texts."""
    bench, patch, tokens = Bench(study, "completions"), study.config.vae.patch, study.corpus.tokens
    rows, _ = bench.law("test")
    lengths = (rows != PAD).sum(dim=1)
    chosen = lengths.argsort(descending=True, stable=True)[:: max(1, len(rows) // _PREFIXES)][:_PREFIXES]
    found = []
    for row, length in zip(rows[chosen], lengths[chosen].tolist(), strict=True):
        prefix = row[None, : length // 2 // patch * patch].to(study.device)
        gone_on = {name: write(model, prefix, study.length, bench.fresh()) for name, model in models.items()}
        read = {name: tokens.sentence(text[0]) for name, text in gone_on.items()}
        found.append({"prefix": tokens.sentence(prefix[0]), "text": tokens.sentence(row), **read})
    return found
