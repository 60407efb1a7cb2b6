"""Whether torch.compile pays in training: of Psi, which takes most of an update and whose inputs differ in B alone.

What comes before it, the encoding of distinct patches and words, has other shapes in every batch: to compile that as
well took more than three minutes of a core, where it was tried.
"""

import time
from collections.abc import Callable
from functools import partial

import torch

from agents.learner import Learner
from experiments.benchmark.timing import Row, Step, Timing, alternate, row
from experiments.benchmark.worlds import ratio
from experiments.config import build
from experiments.train import make_learner

WORLDS = ("match", "goto")


def compiled(timing: Timing) -> list[Row]:
    """Env steps a second end to end, Psi as it is and compiled for any B, and what compiling takes."""
    cases: dict[str, Callable[[], Step]] = {}
    begun: dict[str, float] = {}
    for world in WORLDS:
        for how in ("eager", "compiled"):
            cases[f"{world}, {how}"] = partial(_train, world, how == "compiled", begun, f"{world}, {how}")
    rates = alternate(cases, timing)
    rows = [row(name, "steps/s", values) for name, values in rates.items()]
    rows += [ratio(world, "times as fast compiled", *_pair(rates, world)) for world in WORLDS]
    return rows + [row(f"{name}: first two updates", "s", [seconds]) for name, seconds in begun.items()]


def _pair(rates: dict[str, list[float]], world: str) -> tuple[list[float], list[float]]:
    return rates[f"{world}, compiled"], rates[f"{world}, eager"]


def _train(world: str, compile: bool, begun: dict[str, float], name: str) -> Step:
    learner = make_learner(build({"env": {"id": world}, "ppo": {"play": 0.0}}))
    if compile:
        learner.network.psi.forward = torch.compile(learner.network.psi.forward, dynamic=True)
    began = time.perf_counter()
    for _ in range(2):
        learner.update()
    begun[name] = time.perf_counter() - began
    return partial(_update, learner)


def _update(learner: Learner) -> int:
    before = learner.steps
    learner.update()
    return learner.steps - before
