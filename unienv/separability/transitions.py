"""Transitions: what was observed, done and answered, as arrays; recorded from vectorised environments or a user's own.

Pictures repeat, so each modality is kept as its distinct values and which of them stands in each row.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from unienv.actions import Actions
from unienv.arrays import read_arrays
from unienv.backend import to_numpy
from unienv.errors import said
from unienv.separability.codes import exactly, number_rows, unsigned_zeros

MAX_REWARDS = 8  # distinct rewards that are told apart; of more, only the sign is kept
_NAMED = 1 << 16  # outcomes at most that get numbers for names
Policy = Callable[[dict[str, np.ndarray]], Any]


class Distinct(NamedTuple):
    """Fields: items (U, ...), the distinct values of a modality; which (n,) int64 in [0, U), the value in each row."""

    items: np.ndarray
    which: np.ndarray


class Transitions:
    """n transitions (o, a, y), their observations by modality.

    Args:
        observation: modality -> array (n, ...) of any shape, integers, floats or bools, or the same as `Distinct`:
            text (n, L) int32, image (n, H, W, C) uint8, video (n, F, H, W, C) uint8 and whatever else there is.
        action: (n,) int, any codes, equal for equal actions.
        feedback: (n,) int, codes in [0, Y) of a discrete feedback.
        episode: (n,) int, rows of one episode share a number; None for rows that are independent of each other.
        names: what the Y codes of feedback are called; None for "0", "1", ...

    Raises:
        ValueError: one line, for arrays of other lengths, types or ranges.
    """

    def __init__(
        self,
        observation: Mapping[str, Any],
        action: Any,
        feedback: Any,
        episode: Any = None,
        names: Iterable[str] | None = None,
    ) -> None:
        self.action = _integers("action", action)
        n = len(self.action)
        self.feedback = _integers("feedback", feedback, n)
        self.episode = np.arange(n) if episode is None else _integers("episode", episode, n)
        highest = int(self.feedback.max())
        if names is None and highest >= _NAMED:
            raise ValueError(
                f"feedback without names must lie in [0, {_NAMED}), got {highest}; number outcomes through"
            )
        self.names = tuple(map(str, range(highest + 1) if names is None else names))
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"names of feedback must differ from each other, got {', '.join(self.names)}")
        if self.feedback.min() < 0 or highest >= len(self.names):
            raise ValueError(
                f"feedback must lie in [0, {len(self.names)}), one code a name, got {self.feedback.min()} to {highest}"
            )
        if not observation:
            raise ValueError("observation must hold at least one modality, got none")
        for name in map(str, observation):
            if not name.isprintable():
                raise ValueError(f"names of modalities must be printable, got {name!r}")
        self.observation = {str(name): _distinct(str(name), value, n) for name, value in observation.items()}

    def __len__(self) -> int:
        """n, the number of transitions."""
        return len(self.action)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in their order."""
        return tuple(self.observation)

    def select(self, rows: np.ndarray) -> "Transitions":
        """The transitions of some rows (indices or a bool mask), in that order; feedback keeps its codes."""
        seen = {name: Distinct(value.items, value.which[rows]) for name, value in self.observation.items()}
        return Transitions(seen, self.action[rows], self.feedback[rows], self.episode[rows], self.names)

    def replace(self, feedback: np.ndarray, names: Iterable[str] | None = None) -> "Transitions":
        """The same observations and actions with another feedback (n,)."""
        return Transitions(self.observation, self.action, feedback, self.episode, names)

    def save(self, path: str | Path) -> None:
        """Write an npz file; nothing in it is pickled."""
        arrays = {"action": self.action, "feedback": self.feedback, "episode": self.episode}
        for index, value in enumerate(self.observation.values()):
            arrays |= {f"items{index}": value.items, f"which{index}": value.which}
        header = np.array(json.dumps({"modalities": self.modalities, "names": self.names}))
        with open(path, "wb") as file:  # an open file, for numpy adds a suffix to a name
            np.savez_compressed(file, allow_pickle=False, header=header, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "Transitions":
        """Read what `save` wrote.

        Raises:
            ValueError: the file holds something else.
        """
        try:
            columns = read_arrays(path)
            header = json.loads(str(columns["header"]))
            observation = {
                name: Distinct(columns[f"items{index}"], columns[f"which{index}"])
                for index, name in enumerate(header["modalities"])
            }
            return cls(observation, columns["action"], columns["feedback"], columns["episode"], header["names"])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path} holds no transitions ({said(error)}); write it with Transitions.save") from None


