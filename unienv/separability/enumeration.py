"""A world as a finite Markov decision process, found by running its own code on every draw that can happen.

A world is pure functions of a state and of draws. When a function asks for a draw that is not decided yet, its rows are
copied, one copy an outcome, and it runs again. So any world whose draws are finite (`integers`, `bernoulli`,
`permutation`) is enumerated as it is written, stochastic branches included.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from unienv.loop import Seen
from unienv.modality import MODALITIES
from unienv.rng import mix
from unienv.world import State, World, take

_ROWS = 4096  # rows a chunk where pixels are drawn
LIMIT = 4_000_000  # rows of one expansion


class NotEnumerable(ValueError):
    """The world has too many states, or draws that take infinitely many values."""


class Kernel(NamedTuple):
    """A world in numbers: S states and E edges (state, action, draw) -> (feedback, signal, next state).

    Fields:
        initial: (S,) probabilities of w_1.
        terminal: (S,) bool.
        codes: (S, M) int, which observation each state shows in each modality: equal codes, equal observations.
        modalities: their M names.
        source, action, target: (E,) int; no edge leaves a terminal state.
        probability: (E,), of the edge given source and action.
        feedback: (E,) int, code of xi; feedback_names, what each code says.
        signal: (E,) float64, l.
        num_actions: K.
        horizon: steps that it is good for; None when it is closed.
    """

    initial: np.ndarray
    terminal: np.ndarray
    codes: np.ndarray
    modalities: tuple[str, ...]
    source: np.ndarray
    action: np.ndarray
    target: np.ndarray
    probability: np.ndarray
    feedback: np.ndarray
    feedback_names: tuple[str, ...]
    signal: np.ndarray
    num_actions: int
    horizon: int | None


def enumerate_world(world: World, horizon: int | None = None, limit: int = LIMIT) -> Kernel:
    """All states that a world reaches within `horizon` steps, under any actions.

    Args:
        world: on the numpy backend, with Discrete actions and finite draws.
        horizon: steps to look ahead; None for the world's own, or until there are no new states.
        limit: rows of one expansion, the most memory to be used.

    Raises:
        NotEnumerable: the limit does not suffice, or a draw is continuous.
        ValueError: another backend or action space.
    """
    if world.backend != "numpy":
        raise ValueError(f"worlds are enumerated on backend='numpy', got {world.backend!r}")
    if not isinstance(world.action_space, spaces.Discrete):
        raise ValueError(f"worlds are enumerated over Discrete actions, got {world.action_space}")
    horizon = horizon or world.horizon
    _, weights, start = branch(lambda keys, rows: world.initial(keys), 1, limit)
    book = _Book(world)
    initial = np.bincount(book.enter(start), weights)
    edges, frontier = [], np.arange(len(book))
    for _ in itertools.count() if horizon is None else range(horizon):
        frontier = frontier[~book.terminal(frontier)]
        if not len(frontier):
            break
        if len(book) > limit:
            raise NotEnumerable(f"the world has more than {limit:,} states; take a smaller version or a horizon")
        known = len(book)
        edges.append(_step(world, book, frontier, limit))
        frontier = np.arange(known, len(book))
    columns = [np.concatenate(column) for column in zip(*edges, strict=True)]
    source, action, target, probability, feedback, signal = columns
    return Kernel(
        initial=np.pad(initial, (0, len(book) - len(initial))),
        terminal=book.terminal(np.arange(len(book))),
        codes=np.concatenate(book.codes),
        modalities=book.modalities,
        source=source,
        action=action,
        target=target,
        probability=probability,
        feedback=feedback,
        feedback_names=tuple(book.feedback),
        signal=signal,
        num_actions=int(world.action_space.n),
        horizon=horizon,
    )


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


def _exactly(value: float) -> str:
    """A number in as few digits as tell it from all others."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(float(value))


def _within(count: int) -> int:
    if count > LIMIT:
        raise NotEnumerable(f"a draw has {count:,} outcomes, more than {LIMIT:,}; take a smaller version")
    return count


