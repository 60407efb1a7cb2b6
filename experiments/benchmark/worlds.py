"""Env steps a second of every world, by number of worlds and backend, beside copying finished pictures."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

import unienv
from experiments.benchmark.timing import Row, Step, Timing, alternate, row
from unienv import actions as acting
from unienv.actions import Actions
from unienv.backend import BACKENDS
from unienv.modality import IMAGE, VIDEO
from unienv.registry import needs, world_class

_SIZES = (1, 64, 1024, 8192)  # N


def worlds(timing: Timing) -> list[Row]:
    """Env steps a second on one core with pixels and tokens, resets included, and the share of the limit.

    The limit of N worlds is copying N finished pictures, of all modalities. The share is pictures that steps returned
    over pictures copied: under NEXT_STEP the step after an end returns pictures but does not count as an env step, and
    under SAME_STEP an ending step returns two observations. Below N = 1024 pictures stay in the caches, and there is no
    such limit.
    """
    with one_thread():
        return [row for id in world_ids() for row in _world(id, timing)]


def world_ids() -> list[str]:
    """Ids of the worlds that a name alone makes."""
    return [id for id in unienv.world_ids() if not needs(world_class(id)[0])]


def _world(id: str, timing: Timing) -> list[Row]:
    """One world after the other: all at once would not fit into memory."""
    name = id.partition("/")[2]
    cases: dict[str, Callable[[], Step]] = {f"{name}, gymnasium.make": lambda: single(lambda: gym.make(id))}
    limits: dict[str, str] = {}
    tallies = {}
    for num_envs in _SIZES:
        limit = f"memcpy of {num_envs} pictures of {name}"
        if num_envs >= 1024:
            cases[limit] = partial(_memcpy, id, num_envs)
        variants = [(backend, "NEXT_STEP") for backend in BACKENDS]
        variants += [("numpy", "SAME_STEP")] if num_envs == 1024 else []
        for backend, mode in variants:
            case = f"{name}, N={num_envs}, {backend}, {mode}"
            tallies[case] = Tally()
            cases[case] = partial(vector, id, num_envs, backend, mode, tallies[case])
            if num_envs >= 1024:
                limits[case] = limit
    rates = alternate(cases, timing)
    rows = []
    for case in cases:
        rows.append(row(case, "steps/s", rates[case]))
        if case in limits:
            rows.append(ratio(case, "of memcpy", rates[case], rates[limits[case]], tallies[case].pictures_a_step))
    return rows


def ratio(name: str, unit: str, values: Sequence[float], others: Sequence[float], factor: float = 1.0) -> Row:
    """`factor` times the values over the others' of the same round."""
    return row(name, unit, [factor * value / other for value, other in zip(values, others, strict=True)])


class Tally:
    """Env steps, and the observations that they returned."""

    def __init__(self) -> None:
        self.steps = self.observations = 0

    @property
    def pictures_a_step(self) -> float:
        """Observations over env steps: 1 where no episode ends, up to 2."""
        return self.observations / self.steps


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one core, as numpy is."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def single(make: Callable[[], gym.Env]) -> Step:
    """256 steps of one environment under uniform actions."""
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


def vector(id: str, num_envs: int, backend: str, mode: str, tally: Tally) -> Step:
    """2 to 8 steps of N worlds under uniform actions; the last observation is held, as a learner would."""
    envs = gym.make_vec(id, num_envs, autoreset_mode=gym.vector.AutoresetMode[mode], backend=backend)
    actions = _actions(envs.single_action_space, num_envs, backend)
    envs.reset(seed=0)
    seen: dict[str, Any] = {}

    def step() -> int:
        over = 0
        for action in actions:
            seen["observation"], _, terminated, truncated, _ = envs.step(action)
            over += int((terminated | truncated).sum())
        steps, observations = len(actions) * num_envs, len(actions) * num_envs
        if mode == "NEXT_STEP":
            steps -= over  # the step after an end only resets
        else:
            observations += over
        tally.steps += steps
        tally.observations += observations
        return steps

    return step


def _actions(space: spaces.Space, num_envs: int, backend: str) -> list[Any]:
    chosen, generator = Actions(space), np.random.default_rng(0)
    actions = [chosen.sample(generator, num_envs) for _ in range(8 if num_envs <= 1024 else 2)]
    if backend == "numpy":
        return actions
    import torch

    whole = torch.as_tensor
    return [{k: whole(part) for k, part in a.items()} if isinstance(a, dict) else whole(a) for a in actions]


def _memcpy(id: str, num_envs: int) -> Step:
    space = gym.spec(id).make().observation_space
    assert isinstance(space, spaces.Dict)
    size = sum(math.prod(box.shape or ()) for key, box in space.items() if key in (IMAGE, VIDEO))
    source, target = (np.zeros((num_envs, size), np.uint8) for _ in range(2))

    def step() -> int:
        np.copyto(target, source)
        return num_envs

    return step
