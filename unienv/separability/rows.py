"""Rows of a data set as transitions, each of them once: what is exact of a world of rows may be of nothing else."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from unienv.backend import to_numpy
from unienv.registry import is_world, world_class
from unienv.separability.codes import number_rows
from unienv.separability.transitions import Transitions
from unienv.worlds.dataset import Dataset

_LEAST = 0.5  # share of rows that recur by which exact figures are told


def rows_of(env: Mapping[str, Any], seed: int = 0) -> Transitions | None:
    """The rows of an environment ("id" and parameters) that is a data set, see `guesses`; None of others."""
    name, parameters = str(env["id"]), {key: value for key, value in env.items() if key != "id"}
    if not is_world(name) or not issubclass(world_class(name)[0], Dataset):
        return None
    return guesses(Dataset(**parameters), seed)


def trivial(rows: Transitions | None) -> str | None:
    """Why exact figures of a data set would say nothing of where its rows come from; None where they may."""
    shares = {} if rows is None else recurring(rows)
    name = min(shares, key=shares.__getitem__, default=None)
    if name is None or shares[name] >= _LEAST:
        return None
    alone = f"{1 - shares[name]:.0%} of the rows show {name} that no other shows, which tells them by itself"
    return f"{alone}; method=exact measures these rows and no others"


def guesses(world: Dataset, seed: int = 0) -> Transitions:
    """A transition for each row of a data set: a uniform guess, and whether it was the label.

    Recorded by play, rows would come again, and nets would have learned those that they are tested on. Rows that show
    the same share an episode, so that they stay on one side as well.

    Args:
        world: whose split is taken.
        seed: of the guesses.
    """
    observation, labels = ({name: to_numpy(value) for name, value in world.shown.items()}, to_numpy(world.labels))
    guess = np.random.default_rng(seed).integers(len(world.action_names), size=len(labels))
    once = Transitions(observation, guess, (guess == labels).astype(int), names=("wrong", "right"))
    pairs = np.stack([value.which for value in once.observation.values()], axis=1)
    return Transitions(once.observation, once.action, once.feedback, number_rows(pairs), once.names)


def recurring(transitions: Transitions) -> dict[str, float]:
    """By modality, the share of rows that show what other rows show as well; the others are told by it alone."""
    counts = {name: np.bincount(value.which) for name, value in transitions.observation.items()}
    return {name: float(count[count > 1].sum() / count.sum()) for name, count in counts.items()}
