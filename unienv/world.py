"""World: the environment E = (Omega, O, A, T, F, G) as batched pure functions over a state of arrays.

One turn of the loop, and the method of each symbol:

    o  ~ P(. | w)              observe(state)
    xi ~ F(. | w, o, a)        feedback(state, observation, action, keys)
    w' ~ T(. | w, o, a, xi)    transition(state, observation, action, feedback, keys)
    l  = G(w, o, a, xi)        signal(state, observation, action, feedback, keys)

A state is a NamedTuple whose arrays all have leading dimension N, one row a world. Rows never mix.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces

from unienv.actions import Actions, name_parts
from unienv.backend import array_namespace_of, check_backend
from unienv.buffers import Buffers
from unienv.modality import TEXT, Vocabulary
from unienv.rng import Array, Keys
from unienv.signal import Signal, make_signal

Observation = Mapping[str, Array]
Action = Any  # an array (N,) or (N, n), or a dict of these, as the action space is structured
Feedback = dict[str, Array]
State = Any  # a NamedTuple of arrays, each world its own


class World(abc.ABC):
    """A family of environments, N of which are stepped as one.

    A subclass sets the attributes below in its constructor, builds its constant arrays with `self.array`, and
    implements the abstract methods with `self.xp` so that the same source runs on numpy and on torch.

    Attributes:
        observation_space: Dict of modalities, see `unienv.modality`.
        action_space: space of one action: Discrete, MultiDiscrete or a Dict of these, see `unienv.actions`.
        vocabulary: words of the text modality, and of what an agent utters.
        action_names: what the actions of a Discrete space are called, for people; may be left empty.
        horizon: steps after which an episode is truncated; None when every episode ends by itself.
        small: parameters of a version with few enough states to be enumerated; empty where there is none.

    Args:
        signal: rule G, one of `unienv.signal.SIGNALS`.
        backend: "numpy" or "torch".
        device: torch device on which the worlds live; None for the backend's default.
    """

    observation_space: spaces.Dict
    action_space: spaces.Space
    vocabulary: Vocabulary
    action_names: tuple[str, ...] = ()
    horizon: int | None = None
    small: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, signal: str = "reward", backend: str = "numpy", device: str | None = None) -> None:
        self.backend, self.device = check_backend(backend, device)
        self._buffers = Buffers()
        self.signal: Signal = make_signal(signal, self)

    @property
    def xp(self) -> Any:
        """Array namespace: numpy, or array_api_compat's view of torch."""
        return array_namespace_of(self.backend)

    def array(self, values: Any, dtype: str | None = None) -> Array:
        """Constant or input as an array of this world's backend and device."""
        if self.backend == "numpy":
            return np.asarray(values, dtype=dtype)
        return self.xp.asarray(values, dtype=dtype and getattr(self.xp, dtype), device=self.device)

    def at(self, table: Array, column: Array) -> Array:
        """Entry `column` (N,) of each row of a table (N, n)."""
        return table[self.xp.arange(column.shape[0], device=self.device), column]

    def canvas(self, shape: tuple[int, ...]) -> Array:
        """An uninitialised uint8 array for pixels, its memory referred to by nothing else."""
        if self.device in (None, "cpu"):
            image = self._buffers.empty(shape)
            return image if self.backend == "numpy" else self.xp.asarray(image)  # a tensor of the same memory
        return self.xp.empty(shape, dtype=self.xp.uint8, device=self.device)

    @cached_property
    def actions(self) -> Actions:
        """The action space taken apart."""
        return Actions(self.action_space)

    @abc.abstractmethod
    def initial(self, keys: Keys) -> State:
        """Draw N start states w_1."""

    @abc.abstractmethod
    def observe(self, state: State) -> Observation:
        """o: what the agent perceives. Fresh arrays, sharing no memory with the state or with the world's tables."""

    @abc.abstractmethod
    def feedback(self, state: State, observation: Observation, action: Action, keys: Keys) -> Feedback:
        """xi: named parts (N, ...); "success" (N,) bool among them says whether the step fulfilled the task.

        A part named like a modality is that modality's own, xi^m of Eq. (10).
        """

    @abc.abstractmethod
    def transition(
        self, state: State, observation: Observation, action: Action, feedback: Feedback, keys: Keys
    ) -> State:
        """w': the next states; the arrays of `state` stay as they are."""

    @abc.abstractmethod
    def terminal(self, state: State) -> Array:
        """(N,) bool: states in which the episode is over by the world's own rules (the horizon is not among them)."""

    @abc.abstractmethod
    def oracle(self, state: State) -> Action:
        """Best actions of N worlds given the full state: the upper anchor of plots, and the label of supervision."""

    def reward(self, state: State, observation: Observation, action: Action, feedback: Feedback) -> Array:
        """(N,) float64: value of the step in [0, 1]; 1 for success unless a world says otherwise."""
        return self.xp.astype(feedback["success"], self.xp.float64)

    def name_action(self, action: Any) -> str:
        """One action for a person to read: words, or numbers counted from 0."""
        return name_parts(action, self._name_part)

    def _name_part(self, key: str, part: Any) -> str:
        if key == TEXT:
            return f'"{self.vocabulary.decode(part)}"'
        named = not key and self.action_names and not np.ndim(part)
        return self.action_names[int(part)] if named else name_parts(part)

    def describe(self, state: State, index: int) -> str:
        """One world of the batch for a person to read, the "ansi" rendering: its text, unless a world says more."""
        return self.vocabulary.decode(self.observe(take(state, self.array([index], "int64")))["text"][0])


def take(state: State, where: Array) -> State:
    """Rows `where` (M,) int64 of a state, as a state of M worlds."""
    return type(state)(*(field[where] for field in state))


def put(state: State, where: Array, rows: State) -> State:
    """A copy of `state` with its rows `where` (M,) int64 replaced by the M rows of another state."""
    fields = []
    for old, new in zip(state, rows, strict=True):
        field = old.copy() if isinstance(old, np.ndarray) else old.clone()
        field[where] = new
        fields.append(field)
    return type(state)(*fields)


class Outcome(NamedTuple):
    """What one step of N worlds gives back besides the next observation.

    Fields:
        signal: (N,) float64, l.
        terminated: (N,) bool, the world's own end.
        truncated: (N,) bool, the horizon's end; never together with `terminated`.
        feedback: xi, named parts (N, ...).
        supervision: what the rule G discloses besides l (label, preference), named parts (N, ...).
    """

    signal: Array
    terminated: Array
    truncated: Array
    feedback: Feedback
    supervision: Mapping[str, Array]

    @property
    def over(self) -> Array:
        """(N,) bool: the episode ended, one way or the other."""
        return self.terminated | self.truncated
