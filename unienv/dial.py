"""What worlds with a coupling dial share: a share of joint feedback, and the entropy that closed forms are made of."""

import numpy as np


def check_coupling(coupling: float) -> None:
    """ValueError unless the share of joint feedback lies in [0, 1]."""
    if not 0.0 <= coupling <= 1.0:
        raise ValueError(f"coupling must lie in [0, 1], got {coupling}")


def binary_entropy(p: float) -> float:
    """h(p) in nats: the entropy of a coin that shows heads with probability p."""
    return float(-sum(q * np.log(q) for q in (p, 1.0 - p) if q > 0))
