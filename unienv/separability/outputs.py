"""Non-separability of factored outputs Y^1..Y^M whose law is known exactly, in nats.

How far is p(y^1..y^M|x^1..x^M) from every product of q_m(y^m|x^m)? Another claim than that about shared feedback: an
expert sees its own modality alone. Dense and sparse forms are those of `unienv.separability.feedback`.
"""

import math
from dataclasses import dataclass

import numpy as np

from unienv.separability.codes import number_rows
from unienv.separability.law import check_codes, check_law, entropy_of


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
    joint = check_law(joint, "joint")
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
    mass = check_law(mass, "mass")
    observations = check_codes(observations, "observations (C, M)", 2)
    actions, outputs = check_codes(actions, "actions (C, M)", 2), check_codes(outputs, "outputs (C, M)", 2)
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
    return entropy_of(np.bincount(pair, mass)) - entropy_of(np.bincount(condition, mass))
