"""The law of each step of an enumerated world: what is remembered, done, and comes of it."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from unienv.separability.codes import first_of, number_rows
from unienv.separability.draws import NotEnumerable
from unienv.separability.enumeration import Kernel

_ENDED = 1e-9  # share of episodes that may still be going on when all are taken to have ended
_STEPS = 2000  # after which a world without a horizon is given up


class Cells(NamedTuple):
    """One step, given that the episode is still going on: R distinct rows and their mass.

    Fields:
        alive: probability that it is going on.
        codes: (R, M) int, what expert m remembers of its modality: with a history of 1 the kernel's codes, the same in
            every step; a longer memory is numbered within the step.
        action: (R,) int, the present action together with the remembered ones.
        taken: (R,) int, the present action.
        own_action: (R, M) int, as `action`, but what of it is modality m's own.
        feedback, signal: (R,) int, codes of xi and of l.
        output: (R, M) int, codes of what comes of modality m: its own part of the feedback and its next observation.
        mass: (R,), sums to 1.
    """

    alive: float
    codes: np.ndarray
    action: np.ndarray
    taken: np.ndarray
    own_action: np.ndarray
    feedback: np.ndarray
    signal: np.ndarray
    output: np.ndarray
    mass: np.ndarray


class _Belief(NamedTuple):
    """R pairs of a state and a memory: weights (R,), the last h observations (R, M, h), h - 1 actions between them."""

    state: np.ndarray
    weight: np.ndarray
    observations: np.ndarray
    actions: np.ndarray


def walk(kernel: Kernel, law: np.ndarray, history: int, horizon: int | None, limit: int) -> Iterator[Cells]:
    """Cells of each step, from the first until the horizon or until episodes have ended, but for a billionth of them.

    Args:
        kernel: of the world.
        law: (K,) probabilities of the actions, the same everywhere.
        history: observations remembered, the present one included.
        horizon: most steps, or None.
        limit: most rows of a step.

    Raises:
        NotEnumerable: more rows than the limit, or episodes that go on and on without a horizon.
    """
    order = np.argsort(kernel.source, kind="stable")
    first = np.searchsorted(kernel.source[order], np.arange(len(kernel.initial) + 1))
    start = np.flatnonzero((kernel.initial > 0) & ~kernel.terminal)
    nothing = np.zeros((len(start), 0), np.int64)
    belief = _Belief(start, kernel.initial[start], kernel.codes[start][:, :, None], nothing)
    step = 0
    while belief.weight.sum() > _ENDED and (horizon is None or step < horizon):
        step += 1
        counts = first[belief.state + 1] - first[belief.state]
        if counts.sum() > limit or step > _STEPS:
            raise NotEnumerable(
                f"step {step} has {counts.sum():,} rows, and {limit:,} rows and {_STEPS:,} steps are the most; "
                "take a shorter history or horizon"
            )
        row = np.repeat(np.arange(len(counts)), counts)
        edge = order[first[belief.state[row]] + np.arange(len(row)) - np.repeat(counts.cumsum() - counts, counts)]
        mass = belief.weight[row] * law[kernel.action[edge]] * kernel.probability[edge]
        row, edge, mass = row[mass > 0], edge[mass > 0], mass[mass > 0]
        yield _cells(kernel, belief, row, edge, mass)
        belief = _advance(kernel, belief, row, edge, mass, history)


def _cells(kernel: Kernel, belief: _Belief, row: np.ndarray, edge: np.ndarray, mass: np.ndarray) -> Cells:
    """Rows of the belief with the edges that leave them, equal ones added up."""
    taken, codes = kernel.action[edge], kernel.codes[kernel.target[edge]]
    memory = belief.observations[:, :, 0]
    if belief.observations.shape[2] > 1:
        memory = np.stack([number_rows(o) for o in belief.observations.transpose(1, 0, 2)], axis=1)
    memory = memory[row]
    done = np.concatenate([belief.actions[row], taken[:, None]], axis=1)
    own = np.stack([number_rows(a[done]) for a in kernel.own_actions.T], axis=1)
    pairs = np.stack([kernel.parts[edge], codes], axis=2)
    output = np.stack([number_rows(pairs[:, m]) for m in range(pairs.shape[1])], axis=1)
    signal = np.unique(kernel.signal, return_inverse=True)[1][edge]
    columns = np.stack([number_rows(done), taken, kernel.feedback[edge], signal], axis=1)
    number = number_rows(np.concatenate([memory, columns, own, output], axis=1))
    one = first_of(number)
    action, taken, feedback, signal = columns[one].T
    return Cells(
        alive=float(mass.sum()),
        codes=memory[one],
        action=action,
        taken=taken,
        own_action=own[one],
        feedback=feedback,
        signal=signal,
        output=output[one],
        mass=np.bincount(number, mass) / mass.sum(),
    )


def _advance(
    kernel: Kernel, belief: _Belief, row: np.ndarray, edge: np.ndarray, mass: np.ndarray, history: int
) -> _Belief:
    """The belief after a step, of episodes that go on."""
    on = ~kernel.terminal[kernel.target[edge]]
    row, edge, mass = row[on], edge[on], mass[on]
    target = kernel.target[edge]
    seen = np.concatenate([belief.observations[row], kernel.codes[target][:, :, None]], axis=2)[:, :, -history:]
    done = np.concatenate([belief.actions[row], kernel.action[edge][:, None]], axis=1)
    done = done[:, done.shape[1] - (seen.shape[2] - 1) :]
    number = number_rows(np.concatenate([target[:, None], *seen.transpose(1, 0, 2), done], axis=1))
    one = first_of(number)
    return _Belief(target[one], np.bincount(number, mass), seen[one], done[one])
