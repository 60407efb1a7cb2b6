"""The jobs of the study, each a function of its bench: what it fits and measures, as plain data."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn

from encoders.pixels import load_pixels, save_pixels
from encoders.size import count_parameters
from encoders.tensors import load_tensors, save_tensors
from encoders.text.corpus import SPLITS, Corpus, Sentences
from encoders.text.flops import flops
from encoders.text.latent import LatentLanguage
from encoders.text.pretrained import load_text, save_text
from experiments.bridge import measure, modalities, speaker
from experiments.bridge.bench import Bench, Study
from experiments.bridge.generation import generation
from experiments.bridge.models import make_baseline, make_latent, make_vae, write
from experiments.bridge.plan import plan
from experiments.bridge.rate import rate
from experiments.jobs import job_folder, leave

Result = dict[str, Any]
Loss = Callable[[Tensor, Generator], Mapping[str, Tensor]]

_WEIGHTS = "model.safetensors"
_GUIDANCES = (1.0, 1.5, 2.0, 3.0)
_GAP = 2e12  # FLOPs of the inference gap: at most a minute or two of one core
_SHOWN = 12  # samples a model
_WORLD = "match"  # whose text and pictures are decoded from one latent
_PIXELS, _UNIFIED, _SPEAKER = 1500, 1000, 1200  # steps


def do(study: Study, name: str) -> None:
    """Do a job and leave its result."""
    task, bench = plan(study.config)[name], Bench(study, name)
    leave(study.folder, name, lambda: _KINDS[task.kind](bench, **task.arguments))
    for state in bench.folder.glob("*.state"):
        state.unlink()


def load_model(study: Study, name: str) -> nn.Module:
    """The model that the job `stage2`, `autoregressive` or `masked` has left."""
    bench, config = Bench(study, name), study.config
    if name == "stage2":
        model = bench.build(lambda: make_latent(config, make_vae(config, bench.size)))
    else:
        model = bench.build(lambda: make_baseline(config, name, bench.size))
    model.load_state_dict(load_tensors(bench.folder / _WEIGHTS))
    return model.eval()


def _stage1(bench: Bench) -> Result:
    vae = bench.build(lambda: make_vae(bench.config, bench.size))
    curve = bench.fit(vae.loss, vae.parameters(), bench.config.stage1)
    save_tensors(bench.folder / _WEIGHTS, vae.state_dict())
    return {"curve": curve}


def _load_vae(bench: Bench) -> Any:
    vae = bench.build(lambda: make_vae(bench.config, bench.size))
    vae.load_state_dict(load_tensors(job_folder(bench.study.folder, "stage1") / _WEIGHTS))
    return vae


def _latent(bench: Bench, share: float) -> Result:
    """Both stages; the model of full size takes its first stage from the job of that name."""
    config, (steps1, steps2) = bench.config, bench.steps(share == 1.0)
    if share == 1.0:
        vae = _load_vae(bench)
    else:
        vae = bench.build(lambda: make_vae(config, bench.size, share))
        bench.fit(vae.loss, vae.parameters(), steps1, "stage1")
    first = _flops(bench, vae, vae.loss)
    model = bench.build(lambda: make_latent(config, vae, share))
    second = _flops(bench, model, model.stage2_loss)
    spent = lambda step: first * steps1 + second * step  # noqa: E731
    curve = bench.fit(model.stage2_loss, model.parameters(), steps2, "stage2", partial(_held_out, bench, model))
    told = _family(bench, model, "latent", share, curve, spent)
    if share < 1.0:
        return told
    save_tensors(bench.folder / _WEIGHTS, model.state_dict())
    save_text(bench.study.folder / "text", vae, bench.study.corpus.tokens)
    laws = {split: bench.law(split) for split in SPLITS}
    return {
        **told,
        "split": {name: measure.split(model, *law, bench.fresh()) for name, law in laws.items()},
        "reconstruction": measure.reconstruction(vae, laws, bench.study.corpus.tokens, bench.fresh()),
    }


def _baseline(bench: Bench, family: str, share: float) -> Result:
    config = bench.config
    model = bench.build(lambda: make_baseline(config, family, bench.size, share))
    each, steps = _flops(bench, model, model.loss), sum(bench.steps(share == 1.0))
    curve = bench.fit(model.loss, model.parameters(), steps, milestone=partial(_held_out, bench, model))
    if share == 1.0:
        save_tensors(bench.folder / _WEIGHTS, model.state_dict())
    return _family(bench, model, family, share, curve, lambda step: each * step)


def _family(
    bench: Bench, model: nn.Module, family: str, share: float, curve: list[Any], spent: Callable[[int], int]
) -> Result:
    """What is told of a model of any family: points of scaling and, at full size, its entry of the table."""
    size = {"family": family, "parameters": count_parameters(model)}
    marks = [(record["step"], record["milestone"]) for record in curve if "milestone" in record]
    points = [{**size, "width": _width(model), "flops": spent(step), "nats": nats} for step, nats in marks]
    texts, judged = _samples(bench, model)
    points[-1]["valid"] = judged["valid"]
    told = {"curve": curve, "scaling": points}
    if share < 1.0:
        return told
    figures = {split: measure.likelihood(model, *bench.law(split), bench.fresh()) for split in SPLITS}
    entry = {**size, "name": family, "kind": figures["test"]["kind"], "generation": judged}
    entry["samples"] = [{"text": text, "valid": _is_valid(bench.study.corpus, text)} for text in texts[:_SHOWN]]
    entry |= {what: {split: of[what] for split, of in figures.items()} for what in ("nats", "perplexity")}
    entry |= {"training_flops": spent(curve[-1]["step"]), "training_flops_per_token": _per_token(bench, spent, curve)}
    return {**told, "model": entry}


def _samples(bench: Bench, model: nn.Module, guidance: float = 1.0) -> tuple[list[str], dict[str, Any]]:
    """Texts that a model writes without a prefix, and what is measured of them."""
    study, samples = bench.study, bench.config.samples
    prefix = torch.zeros(samples, 0, dtype=torch.int64, device=study.device)
    texts = measure.read(write(model, prefix, study.length, bench.fresh(), guidance), study.corpus.tokens)
    return texts, generation(texts, study.corpus, study.length, Generator().manual_seed(bench.config.seed))


def _is_valid(corpus: Corpus, text: str) -> bool | None:
    return corpus.valid(text) if isinstance(corpus, Sentences) else None


def _gap(bench: Bench) -> Result:
    rows, law = bench.law("test")
    model: Any = load_model(bench.study, "stage2")
    return {"gap": measure.gap_curve(model, rows, law, bench.fresh(), operations=_GAP)}


def _guidance(bench: Bench) -> Result:
    """How valid and how new samples are as the history counts for more."""
    model, found = load_model(bench.study, "stage2"), []
    for guidance in _GUIDANCES:
        _, judged = _samples(bench, model, guidance)
        found.append({"guidance": guidance, "valid": judged["valid"], "novel": judged["novel"]})
    return {"guidance": found}


def _prior(bench: Bench, share: float) -> Result:
    """A prior of some width on the latents of stage 1, which stay as they are: how near it comes to their law."""
    model = bench.build(lambda: make_latent(bench.config, _load_vae(bench), share))
    model.vae.requires_grad_(False)

    def loss(x: Tensor, generator: Generator) -> dict[str, Tensor]:
        with torch.no_grad():
            z = model.posterior(x).sample(generator)
        return {"loss": model.prior.loss(z, torch.ones(z.shape[:2], dtype=torch.bool, device=z.device), generator)}

    def matching() -> dict[str, Any]:
        return measure.split(model, *bench.law("train"), bench.fresh(), draws=2)["matching"]

    each = _flops(bench, model.prior, loss)
    curve = bench.fit(loss, model.prior.parameters(), bench.steps(full=False)[1], milestone=matching)
    points = [
        {"step": r["step"], "flops": each * r["step"], "flow": r["loss"], "matching": r["milestone"]}
        for r in curve
        if "milestone" in r
    ]
    told = {"width": model.prior.embed.out_features, "parameters": count_parameters(model.prior), "points": points}
    return {"prior": told, "curve": curve}


def _rate(bench: Bench, latent: int, kl: float) -> Result:
    """A point of the rate-distortion curve: a VAE with latents of d numbers and a weight of the KL.

    D(R) belongs to a law of texts. That of worlds is known, and is the one of the training split.
    """
    vae = bench.build(lambda: make_vae(bench.config, bench.size, latent=latent, kl=kl))
    curve = bench.fit(vae.loss, vae.parameters(), bench.steps(full=False)[0])
    split = "train" if isinstance(bench.study.corpus, Sentences) else "test"
    found = rate(vae, *bench.law(split), bench.fresh(), bench.study.corpus.tokens)
    return {"rate": {"kl": kl, "latent": latent, "split": split, **found}, "curve": curve}


def _pixels(bench: Bench) -> Result:
    """A picture VAE of a world."""
    model, curve = modalities.train_pixels((_WORLD,), _PIXELS, bench.generator, **bench.how(_PIXELS))
    save_pixels(bench.study.folder / "pixels", model)
    return {"curve": curve}


def _modalities(bench: Bench) -> Result:
    """Text and picture of a world through one state z~, and decoded from it."""
    study, generator, how = bench.study, bench.generator, bench.how(_UNIFIED)
    vae, tokens = load_text(study.folder / "text")
    pixels = load_pixels(study.folder / "pixels").to(study.device)
    model, curve = modalities.train_unified(
        vae.to(study.device), tokens, pixels, _WORLD, study.length, _UNIFIED, generator, **how
    )
    return {"modalities": modalities.measure(model, tokens, _WORLD, study.length, bench.fresh()), "curve": curve}


def _speaker(bench: Bench, head: str) -> Result:
    """A text head in the world `describe`."""
    told = speaker.train_speaker(head, _SPEAKER, bench.generator, report=bench.how(_SPEAKER)["report"])
    return {"speaker": told}


def _held_out(bench: Bench, model: nn.Module) -> Result:
    """Nats a token of held-out text."""
    rows, law = bench.law("test")
    size = measure.mean_length(rows, law)
    nats = measure.likelihood(model, rows, law, bench.fresh(), draws=2)["nats"]
    return {**nats, "value": nats["value"] / size, "error": nats["error"] / size}


def _flops(bench: Bench, module: nn.Module, loss: Loss) -> int:
    """FLOPs of a step of training."""
    rows = bench.rows()
    counted = flops(lambda: loss(rows, bench.fresh())["loss"].backward())
    module.zero_grad(set_to_none=True)
    return counted


def _per_token(bench: Bench, spent: Callable[[int], int], curve: list[Any]) -> float:
    """FLOPs of all of the training, for each token that was read in it, padding left out."""
    tokens = bench.config.batch * measure.mean_length(*bench.law("train"))
    return spent(curve[-1]["step"]) / (tokens * (bench.config.stage1 + bench.config.stage2))


def _width(model: nn.Module) -> int:
    """Of the residual stream; of the prior in a latent model."""
    part: Any = model.prior if isinstance(model, LatentLanguage) else model
    return part.embed.embedding_dim if isinstance(part.embed, nn.Embedding) else part.embed.out_features


_KINDS: dict[str, Callable[..., Result]] = {
    "stage1": _stage1, "latent": _latent, "baseline": _baseline, "gap": _gap, "guidance": _guidance, "prior": _prior,
    "rate": _rate, "pixels": _pixels, "modalities": _modalities, "speaker": _speaker,
}  # fmt: skip
