"""What one update of the learner is made of: stepping the worlds, encoding, acting, and learning from it."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch

import agents.learner
from agents.learner import Learner
from experiments.benchmark.timing import Row, Timing, row
from experiments.config import build
from experiments.train import make_learner

WORLDS = ("match", "goto")


def update(timing: Timing) -> list[Row]:
    """Env steps a second end to end, and seconds and share of each stage of an update, on one device."""
    learners = {world: make_learner(build({"env": {"id": world}, "ppo": {"play": 0.0}})) for world in WORLDS}
    for learner in learners.values():
        learner.update()
    told = {world: [] for world in WORLDS}
    for _ in range(timing.rounds):
        for world, learner in learners.items():
            told[world].append(_measure(learner, timing.seconds))
    return [line for world in WORLDS for line in _rows(world, told[world])]


def _measure(learner: Learner, seconds: float) -> dict[str, float]:
    """Seconds of each stage of an update, their sum as `whole`, and env steps a second without the stopwatch."""
    steps, began = learner.steps, time.perf_counter()
    while time.perf_counter() - began < seconds:
        learner.update()
    speed = (learner.steps - steps) / (time.perf_counter() - began)
    watch, updates, began = Stopwatch(), 0, time.perf_counter()
    with _watched(learner, watch):
        while not updates or time.perf_counter() - began < seconds:
            learner.update()
            updates += 1
    stages = {stage: spent / updates for stage, spent in watch.seconds.items()}
    return {**stages, "whole": sum(stages.values()), "speed": speed}


def _rows(world: str, told: list[dict[str, float]]) -> list[Row]:
    stages = [name for name in told[0] if name not in ("whole", "speed")]
    rows = [row(f"{world}, end to end", "steps/s", [one["speed"] for one in told])]
    for stage in [*stages, "whole"]:
        rows.append(row(f"{world}, {stage}", "s an update", [one[stage] for one in told]))
        rows.append(row(f"{world}, {stage}", "% of it", [100 * one[stage] / one["whole"] for one in told]))
    return rows


class Stopwatch:
    """Seconds by stage; within a stage, a stage that begins stops the clock of the outer one.

    Attributes:
        seconds: by stage, "outer: inner".
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = 0.0

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time counted for a stage."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self._turn()
            self._running.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self._turn()
                self._running.pop()

        return run

    def _turn(self) -> None:
        now = time.perf_counter()
        if self._running:
            outer, inner = self._running[0], self._running[-1]
            self.seconds[f"{outer}: {inner}" if len(self._running) > 1 else f"{outer}: the rest"] += now - self._since
        self._since = now


@contextmanager
def _watched(learner: Learner, watch: Stopwatch) -> Iterator[None]:
    """A learner whose stages are timed while the block lasts; on an accelerator only its launches would be."""
    stages: list[tuple[Any, str, str]] = [
        (learner.collector, "collect", "rollout"),
        (agents.learner, "improve", "learn"),
        (learner.envs, "step", "simulate"),
        (learner.network.encoder, "prepare", "find what is distinct"),
        (learner.network.encoder, "forward", "encode"),
        (learner.network, "forward", "Psi and heads"),
        (torch.Tensor, "backward", "backward"),
        (learner.optimiser, "step", "Adam"),
    ]
    with ExitStack() as patches:
        for owner, name, stage in stages:
            patches.enter_context(patch.object(owner, name, watch.timed(stage, getattr(owner, name))))
        yield
