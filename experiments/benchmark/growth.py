"""What estimates of non-separability cost, and how far they are off, as samples, values and modalities grow."""

import time
from collections import defaultdict

import numpy as np

from experiments.benchmark.timing import Row, Timing, row
from unienv.dial import binary_entropy
from unienv.separability.estimate import estimate
from unienv.separability.transitions import Transitions

_NOISE = 0.1
_CASES = (  # values a side, modalities, transitions
    (4, 2, 1_000),
    (4, 2, 10_000),
    (4, 2, 100_000),
    (4, 2, 1_000_000),
    (16, 2, 100_000),
    (64, 2, 100_000),
    (4, 3, 100_000),
    (4, 4, 100_000),
)


def growth(timing: Timing) -> list[Row]:
    """Seconds and errors of a table and of nets on the same transitions, 19 replicates each; one net a fold."""
    told = defaultdict[tuple[str, str], list[float]](list)
    for seed in range(timing.rounds):
        for side, modalities, n in _CASES:
            transitions = _draw(side, modalities, n, np.random.default_rng(seed))
            truth = binary_entropy(1 / side + _NOISE * (1 - 2 / side)) - binary_entropy(_NOISE)
            for method in ("table", "net"):
                began = time.perf_counter()
                found = estimate(transitions, method, net_seeds=1, replicates=19, calibrate=False, seed=seed)
                name = f"{'x'.join([str(side)] * modalities)} values, {n:,} transitions, {method}"
                told[name, "s"].append(time.perf_counter() - began)
                told[f"{name}: error of {truth:.4f}", "nats"].append(abs(found.nonseparability - truth))
    return [row(name, unit, values) for (name, unit), values in told.items()]


def _draw(side: int, modalities: int, n: int, generator: np.random.Generator) -> Transitions:
    """Y = [sum of values = 0 modulo `side`], flipped with probability `_NOISE`: the whole of I(X;Y) is joint."""
    values = generator.integers(0, side, (modalities, n))
    feedback = (values.sum(axis=0) % side == 0) ^ (generator.random(n) < _NOISE)
    return Transitions({f"m{m}": value for m, value in enumerate(values)}, np.zeros(n, int), feedback.astype(int))
