"""The learning loop over N copies of a world: it keeps state, time and seeds, and restarts worlds that ended.

Both drivers, `unienv.env` (N = 1) and `unienv.vector`, are thin shells around it, so there is one restart rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from unienv.backend import to_numpy
from unienv.rng import Array, Keys, slots, streams
from unienv.world import Action, Observation, Outcome, World, put, take

Snapshot = dict[str, np.ndarray]


class Loop:
    """N worlds in step.

    World i draws from the stream (seed i, episode of i), so that world i of seed s equals the only world of seed s + i.

    Args:
        world: the rules.
        num_worlds: N.
        horizon: steps until truncation; None for the world's own.
    """

    def __init__(self, world: World, num_worlds: int, horizon: int | None = None) -> None:
        self.world = world
        self.num_worlds = num_worlds
        limits = [limit for limit in (horizon, world.horizon) if limit is not None]
        self.horizon = min(limits) if limits else None
        self.state: Any = None

    def start(self, seeds: np.ndarray) -> None:
        """Begin episode 0 of all worlds from their seeds (N,) int64."""
        self._slots = slots(self.world.array(seeds, "int64"))
        self._episode = self._slots * 0
        self._step = self._slots * 0
        self._stream = streams(self._slots, self._episode)
        self.state = self.world.initial(Keys(self.world.xp, self._stream, self._step))

    def restart(self, where: Array, seeds: np.ndarray | None = None) -> None:
        """Begin the next episode of the worlds `where` (M,) int64, or episode 0 from new seeds (M,) int64."""
        if len(where) == 0:
            return
        slot, episode = self._slots[where], self._episode[where] + 1
        if seeds is not None:
            slot, episode = slots(self.world.array(seeds, "int64")), episode * 0
        stream = streams(slot, episode)
        fresh = self.world.initial(Keys(self.world.xp, stream, episode * 0))
        if len(where) == self.num_worlds:
            self._slots, self._episode, self._step, self._stream = slot, episode, episode * 0, stream
            self.state = fresh
            return
        rows = (self._slots, self._episode, self._step, self._stream)
        for row, value in zip(rows, (slot, episode, 0, stream), strict=True):
            row[where] = value
        self.state = put(self.state, where, fresh)

    def observe(self) -> Observation:
        """o of all worlds: what the next action answers."""
        return self.world.observe(self.state)

    def observe_only(self, where: Array) -> Observation:
        """o of the worlds `where` (M,), for a last look before they restart."""
        return self.world.observe(self.state if len(where) == self.num_worlds else take(self.state, where))

    def advance(self, action: Action) -> Outcome:
        """One turn of the loop for actions (N, ...): feedback, signal, transition, ends. Restarts nothing."""
        world, state = self.world, self.state
        observation = Seen(world, state)
        self._step = self._step + 1
        keys = Keys(world.xp, self._stream, self._step)
        feedback = world.feedback(state, observation, action, keys)
        verdict = world.signal(state, observation, action, feedback, keys)
        self.state = world.transition(state, observation, action, feedback, keys)
        terminated = world.terminal(self.state) | False  # a copy, on either backend
        truncated = (self._step >= self.horizon) & ~terminated if self.horizon else terminated & ~terminated
        return Outcome(verdict.value, terminated, truncated, feedback, verdict.supervision)

    def snapshot(self) -> Snapshot:
        """Everything that decides the future, as named numpy arrays."""
        clock = {"slots": self._slots, "episode": self._episode, "step": self._step}
        fields = {f"state.{name}": value for name, value in self.state._asdict().items()}
        return {name: to_numpy(value).copy() for name, value in (clock | fields).items()}

    def restore(self, snapshot: Mapping[str, np.ndarray]) -> None:
        """Continue from a `snapshot` of the same world, N and horizon; `start` must have been called."""
        arrays = {name: self.world.array(value.copy()) for name, value in snapshot.items()}
        self._slots, self._episode, self._step = arrays["slots"], arrays["episode"], arrays["step"]
        self._stream = streams(self._slots, self._episode)
        self.state = type(self.state)(**{name: arrays[f"state.{name}"] for name in self.state._fields})


class Seen(Mapping):
    """The present observation, drawn anew when a world first reads it: callers may write into theirs."""

    def __init__(self, world: World, state: Any) -> None:
        self._world, self._state = world, state
        self._drawn: Observation | None = None

    def __getitem__(self, key: str) -> Array:
        if self._drawn is None:
            self._drawn = self._world.observe(self._state)
        return self._drawn[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._world.observation_space)

    def __len__(self) -> int:
        return len(self._world.observation_space)
