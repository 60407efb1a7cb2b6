"""Rollouts that are the same for equal environments."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from tests.compare import host


def play(env: Any, steps: int, seed: int | None = None) -> list[tuple]:
    """What random actions return from where `env` stands, or from a reset with `seed`; ends are followed by resets."""
    returned = [] if seed is None else [env.reset(seed=seed)]
    env.action_space.seed(seed or steps)
    for _ in range(steps):
        returned.append(env.step(env.action_space.sample()))
        if returned[-1][2] or returned[-1][3]:
            returned.append(env.reset())
    return returned


def turns(envs: Any, steps: int, seed: int | None = None, dtype: type = np.int64) -> Iterator[tuple]:
    """What `mixed_actions` return, as numpy arrays; where autoreset is disabled, ends are followed by resets."""
    if seed is not None:
        yield host(envs.reset(seed=seed))
    for actions in islice(mixed_actions(envs), steps):
        turn = host(envs.step(actions.astype(dtype)))
        yield turn
        over = turn[2] | turn[3]
        if envs.metadata["autoreset_mode"].value == "Disabled" and over.any():
            yield host(envs.reset(options={"reset_mask": over}))


def play_vec(envs: Any, steps: int, seed: int | None = None, dtype: type = np.int64) -> list[tuple]:
    """All `turns` in a list."""
    return list(turns(envs, steps, seed, dtype))


def mixed_actions(envs: Any) -> Iterator[np.ndarray]:
    """Actions (N,), at random half the oracle's and half uniform, the same for equal environments."""
    rng = np.random.default_rng(envs.num_envs)
    envs.action_space.seed(envs.num_envs)
    while True:
        best = envs.oracle() if hasattr(envs, "oracle") else envs.call("oracle")
        yield np.where(rng.random(envs.num_envs) < 0.5, host(best), envs.action_space.sample())