class _Book:
    """Numbers for states, observations and feedback: equal things get equal numbers, in order of appearance."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.modalities = tuple(m for m in MODALITIES if m in world.observation_space.spaces)
        self.feedback: dict[str, int] = {}
        self.codes: list[np.ndarray] = []
        self._states: list[State] = []
        self._terminal: list[np.ndarray] = []
        self._numbers: dict[int, int] = {}
        self._seen: list[dict[bytes, int]] = [{} for _ in self.modalities]

    def __len__(self) -> int:
        return len(self._numbers)

    def enter(self, states: State) -> np.ndarray:
        """Numbers (R,) of states, new ones entered."""
        hashes, first, which = np.unique(_hash_rows(states), return_index=True, return_inverse=True)
        new = np.sort(first[[h not in self._numbers for h in hashes.tolist()]])
        if len(new):
            fresh = take(states, new)
            for h in _hash_rows(fresh).tolist():
                self._numbers[h] = len(self._numbers)
            self._states.append(fresh)
            self._terminal.append(np.asarray(self.world.terminal(fresh), bool))
            self.codes.append(self._observe(fresh))
        return np.array([self._numbers[h] for h in hashes.tolist()])[which]

    def states(self, numbers: np.ndarray) -> State:
        """States by number."""
        if len(self._states) > 1:
            kind = type(self._states[0])
            self._states = [kind(*(np.concatenate(field) for field in zip(*self._states, strict=True)))]
        return take(self._states[0], numbers)

    def terminal(self, numbers: np.ndarray) -> np.ndarray:
        """(R,) bool."""
        self._terminal = [np.concatenate(self._terminal)]
        return self._terminal[0][numbers]

    def name(self, feedback: dict[str, np.ndarray]) -> np.ndarray:
        """Codes (R,) of the feedback, all parts together."""
        parts = {name: np.asarray(part, np.float64).reshape(len(part), -1) for name, part in feedback.items()}
        labels = [
            name if part.shape[1] == 1 else f"{name}.{i}" for name, part in parts.items() for i in range(part.shape[1])
        ]
        distinct, which = np.unique(np.concatenate(list(parts.values()), axis=1), axis=0, return_inverse=True)
        names = [" ".join(f"{a}={_exactly(value)}" for a, value in zip(labels, row, strict=True)) for row in distinct]
        return np.array([self.feedback.setdefault(name, len(self.feedback)) for name in names])[which]

    def _observe(self, states: State) -> np.ndarray:
        """(R, M) codes of what the states show."""
        codes = []
        for start in range(0, len(states[0]), _ROWS):
            rows = np.arange(start, min(start + _ROWS, len(states[0])))
            observation = self.world.observe(take(states, rows))
            columns = [self._look_up(m, observation[name]) for m, name in enumerate(self.modalities)]
            codes.append(np.stack(columns, axis=1))
        return np.concatenate(codes)

    def _look_up(self, m: int, rows: np.ndarray) -> np.ndarray:
        seen = self._seen[m]
        digests = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.ascontiguousarray(rows)]
        return np.array([seen.setdefault(digest, len(seen)) for digest in digests])


def _step(world: World, book: _Book, sources: np.ndarray, limit: int) -> tuple[np.ndarray, ...]:
    """All edges that leave some states."""
    actions = int(world.action_space.n)  # type: ignore[attr-defined]
    source, action = np.repeat(sources, actions), np.tile(np.arange(actions), len(sources))

    def turn(keys: Any, rows: np.ndarray) -> tuple[Any, ...]:
        state, taken = book.states(source[rows]), action[rows] + int(world.action_space.start)  # type: ignore[attr-defined]
        observation = Seen(world, state)
        feedback = world.feedback(state, observation, taken, keys)
        signal = world.signal(state, observation, taken, feedback, keys).value
        return feedback, signal, world.transition(state, observation, taken, feedback, keys)

    rows, probability, (feedback, signal, after) = branch(turn, len(source), limit)
    target = book.enter(after)
    return source[rows], action[rows], target, probability, book.name(feedback), np.asarray(signal, np.float64)


def _hash_rows(states: State) -> np.ndarray:
    """(R,) int64 hashes of states; two of a million states are confused with probability below 1e-7."""
    total = np.zeros(len(states[0]), np.int64)
    for field in states:
        columns = np.ascontiguousarray(np.asarray(field).reshape(len(field), -1))
        values = columns.astype(np.float64).view(np.int64) if columns.dtype.kind == "f" else columns.astype(np.int64)
        for column in values.T:
            total = mix((total ^ mix(column + 1)) * 3)
    return total
