"""Time and error of the exact solver of non-separability and of its estimators."""

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from experiments.benchmark.timing import Row, Step, Timing, alternate, row, say

_SEEDS = 40  # data sets of an error rate
_SHAPES = ((2, 2), (4, 2), (8, 2), (16, 2), (32, 2), (64, 2), (4, 3), (4, 4))  # values a side, modalities


def solver(timing: Timing) -> list[Row]:
    """Milliseconds and errors of the exact solver: hostile 2 x 2 x 2 tables, and growing ones beside dit."""
    from unienv.separability.canonical import two_by_two
    from unienv.separability.feedback import feedback_nonseparability

    generator = np.random.default_rng(0)
    tables = generator.dirichlet(np.full(8, 0.3), 3000) * (generator.random((3000, 8)) > 0.3)
    tables = [t.reshape(2, 2, 1, 2) / t.sum() for t in tables if t.sum() > 0]
    times, errors = [], []
    for table in tables:
        began = time.perf_counter()
        found = feedback_nonseparability(table).nonseparability
        times.append(1e3 * (time.perf_counter() - began))
        errors.append(abs(found - two_by_two(table[:, :, 0])))
    small = [
        row(f"{len(tables)} random 2x2x2 tables with zeros", "ms", times),
        row("error against the closed form", "nats", errors),
    ]
    return small + _grown(timing, generator)


def _grown(timing: Timing, generator: np.random.Generator) -> list[Row]:
    """Random tables of more values and modalities; the exact solver tells all orders of coupling, dit the whole."""
    from unienv.separability.feedback import feedback_nonseparability

    try:
        import dit  # noqa: F401  # pyright: ignore[reportMissingImports]

        peer = True
    except ImportError:
        peer = False
        say("left out: dit is not installed")
    cases, rows = dict[str, Callable[[], Step]](), []
    for side, modalities in _SHAPES:
        table = generator.dirichlet(np.ones(2 * side**modalities)).reshape(*[side] * modalities, 1, 2)
        name = "x".join(map(str, [side] * modalities + [2]))
        ours, theirs = partial(feedback_nonseparability, table), partial(by_dit, table)
        cases[f"{name} random table: unienv"] = lambda work=ours: partial(_once, work)
        if peer:
            cases[f"{name} random table: dit"] = lambda work=theirs: partial(_once, work)
            rows.append(row(f"{name} random table: difference", "nats", [abs(ours().nonseparability - theirs())]))
    times = alternate(cases, timing)
    return [row(name, "ms", [1e3 / rate for rate in rates]) for name, rates in times.items()] + rows


def _once(work: Callable[[], object]) -> int:
    work()
    return 1


def by_dit(joint: np.ndarray) -> float:
    """NS_fb of a law (O^1, .., O^M, 1, Y) by dit: entropy of the law of greatest entropy less its own, in nats."""
    from dit import Distribution  # pyright: ignore[reportMissingImports]
    from dit.algorithms.distribution_optimizers import maxent_dist  # pyright: ignore[reportMissingImports]
    from dit.shannon import entropy  # pyright: ignore[reportMissingImports]

    table = joint[..., 0, :]
    modalities = table.ndim - 1
    law = Distribution([tuple(map(str, place)) for place in np.ndindex(table.shape)], table.ravel())
    nearest = maxent_dist(law, [list(range(modalities)), *([m, modalities] for m in range(modalities))], method="ipf")
    return float((entropy(nearest) - entropy(law)) * np.log(2))


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
