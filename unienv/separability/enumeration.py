"""A world as a finite Markov decision process, found by running its own code on every draw that can happen.

A world is pure functions of a state and of draws, and `branch` runs a function on all outcomes of its draws. So any
world with finite draws (`integers`, `bernoulli`, `permutation`) is enumerated as it is written, stochastic branches
included.
"""

from __future__ import annotations

import hashlib
import itertools
from typing import Any, NamedTuple

import numpy as np

from unienv.actions import Actions
from unienv.loop import Seen
from unienv.modality import MODALITIES
from unienv.rng import mix
from unienv.separability.codes import exactly, number_rows
from unienv.separability.draws import LIMIT, NotEnumerable, branch
from unienv.world import State, World, take

_ROWS = 4096  # rows a chunk where pixels are drawn


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
        parts: (E, M) int, code of xi^m, the part of the feedback that is modality m's own; 0 where it has none.
        signal: (E,) float64, l.
        num_actions: K.
        own_actions: (K, M) int, code of a^m, what of an action is modality m's own: its part of a Dict that has a part
            for every modality, else the whole action.
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
    parts: np.ndarray
    signal: np.ndarray
    num_actions: int
    own_actions: np.ndarray
    horizon: int | None


def enumerate_world(world: World, horizon: int | None = None, limit: int = LIMIT) -> Kernel:
    """All states that a world reaches within `horizon` steps, under any actions.

    Args:
        world: on the numpy backend, with finite draws.
        horizon: steps to look ahead; None for the world's own, or until there are no new states.
        limit: rows of one expansion, the most memory to be used.

    Raises:
        NotEnumerable: the limit does not suffice, or a draw is continuous.
        ValueError: another backend.
    """
    if world.backend != "numpy":
        raise ValueError(f"worlds are enumerated on backend='numpy', got {world.backend!r}")
    horizon = world.horizon if horizon is None else horizon
    if horizon is not None and horizon < 1:
        raise ValueError(f"horizon must be at least 1, got {horizon}")
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
    source, action, target, probability, feedback, parts, signal = columns
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
        parts=parts,
        signal=signal,
        num_actions=world.actions.count,
        own_actions=_own_actions(world.actions, book.modalities),
        horizon=horizon,
    )


def within(kernel: Kernel, horizon: int | None) -> int | None:
    """A horizon that a kernel is good for; None for its own."""
    if horizon is None:
        return kernel.horizon
    if horizon < 1 or horizon > (kernel.horizon or horizon):
        raise ValueError(f"horizon must lie in [1, {kernel.horizon or 'any number'}] for this kernel, got {horizon}")
    return horizon


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
        self._parts: list[dict[bytes, int]] = [{} for _ in self.modalities]

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
        names = [" ".join(f"{a}={exactly(value)}" for a, value in zip(labels, row, strict=True)) for row in distinct]
        return np.array([self.feedback.setdefault(name, len(self.feedback)) for name in names])[which]

    def parts(self, feedback: dict[str, np.ndarray], num_rows: int) -> np.ndarray:
        """Codes (R, M) of the feedback that is a modality's own."""
        nothing = np.zeros(num_rows, np.int64)
        columns = [
            _look_up(known, np.asarray(feedback[m])) if m in feedback else nothing
            for m, known in zip(self.modalities, self._parts, strict=True)
        ]
        return np.stack(columns, axis=1)

    def _observe(self, states: State) -> np.ndarray:
        """(R, M) codes of what the states show."""
        codes = []
        for start in range(0, len(states[0]), _ROWS):
            rows = np.arange(start, min(start + _ROWS, len(states[0])))
            observation = self.world.observe(take(states, rows))
            columns = [_look_up(seen, observation[m]) for m, seen in zip(self.modalities, self._seen, strict=True)]
            codes.append(np.stack(columns, axis=1))
        return np.concatenate(codes)


def _look_up(known: dict[bytes, int], rows: np.ndarray) -> np.ndarray:
    """Numbers (R,) of rows, new ones entered."""
    digests = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.ascontiguousarray(rows)]
    return np.array([known.setdefault(digest, len(known)) for digest in digests])


def _step(world: World, book: _Book, sources: np.ndarray, limit: int) -> tuple[np.ndarray, ...]:
    """All edges that leave some states."""
    actions = world.actions
    if len(sources) * actions.count > limit:
        raise NotEnumerable(
            f"{len(sources):,} states and {actions.count:,} actions are more than {limit:,} pairs; "
            "take a smaller version or a horizon"
        )
    source, action = np.repeat(sources, actions.count), np.tile(np.arange(actions.count), len(sources))

    def turn(keys: Any, rows: np.ndarray) -> tuple[Any, ...]:
        state, taken = book.states(source[rows]), actions.join(actions.unnumber(action[rows]))
        observation = Seen(world, state)
        feedback = world.feedback(state, observation, taken, keys)
        signal = world.signal(state, observation, taken, feedback, keys).value
        return feedback, signal, world.transition(state, observation, taken, feedback, keys)

    rows, probability, (feedback, signal, after) = branch(turn, len(source), limit)
    target, parts = book.enter(after), book.parts(feedback, len(rows))
    return source[rows], action[rows], target, probability, book.name(feedback), parts, np.asarray(signal, np.float64)


def _own_actions(actions: Actions, modalities: tuple[str, ...]) -> np.ndarray:
    """(K, M) codes of what of each action is a modality's own."""
    numbers = np.arange(actions.count)
    if not set(modalities) <= set(actions.owners):
        return np.repeat(numbers[:, None], len(modalities), axis=1)
    columns, owners = actions.unnumber(numbers), np.array(actions.owners)
    return np.stack([number_rows(columns[:, owners == m]) for m in modalities], axis=1)


def _hash_rows(states: State) -> np.ndarray:
    """(R,) int64 hashes of states; two of a million states are confused with probability below 1e-7."""
    total = np.zeros(len(states[0]), np.int64)
    for field in states:
        columns = np.ascontiguousarray(np.asarray(field).reshape(len(field), -1))
        values = columns.astype(np.float64).view(np.int64) if columns.dtype.kind == "f" else columns.astype(np.int64)
        for column in values.T:
            total = mix((total ^ mix(column + 1)) * 3)
    return total
