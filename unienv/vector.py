"""WorldVectorEnv: N worlds behind `gymnasium.vector.VectorEnv`, with the three autoreset modes of Gymnasium 1.4."""

from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from unienv.backend import to_numpy
from unienv.env import check_render_mode, render_world, slot_seeds, step_info
from unienv.loop import Loop, Snapshot
from unienv.modality import Vocabulary, check_observation
from unienv.registry import make_world
from unienv.rng import Array
from unienv.world import Action, Observation, Outcome, World


class WorldVectorEnv(VectorEnv):
    """N worlds in step; slot i of `reset(seed=s)` equals the single environment at seed s + i, autoresets included.

    With `backend="torch"` observations, rewards, flags and infos are tensors on the world's device, and actions may be;
    only which slots ended is copied to the host, where Gymnasium's "final_obs" and "final_info" are numpy arrays of
    objects. With numpy, arrays are as `SyncVectorEnv` returns them.

    Args:
        world: name, id, entry point or instance of a world.
        num_envs: N.
        max_episode_steps: steps until truncation, if fewer than the world's horizon. A world that ends with that very
            step is terminated and not truncated, where Gymnasium's TimeLimit tells both.
        render_mode: None, "rgb_array" or "ansi"; `render` returns one frame a slot.
        autoreset_mode: when an ended episode makes way for the next:
            NEXT_STEP  the step after the end ignores its action and returns the new episode's observation
            SAME_STEP  the ending step returns it, and the last observation is info["final_obs"]
            DISABLED   the caller resets, by `reset(options={"reset_mask": (N,) bool})`
        parameters: the world's own, such as `size=8`.
    """

    def __init__(
        self,
        world: str | World,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **parameters: Any,
    ) -> None:
        if max_episode_steps is not None and max_episode_steps < 1:
            raise ValueError(f"max_episode_steps must be at least 1, got {max_episode_steps}")
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self.world = make_world(world, **parameters)
        self.num_envs = num_envs
        self.render_mode = check_render_mode(render_mode)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 4, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = self.world.observation_space
        self.single_action_space = self.world.actions.space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._loop = Loop(self.world, num_envs, max_episode_steps)
        self._everyone: Array = self.world.array(np.ones(num_envs, bool))
        self._over: Array = self.world.array(np.zeros(num_envs, bool))

    @cached_property
    def observation_space(self) -> gym.Space:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The batched space, not before it is asked for: its bounds take four times the memory of an observation."""
        return batch_space(self.single_observation_space, self.num_envs)

    @property
    def vocabulary(self) -> Vocabulary:
        """Words of the text modality."""
        return self.world.vocabulary

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Reset all slots, or those of `options["reset_mask"]` (N,) bool.

        Args:
            seed: s for seeds s + i, a list with one seed (or None) a slot, or None for the next episodes.
            options: may hold "reset_mask", with the torch backend as a tensor as well; it is not changed.
        """
        where = self._check_mask((options or {}).get("reset_mask"))
        if isinstance(seed, np.integer):
            seed = int(seed)
        if seed is None and self._loop.state is not None:
            self._loop.restart(where)
        elif isinstance(seed, int) or seed is None:
            super().reset(seed=seed)
            self._restart_seeded(where, slot_seeds(self.np_random, seed, self.num_envs))
        else:
            self._restart_from_list(where, seed)
        self._over = self._spread(self._over, where, False)
        return self._observe(), {}

    def step(self, actions: Any) -> tuple[dict[str, Array], Array, Array, Array, dict[str, Any]]:
        """One turn of the loop for all slots.

        Raises:
            ValueError: actions of the wrong shape or outside their space.
            gymnasium.error.ResetNeeded: under DISABLED, a slot's episode is over; before the first reset.
        """
        actions = self.world.actions.read(actions, self.num_envs, self.world.array)
        if self._loop.state is None:
            raise gym.error.ResetNeeded("call reset() before step()")
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            return self._step_then_wait(actions)
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            return self._step_and_restart(actions)
        if self._over.any():
            raise gym.error.ResetNeeded(
                f"slots {_where(self._over).tolist()} are over; reset them with options={{'reset_mask': mask}} first"
            )
        outcome = self._loop.advance(actions)
        self._over = outcome.over
        return (self._observe(), *outcome[:3], masked(step_info(outcome), self._everyone))

    def render(self) -> tuple[Any, ...] | None:
        """One frame or text a slot; None without a render mode."""
        if self.render_mode is None:
            return None
        self._need_start("render")
        return tuple(render_world(self._loop, index, self.render_mode) for index in range(self.num_envs))

    def oracle(self) -> Action:
        """The best actions of N worlds in the present states."""
        self._need_start("oracle")
        return self.world.oracle(self._loop.state)

    def snapshot(self) -> Snapshot:
        """Everything that decides the future of the slots, as named numpy arrays."""
        self._need_start("snapshot")
        return {**self._loop.snapshot(), "over": to_numpy(self._over).copy()}

    def restore(self, snapshot: Snapshot) -> dict[str, Array]:
        """Continue from a snapshot of the same world and N; returns the observation the slots were at."""
        if self._loop.state is None:
            self._loop.start(np.zeros(self.num_envs, np.int64))
        self._loop.restore({name: value for name, value in snapshot.items() if name != "over"})
        self._over = self.world.array(snapshot["over"].copy())
        return self._observe()

    def _observe(self) -> dict[str, Array]:
        observation = dict(self._loop.observe())
        check_observation(observation, self.world.observation_space, self.num_envs, type(self.world).__name__)
        return observation

    def _need_start(self, call: str) -> None:
        if self._loop.state is None:
            raise gym.error.ResetNeeded(f"call reset() before {call}()")

    def _step_then_wait(self, actions: Action) -> tuple:
        resting: Array = self._over
        outcome = self._loop.advance(actions)
        if resting.any():
            self._loop.restart(_where(resting))
            awake = ~resting
            outcome = outcome._replace(
                signal=outcome.signal * awake,
                terminated=outcome.terminated & awake,
                truncated=outcome.truncated & awake,
            )
        self._over = outcome.over
        return (self._observe(), *outcome[:3], masked(step_info(outcome), ~resting))

    def _step_and_restart(self, actions: Action) -> tuple:
        outcome: Outcome = self._loop.advance(actions)
        over = outcome.over
        if not over.any():
            return (self._observe(), *outcome[:3], masked(step_info(outcome), ~over))
        where = _where(over)
        final = _rows(self._loop.observe_only(where), to_numpy(where), self.num_envs)
        self._loop.restart(where)
        mask = to_numpy(over)
        info = {
            "final_obs": final,
            "_final_obs": mask,
            "final_info": masked(step_info(outcome), over),
            "_final_info": mask.copy(),
            **masked(step_info(outcome), ~over),
        }
        return (self._observe(), *outcome[:3], info)

    def _restart_seeded(self, where: Array, seeds: np.ndarray) -> None:
        if self._loop.state is None:
            self._loop.start(seeds)
        else:
            self._loop.restart(where, seeds[to_numpy(where)])

    def _restart_from_list(self, where: Array, seeds: list[int | None]) -> None:
        whole = isinstance(seeds, list | tuple) and all(isinstance(seed, int | np.integer | None) for seed in seeds)
        if not whole:
            raise gym.error.Error(f"seed must be a whole number, None or a list of them, got {seeds!r}")
        if len(seeds) != self.num_envs:
            raise ValueError(f"expected one seed a slot, {self.num_envs} in all, got {len(seeds)}")
        if any(seed is not None and seed < 0 for seed in seeds):
            raise gym.error.Error(f"seeds must not be negative, got {seeds}")
        chosen = to_numpy(where)
        if self._loop.state is None:
            drawn = slot_seeds(self.np_random, None, self.num_envs)
            self._loop.start(drawn)
            fresh = chosen[:0]
        else:
            fresh = np.array([i for i in chosen if seeds[i] is None], np.int64)
        given = np.array([i for i in chosen if seeds[i] is not None], np.int64)
        self._loop.restart(self.world.array(fresh))
        self._loop.restart(self.world.array(given), np.array([int(seeds[i]) % (1 << 63) for i in given], np.int64))

    def _check_mask(self, mask: Any) -> Array:
        """Indices (M,) of the slots to reset."""
        if mask is None:
            return self.world.array(np.arange(self.num_envs))
        if self.world.backend == "torch" and hasattr(mask, "cpu"):
            mask = to_numpy(mask)
        if not isinstance(mask, np.ndarray) or mask.shape != (self.num_envs,) or mask.dtype != np.bool_:
            told = " ".join(repr(mask).split())
            raise ValueError(f"options['reset_mask'] must be a bool array of shape ({self.num_envs},), got {told}")
        if not mask.any():
            raise ValueError("options['reset_mask'] must select at least one slot")
        if self._loop.state is None:
            raise gym.error.ResetNeeded("reset all slots once before resetting some")
        return self.world.array(np.flatnonzero(mask))

    def _spread(self, row: Array, where: Array, value: bool) -> Array:
        row = self.world.array(to_numpy(row).copy())
        row[where] = value
        return row


def masked(info: dict[str, Any], mask: Array) -> dict[str, Any]:
    """Batched infos as Gymnasium masks them: entry k is zero outside the mask _k; {} for an empty mask."""
    if not mask.any():
        return {}
    result: dict[str, Any] = {}
    for key, value in info.items():
        if isinstance(value, dict):
            result[key] = masked(value, mask)
        else:
            result[key] = value * mask.reshape(-1, *[1] * (value.ndim - 1))
        result[f"_{key}"] = mask | False  # a copy, on either backend
    return result


def _rows(observation: Observation, where: np.ndarray, num_envs: int) -> np.ndarray:
    """Observations of some slots as Gymnasium's object array (N,): a dict where there is one, None elsewhere."""
    rows = np.full(num_envs, None, dtype=object)
    parts: list[dict[str, Array]] = [{} for _ in where]
    for key, batch in observation.items():  # one key at a time: three times as fast as one dict at a time
        for part, value in zip(parts, batch, strict=True):
            part[key] = value
    rows[where] = parts
    return rows


def _where(mask: Array) -> Array:
    """Indices of a bool row, on either backend."""
    return mask.nonzero()[0] if isinstance(mask, np.ndarray) else mask.nonzero(as_tuple=True)[0]
