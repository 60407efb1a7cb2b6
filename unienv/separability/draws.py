"""Every outcome of the draws that a function makes: how a world is run on all that can happen.

When the function asks for a draw that is not decided yet, its rows are copied, one copy an outcome, and it runs again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

LIMIT = 4_000_000  # rows of one expansion


class NotEnumerable(ValueError):
    """The world has too many states, or draws that take infinitely many values."""


def branch(function: Callable[[Any, np.ndarray], Any], num_rows: int, limit: int) -> tuple[np.ndarray, np.ndarray, Any]:
    """Run `function(keys, rows)` over every outcome of its draws.

    Args:
        function: reads draws from `keys` and returns anything; `rows` (R,) says which input each of the R copies is.
        num_rows: inputs.
        limit: most copies.

    Returns:
        rows (R,), the probability (R,) of each copy's draws, and what the function returned for the copies.
    """
    rows, weights = np.arange(num_rows), np.ones(num_rows)
    decided: dict[Any, np.ndarray] = {}
    while True:
        try:
            return rows, weights, function(_Draws(decided, len(rows)), rows)
        except _Undecided as draw:
            if len(rows) * draw.chance.shape[-1] > limit:
                raise NotEnumerable(f"more than {limit:,} outcomes of a step's draws; take a smaller version") from None
            chance = draw.chance if draw.chance.ndim == 2 else np.tile(draw.chance, (len(rows), 1))
            copied, outcome = np.nonzero(chance > 0)
            rows, weights = rows[copied], weights[copied] * chance[copied, outcome]
            outcomes = draw.outcomes[outcome] if draw.chance.ndim == 1 else draw.outcomes[copied, outcome]
            decided = {key: values[copied] for key, values in decided.items()} | {draw.key: outcomes}


class _Undecided(Exception):
    """A draw to be decided: R outcomes (R, ...) with chances (R,); or (N, R, ...) and (N, R) when rows differ."""

    def __init__(self, key: Any, outcomes: np.ndarray, chance: np.ndarray) -> None:
        super().__init__(key)
        self.key, self.outcomes, self.chance = key, outcomes, chance


class _Draws:
    """Stands in for `unienv.rng.Keys`: tells what was decided and asks for the rest.

    A salt stands for one draw. Two different ones from the same salt would hang together through their bits, which is
    refused rather than told wrongly; so are the clock and the stream, which are no part of a state.
    """

    xp = np

    def __init__(self, decided: dict[Any, np.ndarray], num_rows: int) -> None:
        self._decided, self._num_rows = decided, num_rows

    def __getattr__(self, name: str) -> Any:
        raise NotEnumerable(
            f"the world reads keys.{name}, which can't be counted; integers, bernoulli, permutation can"
        )

    def integers(self, salt: int, highs: Sequence[int]) -> np.ndarray:
        key = self._key(salt, "integers", *highs)
        if key not in self._decided:
            count = _within(math.prod(highs))
            outcomes = np.stack(np.unravel_index(np.arange(count), tuple(highs)), axis=1)
            raise _Undecided(key, outcomes, np.full(count, 1.0 / count))
        return self._decided[key]

    def bernoulli(self, salt: int, probability: np.ndarray | float) -> np.ndarray:
        """Keeps an interval of the uniform number behind the coin: equal salts toss one coin, for any threshold."""
        key = self._key(salt, "bernoulli")
        threshold = np.broadcast_to(np.asarray(probability, np.float64), (self._num_rows,))
        low, high = self._decided.get(key, np.tile([0.0, 1.0], (len(threshold), 1))).T
        cut = np.clip(threshold, low, high)
        if ((low < cut) & (cut < high)).any():
            outcomes = np.stack([np.stack([low, cut], axis=1), np.stack([cut, high], axis=1)], axis=1)  # (N, 2, 2)
            raise _Undecided(key, outcomes, np.stack([cut - low, high - cut], axis=1) / (high - low)[:, None])
        return high <= threshold

    def permutation(self, salt: int, length: int, count: int | None = None) -> np.ndarray:
        count = length if count is None else count
        key = self._key(salt, "permutation", length, count)
        if key not in self._decided:
            number = _within(math.perm(length, count))
            outcomes = np.array(list(itertools.permutations(range(length), count))).reshape(number, count)
            raise _Undecided(key, outcomes, np.full(number, 1.0 / number))
        return self._decided[key]

    def _key(self, salt: int, *draw: Any) -> tuple[Any, ...]:
        for known, *other in self._decided:
            if known == salt and other != list(draw):
                raise NotEnumerable(
                    f"the world takes two different draws from salt {salt}; give each a salt of its own"
                )
        return (salt, *draw)


def _within(count: int) -> int:
    if count > LIMIT:
        raise NotEnumerable(f"a draw has {count:,} outcomes, more than {LIMIT:,}; take a smaller version")
    return count
