"""G: how feedback becomes the learning signal l = G(w, o, a, xi). The supervision protocol is part of the environment.

One world under three protocols: told how good the action was (reward), told the right action (label), or told which of
two actions is better (preference).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from unienv.rng import Array, Keys
from unienv.spelling import check_choice

if TYPE_CHECKING:
    from unienv.world import Action, Feedback, Observation, State, World

_ALTERNATIVE = 63  # salt of the action that a preference compares with; worlds use small salts


class Verdict(NamedTuple):
    """Fields: value (N,) float64, the signal l; supervision, what the protocol discloses besides."""

    value: Array
    supervision: dict[str, Action]


class Signal(Protocol):
    """A rule G bound to a world."""

    def __call__(
        self, state: State, observation: Observation, action: Action, feedback: Feedback, keys: Keys
    ) -> Verdict:
        """Judge the action (N, ...) taken in `state` that drew `feedback`."""
        ...


class Reward:
    """l is the world's reward; nothing else is disclosed."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __call__(
        self, state: State, observation: Observation, action: Action, feedback: Feedback, keys: Keys
    ) -> Verdict:
        """l = reward(w, o, a, xi)."""
        del keys
        return Verdict(self.world.reward(state, observation, action, feedback), {})


class Label:
    """l is 1 where the action is the oracle's; the oracle's action is disclosed as "label"."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __call__(
        self, state: State, observation: Observation, action: Action, feedback: Feedback, keys: Keys
    ) -> Verdict:
        """l = 1[a = oracle(w)], in all its parts."""
        del observation, feedback, keys
        world = self.world
        label = world.oracle(state)
        same = world.xp.all(world.actions.split(action) == world.actions.split(label), axis=1)
        return Verdict(world.xp.astype(same, world.xp.float64), {"label": label})


class Preference:
    """l compares the action with a uniformly drawn alternative under the same randomness: 1 better, 0 equal, -1 worse.

    The alternative is disclosed as "alternative". A tie is worth nothing, or else it would pay to put off the end.
    """

    def __init__(self, world: World) -> None:
        self.world = world

    def __call__(
        self, state: State, observation: Observation, action: Action, feedback: Feedback, keys: Keys
    ) -> Verdict:
        """l = sign(r(a) - r(a')) with a' uniform."""
        world = self.world
        alternative = world.actions.draw(keys, _ALTERNATIVE)
        counterfactual = world.feedback(state, observation, alternative, keys)
        mine = world.reward(state, observation, action, feedback)
        other = world.reward(state, observation, alternative, counterfactual)
        return Verdict(world.xp.sign(mine - other), {"alternative": alternative})


SIGNALS: dict[str, Any] = {"reward": Reward, "label": Label, "preference": Preference}


def make_signal(name: str, world: World) -> Signal:
    """The rule called `name`, bound to a world; ValueError with the nearest name otherwise."""
    check_choice("signal", name, SIGNALS)
    return SIGNALS[name](world)
