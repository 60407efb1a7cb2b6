"""Exact I-projection of a table onto the log-additive class: how near a sum of per-expert scores can come to it.

The table is a list of C cells (what the experts see) with the mass of Y outcomes in each. Expert g sees its context of
the cell, and the class is q(y|x) proportional to exp sum_g f_g(context_g(x), y), together with its limits. Its member
Q* nearest to P is also the table of greatest entropy with P's mass in every cell and in every (context, outcome):
iterative scaling finds its neighbourhood, Newton's method the rest (theory: Csiszar, "I-divergence geometry", 1975).

Where P has zeros Q* may be a limit of the class that no finite scores attain, and descent would creep towards it for
ever. So its support is found first. The unit of the code is the entry, a pair (cell, outcome); every entry lies in one
row of each of G + 1 partitions: its cell, and its (context, outcome) for each expert. Q* has the row sums of P, and an
entry with P = 0 is in its support iff a direction with all row sums zero raises it and lowers no other entry that is 0.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import linprog
from scipy.sparse import csc_array, csr_array, diags_array, eye_array, hstack
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import lsqr, splu

_PEELS = 100  # rounds of elimination; a longer chain is left to the exact steps after it
_SWEEPS = 10  # of iterative scaling, enough for Newton's method to start well
_STEPS = 200  # of Newton's method; tables in general position take below 10, nearly unattained optima up to 60
_TINY = 1e-200  # mass below it adds nothing to any sum here; its square root and inverse are ordinary numbers
_DAMPING = 1e-3  # share of the last decrement; too little to slow a step that changes log Q by a few units
_CONVERGED = 1e-26  # nats: squared Newton decrement
_SMALL = 20_000  # entries times rows up to which a dense orthogonal factorisation is quickest, and it is the most exact
_CUTS = (1e-13, 1e-9, 1e-5)  # relative curvatures taken for rounding, until the direction is sound
_DENSE = 1200  # rows up to which the Hessian is factorised as it is
_SCHUR = 4000  # rows that may stay after the largest expert is eliminated


@dataclass(frozen=True)
class Projection:
    """The nearest log-additive table, and how far the solver may be from it.

    Fields:
        joint: (C, Y) float64, Q* with the mass of every cell; 0 outside the support.
        value: KL(P || Q*) = H_Q(Y|X) - H_P(Y|X) in nats, >= 0.
        gap: |H_Q - H_P - KL| in nats: primal minus dual value, 0 at the optimum.
        excess: bound in nats on how much `value` lies above the infimum. It is the chi-square distance from Q to a
            table with exact row sums, and KL(P||Q) - inf = KL(Q*||Q) <= KL(Q'||Q) <= chi-square(Q', Q) for every such
            Q'. Where rounding leaves no such table nearby: sum of the differing row sums times the largest |log Q|.
        residual: largest row sum in which Q differs from P.
    """

    joint: np.ndarray
    value: float
    gap: float
    excess: float
    residual: float

    @property
    def certificate(self) -> float:
        """Largest of gap, excess and residual; the value is right to about this much, in nats."""
        return max(self.gap, self.excess, self.residual)


def project(joint: np.ndarray, contexts: np.ndarray) -> Projection:
    """Project a table onto the scores that a sum over experts can give.

    Args:
        joint: (C, Y) float64 >= 0, P(cell, outcome); sums to 1.
        contexts: (C, G) int >= 0, G >= 1: code of what expert g sees in each cell.

    Returns:
        The projection. Cells without mass stay without.

    Raises:
        ValueError: shapes do not fit.
        ArithmeticError: the linear programme of the support found no solution.
    """
    if joint.ndim != 2 or contexts.ndim != 2 or len(contexts) != len(joint) or contexts.shape[1] < 1:
        raise ValueError(
            f"project needs joint (C, Y) and contexts (C, G), G >= 1, got shapes {joint.shape} and {contexts.shape}"
        )
    joint = np.where(joint > _TINY, joint, 0.0)
    occupied, present = joint.sum(axis=1) > 0, joint.sum(axis=0) > 0
    table = joint[np.ix_(occupied, present)]
    p, rows = table.ravel(), _rows(contexts[occupied], table.shape[1])
    free = _peel(p > 0, rows, np.ones(len(p), bool))
    if not p[free].all():
        support = _support(p, rows, free, table.shape[1])
        free = _peel(support, rows, free & support)
    q, excess = p.copy(), 0.0
    for part in _components(rows, free):
        q[part], more = _scale(p[part], rows[:, part], part % table.shape[1])
        excess += more
    moved = free & (p > 0)
    value = max(0.0, float(p[moved] @ (np.log(p[moved]) - np.log(q[moved]))))
    gap = abs(float((p - q)[free] @ np.log(q[free])))
    residual = float(np.abs(np.bincount(rows.ravel(), np.tile(p - q, len(rows)))).max(initial=0.0))
    full = np.zeros(joint.shape)
    full[np.ix_(occupied, present)] = q.reshape(table.shape)
    return Projection(full, value, gap, excess, residual)


def _rows(contexts: np.ndarray, outcomes: int) -> np.ndarray:
    """(G + 1, C * Y) row of each entry in each partition, the cell first; no number is used twice."""
    cells = len(contexts)
    rows, start = [np.repeat(np.arange(cells), outcomes)], cells
    for context in contexts.T:
        values, code = np.unique(context, return_inverse=True)
        rows.append(start + (code[:, None] * outcomes + np.arange(outcomes)).ravel())
        start += len(values) * outcomes
    return np.stack(rows)


def _peel(positive: np.ndarray, rows: np.ndarray, free: np.ndarray) -> np.ndarray:
    """(E,) bool: entries that may differ from P, by elimination.

    An entry alone in a row keeps its mass, and entries of a row without mass keep none. What stays may be too much.
    """
    left = np.flatnonzero(free)
    for _ in range(_PEELS):
        here = rows[:, left]
        count = np.bincount(here.ravel())
        mass = np.bincount(here[:, positive[left]].ravel(), minlength=len(count))
        keep = ((count[here] > 1) & (mass[here] > 0)).all(axis=0)
        if keep.all():
            break
        left = left[keep]
    result = np.zeros(len(positive), bool)
    result[left] = True
    return result


def _components(rows: np.ndarray, free: np.ndarray) -> list[np.ndarray]:
    """Indices of the free entries, those that share rows together; parts do not influence each other."""
    index = np.flatnonzero(free)
    if not len(index):
        return []
    here = rows[:, index]
    links = csr_array((np.ones(here.size), (here[0].repeat(len(here)), here.T.ravel())), shape=(rows.max() + 1,) * 2)
    label = connected_components(links, directed=False)[1][here[0]]
    order = np.argsort(label, kind="stable")
    return np.split(index[order], np.flatnonzero(np.diff(label[order])) + 1)


def _support(p: np.ndarray, rows: np.ndarray, free: np.ndarray, outcomes: int) -> np.ndarray:
    """(E,) bool: the support of Q*, within the free entries."""
    positive = _circulate(p > 0, rows, free, outcomes)
    if outcomes == 2 and len(rows) == 3:
        return positive  # every direction is a circulation, see there
    for part in _components(rows, free):
        if not positive[part].all():
            positive[part] = _raise(positive[part], rows[:, part])
    return positive


def _circulate(positive: np.ndarray, rows: np.ndarray, free: np.ndarray, outcomes: int) -> np.ndarray:
    """Add entries to the support that a cycle through cells raises.

    Mass that a cell moves between two outcomes is a flow between the contexts of two experts, with the other contexts
    held fixed. Zeros make it one-way, and a one-way edge carries flow in some circulation iff its ends are strongly
    connected. For two experts and two outcomes these are all directions, so the result is the support itself.
    """
    grown = positive.reshape(-1, outcomes).copy()
    usable = free.reshape(-1, outcomes)
    contexts = rows[1:].reshape(len(rows) - 1, -1, outcomes)[:, :, 0]
    ends = [(_slices(contexts, g, h), _slices(contexts, h, g)) for g, h in combinations(range(len(contexts)), 2)]
    count = -1
    while count != (count := int(grown.sum())) and not grown[usable].all():
        for up, down in combinations(range(outcomes), 2):
            for tail, head in ends:
                cells = usable[:, up] & usable[:, down]
                forth, back = cells & grown[:, down], cells & grown[:, up]
                edges = np.r_[tail[forth], head[back]], np.r_[head[forth], tail[back]]
                size = int(max(tail.max(), head.max())) + 1
                graph = csr_array((np.ones(len(edges[0])), edges), shape=(size, size))
                label = connected_components(graph, connection="strong")[1]
                cycle = cells & (label[tail] == label[head])
                grown[:, up] |= cycle & forth
                grown[:, down] |= cycle & back
    return grown.ravel()


def _slices(contexts: np.ndarray, own: int, other: int) -> np.ndarray:
    """(C,) codes of the contexts of all experts but `other`; even for the lower `own` of a pair, odd for the higher."""
    code = np.unique(np.delete(contexts, other, axis=0), axis=1, return_inverse=True)[1].ravel()
    return 2 * code + (own > other)


def _raise(positive: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(E,) bool: the support of Q* in one component, by one linear programme.

    Directions are d with all row sums 0, and d >= 0 where P = 0. The programme maximises the sum of min(d, 1) over
    these entries. Directions form a cone, so at the optimum every minimum is 0 or 1 and no data enter: tolerances do
    not depend on the size of probabilities.
    """
    count, size = len(positive), int(np.unique(rows).size)
    row = np.unique(rows, return_inverse=True)[1].reshape(rows.shape)
    incidence = csc_array((np.ones(row.size), (row.ravel(), np.tile(np.arange(count), len(row)))), shape=(size, count))
    zero = np.flatnonzero(~positive)
    # d = e + s on the zeros, with e >= 0 and the capped part s in [0, 1]
    lower = np.r_[np.where(positive, -np.inf, 0.0), np.zeros(len(zero))]
    upper = np.r_[np.full(count, np.inf), np.ones(len(zero))]
    result = linprog(
        np.r_[np.zeros(count), -np.ones(len(zero))],
        A_eq=hstack([incidence, incidence[:, zero]]).tocsc(),
        b_eq=np.zeros(size),
        bounds=np.stack([lower, upper], axis=1),
        method="highs-ipm" if count > 20_000 else "highs",
    )
    if result.x is None:
        raise ArithmeticError(f"the support of {count} entries was not found: {result.message}")
    grown = positive.copy()
    grown[zero] = result.x[count:] > 0.5
    return grown


