"""The plug-in estimate: the observed table projected onto the separable class."""

from typing import NamedTuple

import numpy as np

from unienv.separability.codes import number_rows
from unienv.separability.projection import project
from unienv.separability.result import Estimate, conclude, error_of_sums
from unienv.separability.tally import Sums, Tally, rows_of, sums, tally
from unienv.separability.transitions import Transitions

SAMPLED = 20  # transitions a cell from which on a table is well sampled: with 5, the bias left is many standard errors
_EPISODES = 10  # of which rows that depend on each other come, at least: from fewer, by how much they do is not seen
_RANK = 3000  # rows up to which the degrees of freedom of a table are counted exactly
_DEPENDENT = 1.5  # ratio of variances by episode and alone that is worth a word
_LARGE, _FEW = 4000, 39  # entries of a table beyond which replicates are slow, and how many are drawn then
_GRID = 2.0**-30  # nats, the unit of gains: sums of integers are the same in any order


class Fitted(NamedTuple):
    """A table and its nearest separable law.

    Fields:
        table: as counted. contexts: (C, M) int, what each expert sees of a cell. law: (C, Y), mass of the projection.
        statistic: plug-in estimate in nats.
        gain: (C, Y) int64, by how much the table's log law exceeds the separable one's, less its mean, in `_GRID` nats.
    """

    table: Tally
    contexts: np.ndarray
    law: np.ndarray
    statistic: float
    gain: np.ndarray

    @property
    def n(self) -> int:
        """Transitions in the table."""
        return int(self.table.count.sum())


def by_table(transitions: Transitions, replicates: int | None, generator: np.random.Generator) -> Estimate:
    """Plug-in estimate of transitions in memory."""
    rows = rows_of(transitions)
    fitted = fit(tally(rows))
    return infer(fitted, sums([rows], fitted.table, fitted.gain), transitions.modalities, replicates, generator)


def fit(table: Tally) -> Fitted:
    """Project a table onto the separable class."""
    cells, count = table.cells, table.count
    contexts = np.stack([number_rows(cells[:, [m, -1]]) for m in range(cells.shape[1] - 1)], axis=1)
    share = count / count.sum()
    law = project(share, contexts).joint
    statistic, seen = _divergence(share, law), count > 0
    gain = np.zeros(count.shape, np.int64)
    gain[seen] = np.rint((np.log(share[seen] / law[seen]) - statistic) / _GRID)
    return Fitted(table, contexts, law, statistic, gain)


def infer(
    fitted: Fitted,
    clusters: Sums | None,
    modalities: tuple[str, ...],
    replicates: int | None,
    generator: np.random.Generator,
) -> Estimate:
    """The estimate, its error and its test.

    Args:
        fitted: table and law.
        clusters: sums of `fitted.gain` over all episodes; None where transitions do not depend on each other.
        modalities: their names.
        replicates: of the test; None for as many as the size of the table allows.
        generator: draws them.

    Raises:
        ValueError: one line, for too few episodes.
    """
    count, law, contexts, n = fitted.table.count, fitted.law, fitted.contexts, fitted.n
    occupied = int((count > 0).sum())
    pairs = zip(count.ravel().tolist(), fitted.gain.ravel().tolist(), strict=True)
    each = Sums(sum(k * g * g for k, g in pairs), n)
    clusters = clusters or each
    if clusters.episodes < _EPISODES:
        raise ValueError(
            f"an error and a test need at least {_EPISODES} episodes, got {clusters.episodes}: record more of them, or "
            "from more environments, or leave `episode` out where transitions don't depend on each other"
        )
    df = occupied - len(count) - _separable_parameters(law > 0, contexts)
    free = occupied - len(count) - (count.shape[1] - 1)
    sets = replicates or (_FEW if count.size > _LARGE else 99)
    q = law / law.sum(axis=1, keepdims=True)
    drawn = (generator.multinomial(count.sum(axis=1), q) / n for _ in range(sets))
    null = [_divergence(table, project(table, contexts).joint) for table in drawn]
    # Rows of an episode may depend on each other beyond what is observed; replicates do not. So the statistic is
    # divided by how much more its rows vary by episode than alone: a first-order correction after Rao & Scott (1984).
    alone, error = (_GRID * error_of_sums(part.squares, part.episodes, n) for part in (each, clusters))
    design = max(1.0, (error / alone) ** 2) if alone > 0 else 1.0
    warnings = []
    if design > _DEPENDENT:
        warnings.append(
            f"transitions of an episode depend on each other: as many as {n / design:,.0f} independent ones"
        )
    if n < SAMPLED * len(count):
        warnings.append(f"{len(count)} cells share {n} transitions; estimates by nets may be better")
    return conclude(
        method="table",
        value=fitted.statistic - df / (2 * n),
        gain=fitted.statistic,
        error=error,
        statistic=fitted.statistic / design,
        null=null,
        information=max(0.0, _information(count) - free / (2 * n)),
        modalities=modalities,
        n=n,
        episodes=clusters.episodes,
        df=df,
        warnings=tuple(warnings),
    )


def _divergence(table: np.ndarray, law: np.ndarray) -> float:
    seen = table > 0
    return max(0.0, float((table[seen] * np.log(table[seen] / law[seen])).sum()))


def _information(count: np.ndarray) -> float:
    """Plug-in I(X;Y) of counts (C, Y)."""
    p = count / count.sum()
    return _divergence(p, p.sum(axis=1, keepdims=True) * p.sum(axis=0))


def _separable_parameters(support: np.ndarray, contexts: np.ndarray) -> int:
    """Free parameters of the separable law on its support; parts of a table that share no context are counted alone."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    offsets = np.cumsum([0, *(int(column.max()) + 1 for column in contexts.T)])
    nodes = contexts + offsets[:-1]
    links = np.broadcast_to(nodes[:, :1], nodes.shape).ravel(), nodes.ravel()
    graph = coo_array((np.ones(nodes.size), links), (offsets[-1], offsets[-1]))
    part = connected_components(graph, directed=False)[1][nodes[:, 0]]
    order = np.argsort(part, kind="stable")
    return sum(
        _connected_parameters(support[rows], contexts[rows])
        for rows in np.split(order, np.flatnonzero(np.diff(part[order])) + 1)
    )


def _connected_parameters(support: np.ndarray, contexts: np.ndarray) -> int:
    """The rank of the statistics, cells held fixed."""
    where, outcome = np.nonzero(support)
    rows = []
    for column in contexts.T:
        rows.append(np.unique(column[where] * support.shape[1] + outcome, return_inverse=True)[1])
    sizes = [int(row.max()) + 1 for row in rows]
    if sum(sizes) > _RANK:  # in general position
        free = [size - len(np.unique(column)) for size, column in zip(sizes, contexts.T, strict=True)]
        return sum(free) - (len(free) - 1) * (support.shape[1] - 1)
    from scipy.sparse import csr_array

    places = np.stack([row + sum(sizes[:m]) for m, row in enumerate(rows)], axis=1)
    entries = np.repeat(np.arange(len(where)), len(rows))
    design = csr_array((np.ones(places.size), (entries, places.ravel())), (len(where), sum(sizes)))
    inside = csr_array((np.ones(len(where)), (where, np.arange(len(where)))), (len(support), len(where)))
    sums = inside @ design
    gram = (design.T @ design).toarray() - (sums.T @ (sums / support.sum(axis=1)[:, None])).toarray()
    return int(np.linalg.matrix_rank(gram, hermitian=True, tol=1e-7 * max(gram.max(), 1)))
