"""Transitions as cells with counts, dealt to folds by episode; and nets that have not seen their fold."""

import math
from dataclasses import dataclass

import numpy as np

from unienv.separability.codes import first_of, number_rows
from unienv.separability.neural import Cells, Nested, Sizes, fit_nested
from unienv.separability.transitions import Transitions

PARTS = 8  # of a fold: one part of another fold decides when a net stops
_NETS = 64  # fits an estimate may number
_ACTIONS = 256  # each has a law of its own


class TooManyActions(ValueError):
    """So many different actions that there is little to tell of each."""


def check_actions(transitions: Transitions) -> None:
    """TooManyActions, one line, where nets would have to fit a law for each of more than 256 actions."""
    count = len(np.unique(transitions.action))
    if count > _ACTIONS:
        raise TooManyActions(
            f"nets fit a law for each action, of which there may be {_ACTIONS}; {count:,} different ones were taken. "
            "Measure a version with fewer, or a small one exactly"
        )


def number_cells(transitions: Transitions) -> tuple[np.ndarray, np.ndarray]:
    """Distinct (values.., action) (C, M + 1), the action recoded from 0, and the cell of each row (n,)."""
    action = np.unique(transitions.action, return_inverse=True)[1]
    columns = [seen.which for seen in transitions.observation.values()] + [action]
    codes = np.stack(columns, axis=1)
    cell = number_rows(codes)
    return codes[first_of(cell)], cell


@dataclass(frozen=True)
class Split:
    """Rows (n,) as cells, and dealt to parts by episode.

    Fields:
        cells: distinct observations and actions, with features.
        cell: (n,) int, the cell of each row.
        part: (n,) int in [0, folds * PARTS), equal within an episode; part p belongs to fold p // PARTS.
        folds: K.
    """

    cells: Cells
    cell: np.ndarray
    part: np.ndarray
    folds: int

    @property
    def fold(self) -> np.ndarray:
        """(n,) int in [0, K)."""
        return self.part // PARTS

    def counts(self, feedback: np.ndarray, outcomes: int) -> np.ndarray:
        """(folds * PARTS, C, Y) float32."""
        shape = (self.folds * PARTS, len(self.cells.action), outcomes)
        place = np.ravel_multi_index((self.part, self.cell, feedback), shape)
        return np.bincount(place, minlength=math.prod(shape)).reshape(shape).astype(np.float32)

    def fit(
        self, counts: np.ndarray, net: int, sizes: Sizes, seed: int, joint: bool = True, half: bool = False
    ) -> Nested:
        """Nets (folds, ..) that have not seen their fold.

        Args:
            counts: see `counts`.
            net: number of the fit; it decides with `seed` how nets start, and on which part they stop.
            sizes: of nets and training.
            seed: of the estimate.
            joint: False leaves the residual out.
            half: train on half of the data.
        """
        parts = counts.reshape(self.folds, PARTS, *counts.shape[1:])
        by_fold = (parts[:, ::2] if half else parts).sum(axis=1)
        inner = np.stack([parts[(k + 1) % self.folds, (2 * net + 1) % PARTS] for k in range(self.folds)])
        train = by_fold.sum(axis=0) - by_fold - (0 if half else inner)
        return fit_nested(self.cells, train, inner, sizes, seed * _NETS + net, joint)

    def held_out(self, laws: list[np.ndarray], feedback: np.ndarray) -> np.ndarray:
        """log q (n,) of each row by the nets (folds, C, Y) that have not seen it, averaged over fits."""
        mean = sum(laws) / len(laws)
        mean = mean - np.log(np.exp(mean).sum(axis=-1, keepdims=True))
        return mean[self.fold, self.cell, feedback].astype(np.float64)

    def gains(self, nets: list[Nested], feedback: np.ndarray) -> np.ndarray:
        """Held-out log q_joint - log q_separable of each row (n,)."""
        joint, separable = ([getattr(net, kind) for net in nets] for kind in ("joint", "separable"))
        return self.held_out(joint, feedback) - self.held_out(separable, feedback)


def split_cells(
    transitions: Transitions, features: tuple[np.ndarray, ...], folds: int, generator: np.random.Generator
) -> Split:
    """Cells of transitions with the features of their values, and episodes dealt to folds at random."""
    codes, cell = number_cells(transitions)
    episode = np.unique(transitions.episode, return_inverse=True)[1]
    part = generator.permutation(np.arange(episode.max() + 1) % (folds * PARTS))[episode]
    return Split(Cells(features, codes[:, :-1], codes[:, -1]), cell, part, folds)
