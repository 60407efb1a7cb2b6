"""Non-separability of shared feedback whose law is known exactly, in nats.

How far is p(y|x) from every sum of per-modality scores, with all experts seeing the action? That depends on the law of
the inputs, which is part of the table; whether it is 0 does not, where inputs have positive probability everywhere.

It has a dense form, an array with one axis per variable, and a sparse form, a list of C cells with integer codes, for
laws that fill a tiny part of their product table.
"""

from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from unienv.separability.codes import number_rows
from unienv.separability.law import check_codes, check_law, entropy_given, merge
from unienv.separability.projection import project

_ALIKE = 1e-13  # two conditional laws that differ by less are the same law with rounding


@dataclass(frozen=True)
class FeedbackNonseparability:
    """How much of what feedback says about observations and action no sum of per-modality scores can say.

    X = (O^1..O^M, A). Always 0 <= nonseparability <= one_modality <= information. All in nats.

    Fields:
        nonseparability: NS_fb, least KL(p || q) over q(y|x) proportional to exp sum_m f_m(o^m, a, y) and its limits.
        connected: (C_2, .., C_M), C_k is by how much scores of k modalities together do better than scores of k - 1.
            Their sum is `nonseparability`; the largest k with C_k > 0 is the order of the coupling. Empty for M = 1.
        one_modality: min_m I(Y; O^-m | O^m, A), what the best single modality misses; 0 for M = 1.
        information: I(X; Y).
        entropy: H(Y|X).
        certificate: `nonseparability` and each order are right to about this much.
    """

    nonseparability: float
    connected: tuple[float, ...]
    one_modality: float
    information: float
    entropy: float
    certificate: float

    @property
    def share(self) -> float | None:
        """Non-separability as a share of I(X;Y), in [0, 1]; None (n/a) where feedback says nothing."""
        return None if self.information < 1e-12 else self.nonseparability / self.information

    def __str__(self) -> str:
        share = "n/a" if self.share is None else f"{self.share:.1%}"
        return f"non-separability {self.nonseparability:.4f} nats, {share} of I(X;Y) = {self.information:.4f} nats"


def feedback_nonseparability(joint: np.ndarray) -> FeedbackNonseparability:
    """Non-separability of shared feedback.

    Args:
        joint: P(o^1, .., o^M, a, y), axes in this order, M >= 1; an action axis of size 1 where there is no action.

    Returns:
        The measures, exact up to `certificate`.

    Raises:
        ValueError: fewer than 3 axes, an empty table, negative or non-finite entries, or a sum other than 1.
    """
    joint = check_law(joint, "joint")
    if joint.ndim < 3:
        raise ValueError(
            f"joint needs axes (O^1, .., O^M, A, Y), at least 3, got shape {joint.shape}; "
            "give an action axis of size 1 where there is no action"
        )
    filled = np.argwhere(joint.sum(axis=-1) > 0)
    return feedback_nonseparability_of_cells(filled[:, :-1], filled[:, -1], joint[tuple(filled.T)])


def feedback_nonseparability_of_cells(
    codes: np.ndarray, action: np.ndarray, joint: np.ndarray
) -> FeedbackNonseparability:
    """The same of a list of cells; cells with equal codes and action are added up.

    Args:
        codes: (C, M) int, what modality m shows, M >= 1.
        action: (C,) int.
        joint: (C, Y) float, P(cell, y).

    Returns:
        The measures, exact up to `certificate`.

    Raises:
        ValueError: shapes or types do not fit, no cells, negative or non-finite entries, or a sum other than 1.
    """
    joint = check_law(joint, "joint")
    codes, action = check_codes(codes, "codes (C, M)", 2), check_codes(action, "action (C,)", 1)
    if joint.ndim != 2 or not len(joint) == len(codes) == len(action) or codes.shape[1] < 1:
        raise ValueError(
            "cells need codes (C, M), action (C,) and joint (C, Y) of one C, and M >= 1, "
            f"got shapes {codes.shape}, {action.shape} and {joint.shape}"
        )
    contexts, joint = lump(codes, action, joint)
    entropy, modalities = entropy_given(joint), contexts.shape[1]
    alone = [entropy_given(merge(contexts[:, [m]], joint)[1]) for m in range(modalities)]
    left, certificate = [], 0.0
    for order in range(1, modalities):
        if left and left[-1] < 1e-13:
            left.append(0.0)
            continue
        groups = [number_rows(contexts[:, group]) for group in combinations(range(modalities), order)]
        projection = project(joint, np.stack(groups, axis=1))
        left.append(min([projection.value, *left[-1:]]))
        certificate = max(certificate, projection.certificate)
    left.append(0.0)
    return FeedbackNonseparability(
        nonseparability=left[0],
        connected=tuple(more - less for more, less in pairwise(left)),
        one_modality=max(0.0, min(alone) - entropy),
        information=max(0.0, entropy_given(joint.sum(axis=0, keepdims=True)) - entropy),
        entropy=entropy,
        certificate=certificate,
    )


def lump(codes: np.ndarray, action: np.ndarray, joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Merge what cannot be told apart by its consequences, and drop cells without mass; no measure of feedback changes.

    Within an action, values v, v' of one modality are merged if P(v, rest, y) is proportional to P(v', rest, y). Why
    nothing changes: scores of a merged value are scores of its parts, so merging cannot help. And KL is convex in the
    scores, the weights of the parts do not depend on the rest, so replacing their scores by the average cannot hurt.

    Args:
        codes: (C, M) int, what modality m shows.
        action: (C,) int.
        joint: (C, Y) float >= 0.

    Returns:
        contexts: (C', M) int, number of the merged (value, action) that modality m sees; different ones in different
            actions, so that parts of different actions share no context.
        joint: (C', Y), mass of the merged cells.
    """
    filled = joint.sum(axis=1) > 0
    codes, action, joint = codes[filled], action[filled], joint[filled]
    contexts, joint = merge(np.stack([number_rows(np.stack([c, action], axis=1)) for c in codes.T], axis=1), joint)
    for m in range(contexts.shape[1]):
        contexts[:, m] = _alike(contexts, joint, m)
        contexts, joint = merge(contexts, joint)
    return contexts, joint


def _alike(contexts: np.ndarray, joint: np.ndarray, modality: int) -> np.ndarray:
    """(C,) codes of a modality's contexts, equal where their laws of (rest, y) are.

    A law is recognised by two random multilinear functions of it. They are equal for different laws with probability
    0, as a polynomial that is not 0 has no volume of zeros. The action is part of every other modality's context;
    with a single modality it has to be kept apart, which the caller's contexts do not say, so nothing is merged.
    """
    if contexts.shape[1] == 1:
        return contexts[:, 0]
    draw = np.random.default_rng(0)
    own = contexts[:, modality]
    mass = np.bincount(own, joint.sum(axis=1))
    label = np.zeros(len(mass), int)
    for _ in range(2):
        weight = joint @ draw.uniform(1, 2, joint.shape[1])
        for other in range(contexts.shape[1]):
            factor = draw.uniform(0, 1, contexts[:, other].max() + 1)
            weight = weight if other == modality else weight * factor[contexts[:, other]]
        mark = np.bincount(own, weight) / np.maximum(mass, 1e-300)
        order = np.lexsort((mark, label))
        new = (np.diff(label[order]) != 0) | (np.diff(mark[order]) > _ALIKE)
        label[order] = np.r_[0, np.cumsum(new)]
    return label[own]
