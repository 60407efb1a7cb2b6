"""How all models of text are fitted: AdamW, a warm-up and half a cosine, clipped gradients."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

from torch import Generator, Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from encoders.precision import autocast, has_bfloat16

Record = dict[str, float]

_BETAS, _DECAY, _CLIP = (0.9, 0.95), 0.01, 1.0
_WARM_UP = 0.05  # share of the steps
_LAST = 0.05  # share of the learning rate that is left at the end


def fit(
    loss: Callable[[Tensor, Generator], Mapping[str, Tensor]],
    parameters: Iterable[nn.Parameter],
    batches: Iterator[Tensor],
    steps: int,
    lr: float,
    generator: Generator,
    report: Callable[[Record], None] | None = None,
    every: int = 50,
) -> list[Record]:
    """Fits parameters to batches, on the generator's device; matrix products in bfloat16 where it has them.

    Args:
        loss: of token rows (B, L): terms, of which "loss" is made small.
        parameters: those without a gradient stay as they are.
        batches: token rows; one is taken a step.
        steps: of AdamW.
        lr: the largest learning rate.
        generator: handed to the loss.
        report: told each record as soon as it is there.
        every: steps a record.

    Returns:
        Records: "step", how many have been taken; "lr", of the last one; and the mean of each term since the last
        record.

    Raises:
        FloatingPointError: one line, when the loss is no number any more.
    """
    device, trained = generator.device, [parameter for parameter in parameters if parameter.requires_grad]
    optimiser = AdamW(trained, lr, _BETAS, weight_decay=_DECAY)
    schedule = LambdaLR(optimiser, lambda step: pace(step, steps))
    curve, seen = [], []
    for step in range(1, steps + 1):
        with autocast(device, has_bfloat16(device)):
            terms = loss(next(batches).to(device), generator)
        optimiser.zero_grad()
        terms["loss"].backward()
        nn.utils.clip_grad_norm_(trained, _CLIP)
        optimiser.step()
        seen.append({name: term.detach() for name, term in terms.items()})
        if step % every == 0 or step == steps:
            means = {name: sum(float(terms[name]) for terms in seen) / len(seen) for name in terms}
            if not math.isfinite(means["loss"]):
                raise FloatingPointError(f"the loss became {means['loss']} by step {step}: try an lr below {lr:g}")
            curve.append({"step": step, "lr": optimiser.param_groups[0]["lr"], **means})
            seen.clear()
            if report is not None:
                report(curve[-1])
        schedule.step()
    return curve


def pace(step: int, steps: int) -> float:
    """Share of the learning rate at a step from 0 to `steps`: up in a line, down in half a cosine."""
    warm_up = max(1, round(_WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return _LAST + (1.0 - _LAST) * 0.5 * (1.0 + math.cos(math.pi * done))
