"""Env steps a second of every world, beside copying finished frames and an environment of others."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from rich.console import Console

import unienv
from experiments.benchmark.timing import Row, Step, Timing, alternate, row
from unienv import actions as acting
from unienv.actions import Actions
from unienv.registry import needs, world_class


def worlds(timing: Timing) -> list[Row]:
    """Env steps a second on one core with pixels and tokens, resets included."""
    cases: dict[str, Callable[[], Step]] = {"memcpy of 1024 frames 64x64x3": _memcpy}
    for id in [id for id in unienv.world_ids() if not needs(world_class(id)[0])]:
        cases[f"{id}, gymnasium.make"] = lambda id=id: _single(lambda: gym.make(id))
        for mode in ("NEXT_STEP", "SAME_STEP"):
            cases[f"{id}, N=1024, {mode}"] = lambda id=id, mode=mode: _vector(id, 1024, mode)
    try:
        from unienv.adapt import make_env

        make_env("BabyAI-GoToLocal-v0").close()
        cases["BabyAI-GoToLocal-v0, pixels 56x56x3"] = lambda: _single(lambda: make_env("BabyAI-GoToLocal-v0"))
    except ValueError as error:
        Console(stderr=True).print(f"left out: {error}")
    return [row(name, "steps/s", rates) for name, rates in alternate(cases, timing).items()]


def _memcpy() -> Step:
    source, target = (np.zeros((1024, 64, 64, 3), np.uint8) for _ in range(2))

    def step() -> int:
        np.copyto(target, source)
        return len(source)

    return step


def _single(make: Callable[[], gym.Env]) -> Step:
    env = make()
    chosen, generator = Actions(env.action_space), np.random.default_rng(0)
    actions = [acting.row(chosen.sample(generator, 1), 0) for _ in range(256)]
    env.reset(seed=0)

    def step() -> int:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return len(actions)

    return step


def _vector(id: str, num_envs: int, mode: str) -> Step:
    envs = gym.make_vec(id, num_envs, autoreset_mode=gym.vector.AutoresetMode[mode])
    chosen, generator = Actions(envs.single_action_space), np.random.default_rng(0)
    actions = [chosen.sample(generator, num_envs) for _ in range(8)]
    envs.reset(seed=0)
    seen: dict[str, Any] = {}

    def step() -> int:
        resting = 0
        for action in actions:
            seen["observation"], _, terminated, truncated, _ = envs.step(action)
            resting += int((terminated | truncated).sum()) if mode == "NEXT_STEP" else 0
        return len(actions) * num_envs - resting  # under NEXT_STEP the step after an end only resets and is not counted

    return step
