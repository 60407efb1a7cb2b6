"""Counts of transitions: what the estimate by tables needs to know of them, from however many, wherever they lie.

Counts of parts add up to those of the whole. Values are known by digests of their bytes, so that parts agree on them
without a common list, and all stands in the order of digests: whatever the parts are, the same numbers come out. What
is kept grows with the distinct (observation, action) and with episodes, not with transitions.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from unienv.separability.codes import first_of, number_rows
from unienv.separability.transitions import Transitions


class Rows(NamedTuple):
    """n transitions without their values.

    Fields:
        cells: (n, M + 1) int64, the digest of every modality's value, modalities by name, and the action.
        feedback: (n,) int, places in `names`.
        names: of outcomes.
        episode: (n,) int64; None where rows do not depend on each other.
    """

    cells: np.ndarray
    feedback: np.ndarray
    names: tuple[str, ...]
    episode: np.ndarray | None


class Tally(NamedTuple):
    """How often each (observation, action) was answered by each outcome.

    Fields:
        cells: (C, M + 1) int64 as in `Rows`, distinct and ascending.
        names: of the outcomes that occur, ascending.
        count: (C, Y) int64.
    """

    cells: np.ndarray
    names: tuple[str, ...]
    count: np.ndarray


class Sums(NamedTuple):
    """What a part says of sums over its episodes. Fields: sum of their squares, exact; episodes, their number."""

    squares: int
    episodes: int


def digests(values: Iterable[bytes]) -> np.ndarray:
    """(U,) int64 of U values; two of a million different ones are alike with a probability of 3e-8."""
    joined = b"".join(hashlib.blake2b(value, digest_size=8).digest() for value in values)
    return np.frombuffer(joined, "<i8").astype(np.int64)


def rows_of(transitions: Transitions) -> Rows:
    """Transitions in memory, ready to be counted."""
    seen = [value for _, value in sorted(transitions.observation.items())]
    columns = [digests(item.tobytes() for item in np.asarray(value.items))[value.which] for value in seen]
    cells = np.stack([*columns, transitions.action], axis=1)
    return Rows(cells, transitions.feedback, transitions.names, transitions.episode)


def tally(rows: Rows) -> Tally:
    """Count some rows."""
    cell = number_rows(rows.cells)
    cells, outcomes = rows.cells[first_of(cell)], len(rows.names)
    count = np.bincount(cell * outcomes + rows.feedback, minlength=len(cells) * outcomes)
    return merge([Tally(cells, rows.names, count.reshape(len(cells), outcomes))])


def merge(parts: Sequence[Tally]) -> Tally:
    """The counts of parts with the same modalities together."""
    names = sorted({name for part in parts for name in part.names})
    cells = np.concatenate([part.cells for part in parts])
    count = np.concatenate([part.count @ np.equal.outer(part.names, names) for part in parts])
    cell = number_rows(cells)
    first = first_of(cell)
    total = np.zeros((len(first), len(names)), np.int64)
    np.add.at(total, cell, count)
    seen = total.any(axis=0)
    return Tally(cells[first], tuple(np.array(names)[seen].tolist()), total[:, seen])


def sums(parts: Iterable[Rows], table: Tally, gain: np.ndarray) -> Sums:
    """Gains summed over each episode.

    Args:
        parts: rows with episodes, which were counted into `table`. An episode may stand in several of them.
        table: of these rows and others.
        gain: (C, Y) int64, of each cell and outcome; integers, so that the order of adding is of no matter.
    """
    episode, total = np.zeros(0, np.int64), np.zeros(0, np.int64)
    places = {name: y for y, name in enumerate(table.names)}
    for rows in parts:
        assert rows.episode is not None
        cell = number_rows(np.concatenate([table.cells, rows.cells]))[
            len(table.cells) :
        ]  # all of them are in the table
        outcome = np.array([places.get(name, 0) for name in rows.names])[rows.feedback]
        episode, code = np.unique(np.concatenate([episode, rows.episode]), return_inverse=True)
        longer = np.zeros(len(episode), np.int64)
        np.add.at(longer, code, np.concatenate([total, gain[cell, outcome]]))
        total = longer
    return Sums(sum(x * x for x in total.tolist()), len(episode))
