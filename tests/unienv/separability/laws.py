"""Laws by chance, and measures of them side by side."""

import numpy as np
from hypothesis import strategies as st

seeds = st.integers(0, 2**32 - 1)


def random_law(seed, shape, zeros=0.3):
    """A law with dead cells and impossible outcomes."""
    draw = np.random.default_rng(seed)
    p = draw.dirichlet(np.full(int(np.prod(shape)), 0.5)).reshape(shape) * (draw.random(shape) >= zeros)
    p *= draw.random((*shape[:-1], 1)) >= zeros / 2
    return p / p.sum() if p.sum() > 0 else random_law(seed + 1, shape, zeros)


def numbers(measured):
    """All fields in one vector."""
    return np.concatenate([np.atleast_1d(value) for name, value in vars(measured).items() if name != "certificate"])