def _scale(p: np.ndarray, rows: np.ndarray, outcome: np.ndarray) -> tuple[np.ndarray, float]:
    """Q* of one component in whose entries it is positive, and the bound `excess`."""
    row = [np.unique(r, return_inverse=True)[1] for r in rows]
    sums = [np.bincount(r, p) for r in row]
    cell, mass = row[0], sums[0]
    q = _sweep((mass / np.bincount(cell))[cell], row, sums)
    system, last, excess, scale = _System(row, outcome), np.inf, np.inf, 1e-3
    for _ in range(_STEPS):
        damped = np.maximum(q, _DAMPING * scale)
        for cut in _CUTS:
            step = system.direction(p, q, damped, cut)
            step = step - (np.bincount(cell, q * step) / mass)[cell]
            decrement = float(damped @ step**2)
            sound = abs(float(p @ step) - decrement) <= 0.1 * decrement  # equal but for rounding
            slack = 0.0 if sound and np.abs(step).max() <= 1 else system.slack(p, q)
            if sound or slack < 1e-13:
                break
        excess = slack or decrement
        stalled = last <= excess < 1e-12 and (scale < 1e-24 or system.slack(p, q) < 1e-12)
        if excess < _CONVERGED or stalled:
            break
        last, scale = excess, min(excess, scale / 3)  # the decrement falls by about e where Q* is nearly unattained
        moved = _descend(p, q, step, cell, mass) if sound else None
        q = _sweep(q, row, sums) if moved is None else moved
    return q, excess


