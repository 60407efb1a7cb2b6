"""Laws as lists of cells: they are checked, merged, and have an entropy."""

import numpy as np

from unienv.separability.codes import first_of, number_rows

_MASS = 1e-9  # by how much the sum of a law may differ from 1


def entropy_given(joint: np.ndarray) -> float:
    """H(Y | cell) in nats of (C, Y)."""
    return max(0.0, entropy_of(joint) - entropy_of(joint.sum(axis=1)))


def entropy_of(p: np.ndarray) -> float:
    """H in nats of a law of any shape."""
    p = p[p > 0]
    return -float(p @ np.log(p))


def merge(codes: np.ndarray, joint: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows of (C, k) codes, and the mass (C', Y) of each."""
    index = number_rows(codes)
    return codes[first_of(index)], np.stack([np.bincount(index, column) for column in joint.T], axis=1)


def check_law(p: np.ndarray, name: str) -> np.ndarray:
    """A copy in float64, whose sum is 1.

    Args:
        p: of any shape.
        name: for what is said.

    Raises:
        ValueError: one line, for an empty table, negative or non-finite entries, or a sum other than 1.
    """
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


def check_codes(codes: np.ndarray, name: str, axes: int) -> np.ndarray:
    """Codes as int64; ValueError, one line, for other types or another number of axes."""
    codes = np.asarray(codes)
    if codes.ndim != axes or not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"{name} must be an integer array of {axes} axes, got {codes.dtype} of shape {codes.shape}")
    return codes.astype(np.int64)
