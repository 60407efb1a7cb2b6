"""How all models of text are fitted: AdamW, a warm-up and half a cosine, clipped gradients."""

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import AdamW

from encoders.precision import autocast, has_bfloat16
from encoders.tensors import load_tensors, save_tensors, told_of

Record = dict[str, float]

_BETAS, _DECAY, _CLIP = (0.9, 0.95), 0.01, 1.0
_WARM_UP = 0.05  # share of the steps
_LAST = 0.05  # share of the learning rate that is left at the end
_KEEP_EVERY = 20.0  # seconds between states on disk
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def fit(
    loss: Callable[[Any, Generator], Mapping[str, Tensor]],
    parameters: Iterable[nn.Parameter],
    batches: Iterator[Any],
    steps: int,
    lr: float,
    generator: Generator,
    report: Callable[[Record], None] | None = None,
    every: int = 50,
    keep: Path | None = None,
) -> list[Record]:
    """Fits parameters to batches, on the generator's device.

    Matrix products run in bfloat16 on accelerators that have it. On CPUs that have it too, at widths of 64 to 128, the
    casts cost more than the products save: steps took up to 1.55 times as long.

    Args:
        loss: of a batch: terms, of which "loss" is made small.
        parameters: those without a gradient stay as they are.
        batches: a tensor each, such as token rows (B, L), or anything else with `to(device)`; one is taken a step.
        steps: of AdamW.
        lr: the largest learning rate.
        generator: handed to the loss.
        report: told each record as soon as it is there; what it adds to a record stays in it.
        every: steps a record.
        keep: file in which the state is kept while the fit goes on, and from which an interrupted one goes on as if
            nothing had happened, given the same batches from their beginning. It stays there at the end.

    Returns:
        Records: "step", how many have been taken; "lr", of the last one; and the mean of each term since the last
        record.

    Raises:
        FloatingPointError: one line, when the loss is no number any more.
        ValueError: one line, when `keep` is damaged or of another fit.
    """
    device, trained = generator.device, [parameter for parameter in parameters if parameter.requires_grad]
    optimiser = AdamW(trained, lr, _BETAS, weight_decay=_DECAY)
    low = device.type != "cpu" and has_bfloat16(device)
    curve = _restore(keep, trained, optimiser, generator) if keep is not None and keep.exists() else []
    done, kept, seen = int(curve[-1]["step"]) if curve else 0, time.monotonic(), []
    batches = islice(batches, done, None)
    for step in range(done + 1, steps + 1):
        optimiser.param_groups[0]["lr"] = lr * pace(step - 1, steps)
        with autocast(device, low):
            terms = loss(next(batches).to(device), generator)
        optimiser.zero_grad()
        terms["loss"].backward()
        nn.utils.clip_grad_norm_(trained, _CLIP)
        optimiser.step()
        seen.append({name: term.detach() for name, term in terms.items()})
        if step % every == 0 or step == steps:
            curve.append({"step": step, "lr": optimiser.param_groups[0]["lr"], **_means(seen, lr, step)})
            seen.clear()
            if report is not None:
                report(curve[-1])
            if keep is not None and (step == steps or time.monotonic() - kept > _KEEP_EVERY):
                _keep(keep, trained, optimiser, generator, curve)
                kept = time.monotonic()
    return curve


def pace(step: int, steps: int) -> float:
    """Share of the learning rate at a step from 0 to `steps`: up in a line, down in half a cosine."""
    warm_up = max(1, round(_WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return _LAST + (1.0 - _LAST) * 0.5 * (1.0 + math.cos(math.pi * done))


def _means(seen: list[Mapping[str, Tensor]], lr: float, step: int) -> Record:
    means = {name: sum(float(terms[name]) for terms in seen) / len(seen) for name in seen[0]}
    if not math.isfinite(means["loss"]):
        raise FloatingPointError(f"the loss became {means['loss']} by step {step}: try an lr below {lr:g}")
    return means


def _keep(path: Path, trained: list[nn.Parameter], optimiser: AdamW, generator: Generator, curve: list[Record]) -> None:
    tensors = {f"{i}.value": parameter for i, parameter in enumerate(trained)}
    for i, parameter in enumerate(trained):
        tensors |= {f"{i}.{name}": value for name, value in optimiser.state[parameter].items() if name in _MOMENTS}
    save_tensors(path, {**tensors, "generator": generator.get_state()}, {"curve": json.dumps(curve)})


def _restore(path: Path, trained: list[nn.Parameter], optimiser: AdamW, generator: Generator) -> list[Record]:
    tensors, told = load_tensors(path), told_of(path)
    expected = {"generator": generator.get_state().shape}
    for i, parameter in enumerate(trained):
        held = ("value", *_MOMENTS) if f"{i}.step" in tensors else ("value",)  # which never had a gradient
        expected |= {f"{i}.{name}": torch.Size() if name == "step" else parameter.shape for name in held}
    if {name: value.shape for name, value in tensors.items()} != expected or "curve" not in told:
        raise ValueError(f"{path} is of another fit: it does not hold these {len(trained)} parameters")
    generator.set_state(tensors["generator"])
    with torch.no_grad():
        for i, parameter in enumerate(trained):
            parameter.copy_(tensors[f"{i}.value"])
            moments = {name: tensors[f"{i}.{name}"] for name in _MOMENTS if f"{i}.{name}" in tensors}
            optimiser.state[parameter] = {
                name: value if name == "step" else value.to(parameter.device) for name, value in moments.items()
            }
    return json.loads(told["curve"])