def _sweep(q: np.ndarray, row: list[np.ndarray], sums: list[np.ndarray]) -> np.ndarray:
    """Iterative scaling: slow, but no rounding keeps it from lowering KL."""
    for _ in range(_SWEEPS):
        for r, s in zip(row[1:] + row[:1], sums[1:] + sums[:1], strict=True):
            q = np.maximum(q * (s / np.bincount(r, q))[r], _TINY)
    return q


def _descend(p: np.ndarray, q: np.ndarray, step: np.ndarray, cell: np.ndarray, mass: np.ndarray) -> np.ndarray | None:
    """Q after the longest of steps 1, 1/2, 1/4, ... that lowers KL(P||Q) as promised; None if rounding hides all."""
    promise, length = float(p @ step), min(1.0, 30.0 / max(float(np.abs(step).max()), 1e-300))
    for _ in range(40):
        # the change of KL, written so that it keeps its digits for small steps
        growth = np.bincount(cell, q * np.expm1(length * step)) / mass
        change = float(mass @ np.log1p(growth)) - length * promise
        if change <= -0.1 * length * promise:
            moved = np.maximum(q * np.exp(length * step), _TINY)
            return moved * (mass / np.bincount(cell, moved))[cell]
        length /= 2
    return None


class _System:
    """Newton's equations of one component.

    The scores are one number per row of each expert. Where some outcome is free in all cells its scores are 0 by
    choice of gauge. Other directions that change nothing stay, so every solver here tolerates them.

    Args:
        row: G + 1 arrays (E,) of compact rows, the cell first.
        outcome: (E,) int.
    """

    def __init__(self, row: list[np.ndarray], outcome: np.ndarray) -> None:
        self.cell = row[0]
        count, cells = len(self.cell), int(self.cell.max()) + 1
        common = np.bincount(outcome)
        scored = np.flatnonzero(outcome != common.argmax() if common.max() == cells else outcome >= 0)
        start, columns = 0, []
        for r in sorted(row[1:], key=lambda r: r.max()):
            values, code = np.unique(r[scored], return_inverse=True)
            columns.append(start + code)
            start += len(values)
            self.largest = len(values)
        index = np.tile(scored, len(columns))
        self.design = csr_array((np.ones(index.size), (index, np.concatenate(columns))), shape=(count, start))
        self.cells = csr_array((np.ones(count), (self.cell, np.arange(count))), shape=(cells, count))
        self.dense = self.design.toarray() if count * start <= _SMALL else None

    def slack(self, p: np.ndarray, q: np.ndarray) -> float:
        """First-order bound, in nats, on what the differing row sums can change in KL."""
        return float(np.abs(self.design.T @ (p - q)).sum() * np.abs(np.log(q)).max())

    def direction(self, p: np.ndarray, q: np.ndarray, damped: np.ndarray, cut: float) -> np.ndarray:
        """(E,) change of log Q, up to a constant per cell, that Newton's method asks for.

        Entries weigh at least `damped` >= Q: rounding would send the scores of those with next to no mass anywhere.
        """
        root, mass = np.sqrt(damped), self.cells @ q
        if self.dense is not None:
            mean = (self.cells @ (q[:, None] * self.dense)) / mass[:, None]
            weighted = root[:, None] * (self.dense - mean[self.cell])
            norm = np.maximum(np.sqrt((weighted**2).sum(axis=0)), 1e-150)
            return self.dense @ (np.linalg.lstsq(weighted / norm, (p - q) / root, rcond=cut)[0] / norm)
        mean = diags_array(1 / mass) @ (self.cells @ (diags_array(q) @ self.design))
        weighted = csc_array(diags_array(root) @ (self.design - mean[self.cell]))
        norm = np.maximum(np.sqrt(np.asarray((weighted**2).sum(axis=0)).ravel()), 1e-150)
        weighted = csc_array(weighted @ diags_array(1 / norm))
        rest = len(norm) - self.largest
        if rest > _SCHUR:
            solution = lsqr(weighted, (p - q) / root, atol=1e-13, btol=0, conlim=0, iter_lim=2000)[0]
        else:
            pull = (self.design.T @ (p - q)) / norm
            solution = _solve(csc_array(weighted.T @ weighted), pull, rest, cut)
        return self.design @ (solution / norm)


def _solve(hessian: csc_array, pull: np.ndarray, rest: int, ridge: float) -> np.ndarray:
    """Solution of a positive semidefinite system; the block after `rest` is nearly diagonal and eliminated first."""
    size = len(pull)
    if size <= _DENSE:
        return _cholesky(hessian.toarray(), pull, ridge)
    block = splu(csc_array(hessian[rest:, rest:] + ridge * eye_array(size - rest)))
    across = hessian[rest:, :rest].toarray()
    inner = hessian[:rest, :rest].toarray() - across.T @ block.solve(across)
    first = _cholesky(inner, pull[:rest] - across.T @ block.solve(pull[rest:]), ridge)
    return np.r_[first, block.solve(pull[rest:] - across @ first)]


def _cholesky(matrix: np.ndarray, pull: np.ndarray, ridge: float) -> np.ndarray:
    """Solution with the least ridge, from the given one on, that leaves no negative curvature to rounding."""
    while True:
        try:
            return cho_solve(cho_factor(matrix + ridge * np.eye(len(pull))), pull)
        except np.linalg.LinAlgError:
            ridge *= 100