def record(envs: VectorEnv, steps: int, policy: str | Policy = "uniform", seed: int = 0) -> Transitions:
    """Play and take down `steps` transitions, all environments in turn.

    Feedback is the pair of reward and whether the step terminated the episode. Rewards stand as they are where at most
    `MAX_REWARDS` different ones occur, and otherwise by their sign. Truncation is no feedback: the clock is not part of
    the observation.

    Args:
        envs: N environments with a Dict of arrays as observation, for instance of `unienv.adapt.make_vector`; not with
            autoreset disabled. They are reset, and left open.
        steps: n.
        policy: "uniform" over the action space, or a function from a batch of observations, that is modality ->
            (N, ...), to actions of N environments.
        seed: of the environments and of the uniform policy.

    Raises:
        ValueError: one line, for anything else.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    mode = AutoresetMode(envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
    if mode is AutoresetMode.DISABLED:
        raise ValueError("record needs environments that reset themselves, got autoreset mode DISABLED")
    actions = Actions(envs.single_action_space)
    act = _uniform(actions, envs.num_envs, seed) if policy == "uniform" else policy
    if not callable(act):
        raise ValueError(f"policy must be 'uniform' or a function, got {policy!r}")
    shelves: dict[str, _Shelf] = {}
    rows: list[tuple[np.ndarray, ...]] = []
    episode, started, taken = np.arange(envs.num_envs), envs.num_envs, 0
    resting = np.zeros(envs.num_envs, bool)
    observed, _ = envs.reset(seed=seed)
    while taken < steps:
        seen = {name: to_numpy(value) for name, value in observed.items()}
        action = actions.read(act(seen), envs.num_envs, np.asarray)
        awake = np.flatnonzero(~resting)[: steps - taken]
        for name, value in seen.items():
            shelves.setdefault(name, _Shelf()).add(value[awake])
        observed, reward, terminated, truncated, _ = envs.step(action)
        reward, terminated, over = to_numpy(reward), to_numpy(terminated), to_numpy(terminated | truncated)
        rows.append(tuple(array[awake] for array in (actions.split(action), reward, terminated, episode)))
        taken += len(awake)
        episode = episode.copy()
        episode[over] = started + np.arange(over.sum())
        started += int(over.sum())
        resting = over if mode is AutoresetMode.NEXT_STEP else resting  # that step begins an episode, its action unread
    parts, reward, terminated, episode = map(np.concatenate, zip(*rows, strict=True))
    action = parts[:, 0] if parts.shape[1] == 1 else number_rows(parts)
    feedback, names = _feedback(reward, terminated)
    return Transitions({name: shelf.close() for name, shelf in shelves.items()}, action, feedback, episode, names)


class _Shelf:
    """Keeps one copy of every row that is added, known by a digest of its bytes."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self._items: list[np.ndarray] = []
        self._which: list[int] = []

    def add(self, rows: np.ndarray) -> None:
        for row in np.ascontiguousarray(rows):
            digest = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
            place = self._places.setdefault(digest, len(self._items))
            if place == len(self._items):
                self._items.append(row.copy())
            self._which.append(place)

    def close(self) -> Distinct:
        return Distinct(np.stack(self._items), np.array(self._which))


def _uniform(actions: Actions, num_envs: int, seed: int) -> Policy:
    generator = np.random.default_rng(seed)
    return lambda _: actions.sample(generator, num_envs)


def _feedback(reward: np.ndarray, terminated: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Codes (n,) of reward and end together, and their names."""
    values, code = np.unique(reward, return_inverse=True)
    words = [f"reward {exactly(value)}" for value in values]
    if len(values) > MAX_REWARDS:
        values, code = np.unique(np.sign(reward), return_inverse=True)
        words = [f"reward {'<=>'[int(value) + 1]} 0" for value in values]
    pairs, feedback = np.unique(code * 2 + terminated.astype(np.int64), return_inverse=True)
    return feedback, [f"{words[pair // 2]}, {'ends' if pair % 2 else 'goes on'}" for pair in pairs]


def _integers(name: str, values: Any, n: int | None = None) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iub" or not len(array) or n not in (None, len(array)):
        wanted = "(n,), n at least 1" if n is None else f"({n},)"
        raise ValueError(f"{name} must be integers of shape {wanted}, got {array.dtype} of shape {array.shape}")
    return array.astype(np.int64)


def _distinct(name: str, value: Any, n: int) -> Distinct:
    """A modality with every item distinct and in use."""
    if isinstance(value, Distinct):
        items, which = np.asarray(value.items), _integers(f"{name} which", value.which, n)
        if which.min() < 0 or which.max() >= len(items):
            raise ValueError(f"{name} has {len(items)} items, but refers to items {which.min()} to {which.max()}")
        used, which = np.unique(which, return_inverse=True)
        items = items if len(used) == len(items) else items[used]
    else:
        items, which = np.asarray(value), np.arange(n)
    if items.ndim < 1 or items.dtype.kind not in "iufb" or (not isinstance(value, Distinct) and len(items) != n):
        raise ValueError(f"{name} must be numbers of shape ({n}, ...), got {items.dtype} of shape {items.shape}")
    if items.dtype.kind == "f" and not np.isfinite(items).all():
        raise ValueError(f"{name} must be finite, it holds nan or infinity")
    items = unsigned_zeros(items)
    shelf = _Shelf()
    shelf.add(items)
    merged = shelf.close()
    return Distinct(merged.items, merged.which[which]) if len(merged.items) < len(items) else Distinct(items, which)
