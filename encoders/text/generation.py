"""Generated sentences beside real ones: variety, distance of n-gram laws, share of valid and of new sentences.

A sentence is a string of words or a row of token ids, in which padding is skipped. All figures depend on how many
sentences there are, variety falls and distances shrink with it: compare sets of the same size.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from unienv.modality import PAD

Words = tuple[str, ...] | tuple[int, ...]


class Distance(NamedTuple):
    """Divergences of n-gram laws, in nats, means over several splits of the real sentences.

    Fields:
        divergence: between generated and real sentences.
        floor: between as many real and other real sentences: what chance alone makes of no difference.
        size: sentences on either side.
    """

    divergence: float
    floor: float
    size: int


def words(sentence: Any) -> Words:
    """Words of a string, or ids of a row (L,) of tokens without padding."""
    if isinstance(sentence, str):
        return tuple(sentence.split())
    return tuple(token for token in np.asarray(sentence).tolist() if token != PAD)


def ngrams(sentences: Iterable[Any], n: int) -> Counter[Words]:
    """How often each run of n words occurs; runs do not go from one sentence into the next.

    Raises:
        ValueError: one line, for n < 1.
    """
    if n < 1:
        raise ValueError(f"n of n-grams must be at least 1, got {n}")
    rows = [words(sentence) for sentence in sentences]
    return Counter(row[start : start + n] for row in rows for start in range(len(row) - n + 1))


def distinct(sentences: Iterable[Any], n: int) -> float:
    """Distinct-n (Li et al. 2016): different n-grams as a share of all, in [0, 1]; nan where there are none."""
    counts = ngrams(sentences, n)
    return len(counts) / counts.total() if counts else math.nan


def distances(
    generated: Sequence[Any],
    real: Sequence[Any],
    rng: np.random.Generator,
    orders: Iterable[int] = (1, 2, 3, 4),
    splits: int = 8,
) -> dict[int, Distance]:
    """How far generated sentences are from real ones by n, beside how far real ones are from each other.

    Divergences of finite sets are too large on average, the more so the larger n. Therefore the floor: a split sets
    two parts of the real sentences apart, and both a part of the generated ones and the second part are compared with
    the first, all of the same size.

    Args:
        generated: sentences.
        real: twice as many, or else fewer are used of both.
        rng: draws the splits.
        orders: n.
        splits: to average over.

    Raises:
        ValueError: one line, when there is nothing to compare.
    """
    size = min(len(generated), len(real) // 2)
    if size < 1:
        have = f"{len(generated)} and {len(real)}"
        raise ValueError(f"distances need at least 1 generated and 2 real sentences, got {have}")
    if splits < 1:
        raise ValueError(f"splits must be at least 1, got {splits}")
    found: dict[int, list[tuple[float, float]]] = {n: [] for n in orders}
    for _ in range(splits):
        ours = [generated[i] for i in rng.permutation(len(generated))[:size]]
        chosen = [real[i] for i in rng.permutation(len(real))[: 2 * size]]
        for n, pairs in found.items():
            law = ngrams(chosen[:size], n)
            pairs.append((jensen_shannon(ngrams(ours, n), law), jensen_shannon(ngrams(chosen[size:], n), law)))
    return {n: Distance(*np.mean(pairs, axis=0).tolist(), size=size) for n, pairs in found.items()}


def valid(sentences: Sequence[Any], is_valid: Callable[[Any], bool]) -> float:
    """Share of sentences that a predicate accepts.

    Raises:
        ValueError: one line, when there are no sentences; so too `novel`.
    """
    return _share([bool(is_valid(sentence)) for sentence in sentences])


def novel(sentences: Sequence[Any], known: Iterable[Any]) -> float:
    """Share of sentences that do not occur, word for word, among known ones such as the training data."""
    seen = {words(sentence) for sentence in known}
    return _share([words(sentence) not in seen for sentence in sentences])


def _share(answers: list[bool]) -> float:
    if not answers:
        raise ValueError("a share of sentences needs at least one sentence, got none")
    return sum(answers) / len(answers)


def jensen_shannon(first: Counter[Words], second: Counter[Words]) -> float:
    """Divergence of two n-gram laws, in [0, ln 2] nats; nan where one has no n-grams."""
    if not first or not second:
        return math.nan
    runs = first.keys() | second.keys()
    p, q = (np.array([counts[run] for run in runs]) / counts.total() for counts in (first, second))
    middle = (p + q) / 2.0
    return sum(float(np.sum(law[law > 0] * np.log(law[law > 0] / middle[law > 0]))) for law in (p, q)) / 2.0
