"""ladder: what a decision is worth with each modality alone, with the best late fusion, and with all jointly.

    blind <= best single modality = best fixed mixture of them <= late <= joint,    GAP = joint - late

Late fusion is pi(a|o) ~ exp sum_m f_m(o^m, a). Its best value is reached by a deterministic policy, the argmax of a sum
of scores, so it is a mixed-integer linear programme: one binary variable a cell and action, scores as continuous ones.
What is proved is proved of policies whose choices lead by a thousandth of the largest score: finer ones, as rules with
many exceptions to exceptions might need, are not searched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from unienv.separability.draws import LIMIT
from unienv.separability.enumeration import Kernel, enumerate_world, within
from unienv.separability.exact import check_law
from unienv.separability.feedback import lump
from unienv.separability.walk import walk
from unienv.world import World

_MOST = 4_000_000  # constraints of a search; larger ones are not begun
_MARGIN = 1e-3  # by which the chosen action's score leads, where scores lie in [-1, 1]


@dataclass(frozen=True)
class Ladder:
    """Values of one decision, in units of the signal l.

    Fields:
        modalities: names.
        blind: the best fixed action.
        single: best by each modality alone.
        late: best late fusion found; late_bound, proved upper bound of it, for choices that lead by a thousandth of the
            largest score. They are equal when the search ended.
        joint: best with all modalities.
        decision: which decision is valued, in words.
        steps: steps of an episode that are pooled; of more than one, plans are not valued.
    """

    modalities: tuple[str, ...]
    blind: float
    single: tuple[float, ...]
    late: float
    late_bound: float
    joint: float
    decision: str = "one decision"
    steps: int = 1

    @property
    def gap(self) -> float:
        """GAP = joint - late; an upper bound of it where the search did not end."""
        return self.joint - self.late

    @property
    def gap_bound(self) -> float:
        """What late fusion certainly loses: joint - late_bound."""
        return self.joint - self.late_bound

    @property
    def certified(self) -> bool:
        """Whether the best late fusion is proved to be the best."""
        return self.late_bound - self.late <= 1e-6


def ladder(
    world: World | Kernel,
    horizon: int | None = None,
    seconds: float = 30.0,
    limit: int = LIMIT,
) -> Ladder:
    """The ladder of a world's decisions: what the signal of one step is worth, o drawn under uniform actions.

    In worlds of one step that is J itself. In longer ones it values one decision, all steps of an episode pooled, and
    not plans: a decision that only leads somewhere is worth nothing here. Who decides sees the observation and not the
    number of the step.

    Args:
        world: enumerable, see `exact`.
        horizon: steps pooled; None for the world's or kernel's own.
        seconds: time for the search of the best late fusion.
        limit: most rows of a step.

    Raises:
        NotEnumerable: too large, or draws that can't be counted.
        ValueError: a horizon beyond the kernel's.
    """
    kernel = enumerate_world(world, horizon, limit) if isinstance(world, World) else world
    law = check_law(None, kernel.num_actions)
    steps = list(walk(kernel, law, 1, within(kernel, horizon), limit))
    total = sum(step.alive for step in steps)
    codes = np.concatenate([step.codes for step in steps])
    mass = np.concatenate([step.mass * step.alive / total for step in steps])
    worth = mass * np.unique(kernel.signal)[np.concatenate([step.signal for step in steps])]
    taken = np.concatenate([step.taken for step in steps])
    cells, which = np.unique(codes, axis=0, return_inverse=True)
    values = np.zeros((len(cells), kernel.num_actions))
    np.add.at(values, (which, taken), worth * kernel.num_actions)  # rho takes each action with probability 1/K
    decision = (
        "the only step of an episode" if len(steps) == 1 else f"one of {len(steps)} steps, o under uniform actions"
    )
    found = ladder_of_cells(cells, values, kernel.modalities, seconds)
    return replace(found, decision=decision, steps=len(steps))


def ladder_of_cells(
    codes: np.ndarray,
    values: np.ndarray,
    modalities: tuple[str, ...] | None = None,
    seconds: float = 30.0,
) -> Ladder:
    """The ladder of one decision given as a table.

    Args:
        codes: (C, M) int, observations by modality; each row once.
        values: (C, K), p(o) E[l | o, a].
        modalities: names.
        seconds: time for the search.
    """
    num_modalities = codes.shape[1]
    single = []
    for m in range(num_modalities):
        pooled = np.zeros((int(codes[:, m].max()) + 1, values.shape[1]))
        np.add.at(pooled, codes[:, m], values)
        single.append(float(pooled.max(axis=1).sum()))
    least = values.min(axis=1)  # what every action earns matters to no choice
    gain, late, bound = values - least[:, None], 0.0, 0.0
    if gain.any():
        late, bound = _late(*lump(codes, np.zeros(len(codes), np.int64), _distinct_actions(gain)), seconds)
    late, bound = late + float(least.sum()), bound + float(least.sum())
    return Ladder(
        modalities=modalities or tuple(f"modality {m + 1}" for m in range(num_modalities)),
        blind=float(values.sum(axis=0).max()),
        single=tuple(single),
        late=max(late, *single),
        late_bound=max(bound, *single),
        joint=float(values.max(axis=1).sum()),
    )


def _distinct_actions(gain: np.ndarray) -> np.ndarray:
    """The gains (C, K') of actions that differ somewhere: of equal ones the best policies need but one."""
    rounded = np.round(gain / (np.abs(gain).max() or 1.0), 12)
    return gain[:, np.unique(rounded, axis=1, return_index=True)[1]]


def _late(codes: np.ndarray, values: np.ndarray, seconds: float) -> tuple[float, float]:
    """Best value of an argmax of sums of scores, and a proved upper bound."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    scale = float(np.abs(values).max()) or 1.0
    gain = values / scale
    cells, actions = gain.shape
    if cells * actions**2 > _MOST:
        return float(values.sum(axis=0).max()), float(values.max(axis=1).sum())
    distinct = [np.unique(column, return_inverse=True) for column in codes.T]
    offsets = np.cumsum([0, *(len(levels) * actions for levels, _ in distinct)])
    chosen = int(
        offsets[-1]
    )  # columns: scores of every modality's values and actions, then one binary a cell and action
    # z[c, a] = 1 asks sum_m f_m(o^m, a) - f_m(o^m, b) >= margin for every other b; otherwise the row is slack.
    slack = 2 * codes.shape[1] + _MARGIN
    cell, a, b = (axis.ravel() for axis in np.meshgrid(*map(np.arange, (cells, actions, actions)), indexing="ij"))
    cell, a, b = cell[a != b], a[a != b], b[a != b]
    row = np.arange(len(cell))
    parts = []
    for offset, (_, which) in zip(offsets, distinct, strict=False):
        base = offset + which[cell] * actions
        parts += [(row, base + a, np.ones(len(row))), (row, base + b, -np.ones(len(row)))]
    parts.append((row, chosen + cell * actions + a, np.full(len(row), -slack)))
    rows, columns, entries = (np.concatenate(part) for part in zip(*parts, strict=True))
    width = chosen + cells * actions
    ahead = coo_array((entries, (rows, columns)), shape=(len(row), width)).tocsr()
    picks = np.arange(cells * actions)
    one = coo_array((np.ones(len(picks)), (picks // actions, chosen + picks)), shape=(cells, width)).tocsr()
    scores = np.where(np.arange(chosen) % actions, 1.0, 0.0)  # the first action scores 0: only differences count
    bounds: Any = Bounds(np.r_[-scores, np.zeros(len(picks))], np.r_[scores, np.ones(len(picks))])  # type: ignore[arg-type]
    result = milp(
        np.concatenate([np.zeros(chosen), -gain.ravel()]),
        constraints=[LinearConstraint(ahead, _MARGIN - slack, np.inf), LinearConstraint(one, 1, 1)],
        bounds=bounds,
        integrality=np.repeat([0, 1], [chosen, len(picks)]),
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    bound = float(gain.max(axis=1).sum()) if result.mip_dual_bound is None else -float(result.mip_dual_bound)
    found = float(gain.sum(axis=0).max()) if result.x is None else -float(result.fun)
    return found * scale, max(bound, found) * scale
