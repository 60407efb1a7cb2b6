"""Actions with parts: an utterance of L words is L choices, and saying and pointing at once is one choice more.

An action space is Discrete, MultiDiscrete, or a Dict of these. Whatever its structure, an action is a row of n whole
numbers, one a part, each below the number of its choices; and the K = prod(nvec) actions can be numbered.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from gymnasium import spaces

from unienv.rng import Array, Keys


class Actions:
    """An action space taken apart.

    Args:
        space: Discrete, MultiDiscrete of one axis, or a Dict of these.

    Attributes:
        nvec: choices of each of the n parts.
        owners: key of the Dict that each part belongs to; "" where the space is no Dict.
        count: K, the number of actions.

    Raises:
        ValueError: another space.
    """

    def __init__(self, space: spaces.Space) -> None:
        self.space = space
        leaves: Mapping[str, spaces.Space] = space.spaces if isinstance(space, spaces.Dict) else {"": space}
        self._starts = {key: _starts(leaf, space) for key, leaf in leaves.items()}
        self._leaves = leaves
        sizes = {key: _sizes(leaf) for key, leaf in leaves.items()}
        self.nvec = tuple(k for part in sizes.values() for k in part)
        self.owners = tuple(key for key, part in sizes.items() for _ in part)
        self.count = math.prod(self.nvec)

    def split(self, action: Any) -> Array:
        """Actions of N worlds in the space's structure -> (N, n) int64, each part counted from 0."""
        columns = []
        for key, starts in self._starts.items():
            part = action[key] if isinstance(self.space, spaces.Dict) else action
            xp = array_namespace(part)
            part = xp.astype(part[:, None] if part.ndim == 1 else part, xp.int64, copy=False)
            columns.append(part - _like(starts, part) if starts.any() else part)
        return columns[0] if len(columns) == 1 else array_namespace(*columns).concat(columns, axis=1)

    def join(self, columns: Array) -> Any:
        """The inverse of `split`."""
        parts: dict[str, Array] = {}
        begin = 0
        for key, starts in self._starts.items():
            part = columns[:, begin : begin + len(starts)]
            begin += len(starts)
            part = part + _like(starts, part) if starts.any() else part
            parts[key] = _as(self._leaves[key], part)
        return parts if isinstance(self.space, spaces.Dict) else parts[""]

    def unnumber(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers (N,) in [0, K) -> parts (N, n), the last one varying fastest."""
        return np.stack(np.unravel_index(numbers, self.nvec), axis=1).astype(np.int64)

    def draw(self, keys: Keys, salt: int) -> Any:
        """A uniform action of each world."""
        return self.join(keys.integers(salt, self.nvec))

    def sample(self, generator: np.random.Generator, count: int) -> Any:
        """`count` uniform actions."""
        return self.join(np.stack([generator.integers(0, k, count) for k in self.nvec], axis=1))

    def read(self, action: Any, num_worlds: int, array: Callable[[Any, str], Array]) -> Any:
        """Actions of N worlds as a caller gives them, checked and as arrays that `array(values, dtype)` makes.

        Raises:
            ValueError: parts that are missing, of another shape, not integers or outside their space.
        """
        if not isinstance(self.space, spaces.Dict):
            return _read(self.space, action, num_worlds, array, "")
        if not isinstance(action, Mapping) or set(action) != set(self._leaves):
            told = sorted(map(str, action)) if isinstance(action, Mapping) else type(action).__name__
            raise ValueError(f"expected actions with the parts {', '.join(self._leaves)}, got {told}")
        return {
            key: _read(leaf, action[key], num_worlds, array, f" as part {key!r}") for key, leaf in self._leaves.items()
        }


def batch_of_one(action: Any) -> Any:
    """One action that its space contains as actions of N = 1 worlds; ValueError for fractions, which some contain."""
    if isinstance(action, Mapping):
        return {key: batch_of_one(part) for key, part in action.items()}
    array = np.asarray(action)
    if array.dtype.kind not in "iub":
        raise ValueError(f"expected integer actions, got {' '.join(repr(action).split())}")
    return array.astype(np.int64)[None]


def row(action: Any, index: int) -> Any:
    """One action out of those of N worlds."""
    return {key: part[index] for key, part in action.items()} if isinstance(action, Mapping) else action[index]


def first(batch: Any) -> Any:
    """What is of the first of N worlds, of an array or a dict of arrays; scalars as Python's own, as Gymnasium asks."""
    if isinstance(batch, Mapping):
        return {key: first(part) for key, part in batch.items()}
    return batch[0].item() if batch.ndim == 1 else batch[0].copy()


def name_parts(action: Any, say: Callable[[str, Any], str] | None = None) -> str:
    """One action for a person to read: "text: 3 1, image: 5"; `say(key, part)` puts a part into words."""
    say = say or (lambda _, part: " ".join(map(str, np.ravel(part).tolist())))
    if isinstance(action, Mapping):
        return ", ".join(f"{key}: {say(key, part)}" for key, part in action.items())
    return say("", action)


def _sizes(leaf: spaces.Space) -> list[int]:
    return [int(leaf.n)] if isinstance(leaf, spaces.Discrete) else leaf.nvec.tolist()  # type: ignore[attr-defined]


def _starts(leaf: spaces.Space, space: spaces.Space) -> np.ndarray:
    """(n,) int64; ValueError for a leaf that is no choice among whole numbers."""
    if isinstance(leaf, spaces.Discrete):
        return np.array([leaf.start], np.int64)
    if isinstance(leaf, spaces.MultiDiscrete) and leaf.nvec.ndim == 1:
        return leaf.start.astype(np.int64)
    told = " ".join(str(space).split())
    raise ValueError(f"actions must be Discrete, MultiDiscrete of one axis or a Dict of these, got {told}")


def _as(leaf: spaces.Space, part: Array) -> Array:
    """Columns (N, k) in the shape and type that a leaf contains."""
    if isinstance(leaf, spaces.Discrete):
        return part[:, 0]
    xp = array_namespace(part)
    return xp.astype(part, getattr(xp, str(leaf.dtype)), copy=False)


def _like(starts: np.ndarray, part: Array) -> Array:
    if isinstance(part, np.ndarray):
        return starts
    return array_namespace(part).asarray(starts, device=part.device)


def _read(space: Any, values: Any, num_worlds: int, array: Callable[[Any, str], Array], where: str) -> Array:
    if not _is_integer(values):
        raise ValueError(f"expected integer actions in {space}{where}")
    values = array(values, "int64")
    shape = (num_worlds, *(space.shape or ()))
    if tuple(values.shape) != shape:
        raise ValueError(f"expected actions of shape {shape}{where}, got {tuple(values.shape)}")
    if isinstance(space, spaces.Discrete):
        low, high = int(space.start), int(space.start + space.n)
    else:
        low, high = array(space.start, "int64"), array(space.start + space.nvec, "int64")
    outside = (values < low) | (values >= high)
    if outside.any():
        slot = int(outside.reshape(num_worlds, -1).any(1).nonzero()[0][0])
        raise ValueError(f"expected actions in {space}{where}, got {values[slot].tolist()} in slot {slot}")
    return values


def _is_integer(values: Any) -> bool:
    kind = str(values.dtype).removeprefix("torch.") if hasattr(values, "dtype") else np.asarray(values).dtype.name
    return kind.startswith(("int", "uint"))
