"""The plug-in estimate: the observed table projected onto the separable class."""

import numpy as np

from unienv.separability.codes import number_rows
from unienv.separability.projection import project
from unienv.separability.result import Estimate, clustered_error, conclude
from unienv.separability.transitions import Transitions

SAMPLED = 5  # transitions a cell from which on a table is well sampled
_RANK = 3000  # rows up to which the degrees of freedom of a table are counted exactly
_DEPENDENT = 1.5  # ratio of variances by episode and alone that is worth a word
_LARGE, _FEW = 4000, 39  # entries of a table beyond which replicates are slow, and how many are drawn then


def by_table(
    transitions: Transitions,
    codes: np.ndarray,
    cell: np.ndarray,
    replicates: int | None,
    generator: np.random.Generator,
) -> Estimate:
    """Plug-in estimate: the observed table projected onto the separable class."""
    n, outcomes = len(transitions), len(transitions.names)
    contexts = np.stack([number_rows(codes[:, [m, -1]]) for m in range(codes.shape[1] - 1)], axis=1)
    count = np.bincount(cell * outcomes + transitions.feedback, minlength=len(codes) * outcomes)
    count = count.reshape(len(codes), outcomes)
    law = project(count / n, contexts).joint
    statistic, information = _divergence(count / n, law), _information(count)
    total = count.sum(axis=1)
    df = int((count > 0).sum()) - len(codes) - _separable_parameters(law > 0, contexts)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.log(count / n) - np.log(law)
    rows = gain[cell, transitions.feedback]
    sets = replicates or (_FEW if count.size > _LARGE else 99)
    q = law / law.sum(axis=1, keepdims=True)
    drawn = (generator.multinomial(total, q) / n for _ in range(sets))
    null = [_divergence(table, project(table, contexts).joint) for table in drawn]
    # Rows of an episode may depend on each other beyond what is observed; replicates do not. So the statistic is
    # divided by how much more its rows vary by episode than alone: a first-order correction after Rao & Scott (1984).
    alone, clustered = (clustered_error(rows, group) for group in (np.arange(n), transitions.episode))
    design = max(1.0, (clustered / alone) ** 2) if alone > 0 else 1.0
    free = int((count > 0).sum()) - len(codes) - (np.count_nonzero(count.sum(axis=0)) - 1)
    warnings = []
    if design > _DEPENDENT:
        warnings.append(
            f"transitions of an episode depend on each other: as many as {n / design:,.0f} independent ones"
        )
    if n < SAMPLED * len(codes):
        warnings.append(f"{len(codes)} cells share {n} transitions; estimates by nets may be better")
    return conclude(
        transitions,
        method="table",
        value=statistic - df / (2 * n),
        gain=statistic,
        rows=rows,
        statistic=statistic / design,
        null=null,
        information=max(0.0, information - free / (2 * n)),
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
    """Free parameters of the separable law on its support: the rank of its statistics, cells held fixed."""
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
