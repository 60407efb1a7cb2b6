"""Time and error of the exact solver of non-separability and of its estimators."""

import time

import numpy as np

from experiments.benchmark.timing import Row, Timing, row

_SEEDS = 40  # data sets of an error rate


def solver(timing: Timing) -> list[Row]:
    """Milliseconds and errors of the exact solver: hostile 2 x 2 x 2 tables, and noisy match with 64 values a side."""
    from unienv.separability.canonical import match, two_by_two
    from unienv.separability.tables import feedback_nonseparability

    generator = np.random.default_rng(0)
    tables = generator.dirichlet(np.full(8, 0.3), 3000) * (generator.random((3000, 8)) > 0.3)
    tables = [t.reshape(2, 2, 1, 2) / t.sum() for t in tables if t.sum() > 0]
    large = match(64, 0.1)
    times, errors, sizes = [], [], []
    for table in tables:
        began = time.perf_counter()
        found = feedback_nonseparability(table).nonseparability
        times.append(1e3 * (time.perf_counter() - began))
        errors.append(abs(found - two_by_two(table[:, :, 0])))
    for _ in range(timing.rounds):
        began = time.perf_counter()
        feedback_nonseparability(large)
        sizes.append(1e3 * (time.perf_counter() - began))
    return [
        row(f"{len(tables)} random 2x2x2 tables with zeros", "ms", times),
        row("error against the closed form", "nats", errors),
        row("noisy match, 64x64x2", "ms", sizes),
    ]


def estimates(timing: Timing) -> list[Row]:
    """Rejections at level 0.05 from 10,000 rendered transitions of match, and what nets make of known values."""
    from unienv.adapt import make_vector
    from unienv.separability import estimate, record

    del timing  # the rounds are data sets
    rows = []
    for kind, coupling in (("text", 0.0), ("image", 0.0), ("additive", 0.0), ("additive", 0.1737)):
        envs = make_vector("match", 256, kind=kind, coupling=coupling)
        truth = envs.world.nonseparability()  # type: ignore[attr-defined]
        told = []
        for seed in range(_SEEDS):
            transitions = record(envs, 10_000, seed=1_000_003 * seed)
            told.append(estimate(transitions, "net", net_seeds=1, calibrate=False, seed=seed))
        name = f"match {kind}, NS = {truth:.4f}, {_SEEDS} data sets"
        rate = sum(t.detected for t in told) / len(told)
        rows.append(row(f"{name}: rejected", "share", [rate]))
        rows.append(row(name, "nats", [t.nonseparability for t in told]))
    return rows
