"""Rollouts that are the same for equal environments."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from tests.compare import host
from unienv.actions import Actions


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
        turn = host(envs.step(as_type(actions, dtype)))
        yield turn
        over = turn[2] | turn[3]
        if envs.metadata["autoreset_mode"].value == "Disabled" and over.any():
            yield host(envs.reset(options={"reset_mask": over}))


def play_vec(envs: Any, steps: int, seed: int | None = None, dtype: type = np.int64) -> list[tuple]:
    """All `turns` in a list."""
    return list(turns(envs, steps, seed, dtype))


def mixed_actions(envs: Any) -> Iterator[Any]:
    """Actions of N worlds, at random half the oracle's and half uniform, the same for equal environments."""
    rng = np.random.default_rng(envs.num_envs)
    actions = Actions(envs.single_action_space)
    envs.action_space.seed(envs.num_envs)
    while True:
        best = host(envs.oracle()) if hasattr(envs, "oracle") else stack(envs.call("oracle"))
        chosen = rng.random((envs.num_envs, 1)) < 0.5
        yield actions.join(np.where(chosen, actions.split(best), actions.split(envs.action_space.sample())))


def stack(actions: Any) -> Any:
    """Actions of single environments as a batch."""
    if isinstance(actions[0], dict):
        return {key: stack([action[key] for action in actions]) for key in actions[0]}
    return np.stack(actions)


def as_type(actions: Any, dtype: type) -> Any:
    """A batch of actions in another integer type."""
    if isinstance(actions, dict):
        return {key: as_type(part, dtype) for key, part in actions.items()}
    return actions.astype(dtype)
