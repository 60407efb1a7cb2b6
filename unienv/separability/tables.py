"""Non-separability across modalities of laws that are known exactly, in nats.

Two claims are kept apart. Shared feedback Y: how far is p(y|x) from every sum of per-modality scores, with all experts
seeing the action. Factored outputs Y^1..Y^M: how far is p(y^1..y^M|x^1..x^M) from every product of q_m(y^m|x^m). Both
depend on the law of the inputs that is part of the table; with the law of feedback given the inputs held fixed, being 0
does not, where inputs have positive probability everywhere.

Each has a dense form, an array with one axis per variable, and a sparse form, a list of C cells with integer codes, for
laws that fill a tiny part of their product table.
"""

import math
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from unienv.separability.codes import first_of, number_rows
from unienv.separability.projection import project

_MASS = 1e-9  # by how much the sum of a law may differ from 1
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


@dataclass(frozen=True)
class OutputNonseparability:
    """How far factored outputs are from a product of per-modality laws. X^m = (O^m, A^m). All in nats.

    nonseparability = total_correlation + sum(influence) + sum(action_coupling), by the chain rule.

    Fields:
        nonseparability: NS_out, the least KL(p || prod_m q_m(y^m|x^m)) = sum_m H(Y^m|X^m) - H(Y|X).
        total_correlation: TC(Y^1; ..; Y^M | X), outputs that vary together given all inputs.
        influence: I(Y^m; O^-m | O^m, A) by m, what other modalities show, with all actions known.
        action_coupling: I(Y^m; A^-m | O^m, A^m) by m, what is done elsewhere; 0 where experts share one action.
    """

    nonseparability: float
    total_correlation: float
    influence: tuple[float, ...]
    action_coupling: tuple[float, ...]

    @property
    def given_actions(self) -> float:
        """NS_sharedA, the non-separability that stays when every expert is told all actions."""
        return self.total_correlation + math.fsum(self.influence)


def feedback_nonseparability(joint: np.ndarray) -> FeedbackNonseparability:
    """Non-separability of shared feedback.

    Args:
        joint: P(o^1, .., o^M, a, y), axes in this order, M >= 1; an action axis of size 1 where there is no action.

    Returns:
        The measures, exact up to `certificate`.

    Raises:
        ValueError: fewer than 3 axes, an empty table, negative or non-finite entries, or a sum other than 1.
    """
    joint = _law(joint, "joint")
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
    joint = _law(joint, "joint")
    codes, action = _codes(codes, "codes (C, M)", 2), _codes(action, "action (C,)", 1)
    if joint.ndim != 2 or not len(joint) == len(codes) == len(action) or codes.shape[1] < 1:
        raise ValueError(
            "cells need codes (C, M), action (C,) and joint (C, Y) of one C, and M >= 1, "
            f"got shapes {codes.shape}, {action.shape} and {joint.shape}"
        )
    contexts, joint = lump(codes, action, joint)
    entropy, modalities = _entropy_given(joint), contexts.shape[1]
    alone = [_entropy_given(_merge(contexts[:, [m]], joint)[1]) for m in range(modalities)]
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
        information=max(0.0, _entropy_given(joint.sum(axis=0, keepdims=True)) - entropy),
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
    contexts, joint = _merge(np.stack([number_rows(np.stack([c, action], axis=1)) for c in codes.T], axis=1), joint)
    for m in range(contexts.shape[1]):
        contexts[:, m] = _alike(contexts, joint, m)
        contexts, joint = _merge(contexts, joint)
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


def output_nonseparability(joint: np.ndarray, num_modalities: int, own_actions: bool = False) -> OutputNonseparability:
    """Non-separability of factored outputs.

    Args:
        joint: P(x^1, .., x^M, y^1, .., y^M), axes in this order; with `own_actions` P(o^1, .., o^M, a^1, .., a^M, y^1,
            .., y^M). Where all experts see the whole input or action, put it into each x^m, or use the form of cells.
        num_modalities: M >= 1.
        own_actions: each modality has its own action axis.

    Returns:
        The measures, in closed form.

    Raises:
        ValueError: axes do not fit M, an empty table, negative or non-finite entries, or a sum other than 1.
    """
    joint = _law(joint, "joint")
    kinds = 3 if own_actions else 2
    if num_modalities < 1 or joint.ndim != kinds * num_modalities:
        axes = "(O^1, .., O^M, A^1, .., A^M, Y^1, .., Y^M)" if own_actions else "(X^1, .., X^M, Y^1, .., Y^M)"
        raise ValueError(
            f"joint needs axes {axes}: {kinds} for each modality, and num_modalities >= 1, "
            f"got num_modalities={num_modalities} and shape {joint.shape}"
        )
    cells = np.argwhere(joint > 0)
    parts = np.split(cells, kinds, axis=1)
    actions = parts[1] if own_actions else np.zeros_like(parts[0])
    return _of_outputs(parts[0], actions, parts[-1], joint[tuple(cells.T)])


def output_nonseparability_of_cells(
    observations: np.ndarray, actions: np.ndarray, outputs: np.ndarray, mass: np.ndarray
) -> OutputNonseparability:
    """The same of a list of cells; equal cells are added up.

    Args:
        observations: (C, M) int, M >= 1.
        actions: (C, M) int, what each expert sees of the action; equal columns where all see the whole of it.
        outputs: (C, M) int.
        mass: (C,) float, P(observations, actions, outputs).

    Returns:
        The measures, in closed form.

    Raises:
        ValueError: shapes or types do not fit, no cells, negative or non-finite entries, or a sum other than 1.
    """
    mass = _law(mass, "mass")
    observations, outputs = _codes(observations, "observations (C, M)", 2), _codes(outputs, "outputs (C, M)", 2)
    actions = _codes(actions, "actions (C, M)", 2)
    shapes = {observations.shape, actions.shape, outputs.shape}
    if mass.ndim != 1 or len(mass) != len(observations) or len(shapes) > 1:
        raise ValueError(
            "cells need observations, actions and outputs (C, M) and mass (C,) of one C and M, "
            f"got shapes {observations.shape}, {actions.shape}, {outputs.shape} and {mass.shape}"
        )
    return _of_outputs(observations, actions, outputs, mass)


def _of_outputs(
    observations: np.ndarray, actions: np.ndarray, outputs: np.ndarray, mass: np.ndarray
) -> OutputNonseparability:
    """Theorem: the best factor is q_m = P(y^m|x^m), which leaves sum_m H(Y^m|X^m) - H(Y|X)."""
    modalities = observations.shape[1]
    inputs = np.concatenate([observations, actions], axis=1)
    together = _conditional_entropy(outputs, inputs, mass)
    own, told, alone = [], [], []  # H(Y^m | X^m), H(Y^m | O^m, A), H(Y^m | X)
    for m in range(modalities):
        output, seen = outputs[:, [m]], observations[:, [m]]
        own.append(_conditional_entropy(output, np.concatenate([seen, actions[:, [m]]], axis=1), mass))
        told.append(_conditional_entropy(output, np.concatenate([seen, actions], axis=1), mass))
        alone.append(_conditional_entropy(output, inputs, mass))
    return OutputNonseparability(
        nonseparability=max(0.0, math.fsum(own) - together),
        total_correlation=max(0.0, math.fsum(alone) - together),
        influence=tuple(max(0.0, more - less) for more, less in zip(told, alone, strict=True)),
        action_coupling=tuple(max(0.0, more - less) for more, less in zip(own, told, strict=True)),
    )


def _conditional_entropy(of: np.ndarray, given: np.ndarray, mass: np.ndarray) -> float:
    """H(of | given) in nats; (C, k) and (C, l) codes, (C,) mass."""
    condition = number_rows(given)
    pair = number_rows(np.concatenate([condition[:, None], of], axis=1))
    return _entropy(np.bincount(pair, mass)) - _entropy(np.bincount(condition, mass))


def _entropy_given(joint: np.ndarray) -> float:
    """H(Y | cell) in nats of (C, Y)."""
    return max(0.0, _entropy(joint) - _entropy(joint.sum(axis=1)))


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return -float(p @ np.log(p))


def _merge(codes: np.ndarray, joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows of (C, k) codes, and the mass (C', Y) of each."""
    index = number_rows(codes)
    return codes[first_of(index)], np.stack([np.bincount(index, column) for column in joint.T], axis=1)


def _law(p: np.ndarray, name: str) -> np.ndarray:
    """A checked float64 copy."""
    if (given := np.asarray(p).dtype).kind not in "biuf":
        raise ValueError(f"{name} must hold real numbers, got {given}")
    p = np.array(p, np.float64)
    if p.size == 0:
        raise ValueError(f"{name} must hold a law, got an empty table of shape {p.shape}")
    if not np.isfinite(p).all() or (p < 0).any():
        wrong = p[~(np.isfinite(p) & (p >= 0))][0]
        raise ValueError(f"{name} must hold finite probabilities >= 0, got {wrong}")
    total = float(p.sum())
    if abs(total - 1) > _MASS:
        raise ValueError(f"{name} must sum to 1 within {_MASS:g}, got {total!r}; divide it by its sum")
    return p / total


def _codes(codes: np.ndarray, name: str, axes: int) -> np.ndarray:
    codes = np.asarray(codes)
    if codes.ndim != axes or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"{name} must be an integer array of {axes} axes, got {codes.dtype} of shape {codes.shape}")
    return codes.astype(np.int64)
