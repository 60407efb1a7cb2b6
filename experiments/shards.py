"""Non-separability of transitions on disk: shards are counted side by side on Ray, or one after another here.

They are read twice, once for how often what was answered by what, and, where rows belong to episodes, once more for
sums over episodes. What is kept are the distinct cells, and for each shard that is being read a batch and a number an
episode. The format of shards is told in `unienv.separability.shards`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from agents.distributed import PULSE, TRIES, session, worker_environment
from experiments.config import RayConfig
from unienv.errors import said
from unienv.separability.plugin import fit, infer
from unienv.separability.result import Estimate
from unienv.separability.shards import Shard, check_spans, count, sums_of
from unienv.separability.tally import Sums, Tally, merge

Work = Callable[..., Any]  # of a shard's path, and of what all shards share
Results = Iterator[tuple[Shard, Any]]


class Measured(NamedTuple):
    """What shards say. Fields: estimate; table, from which it is made; seconds that reading and counting took."""

    estimate: Estimate
    table: Tally
    seconds: float


def estimate_shards(shards: Sequence[Shard], ray: RayConfig, seed: int, console: Console) -> Measured:
    """The estimate by a table of all transitions in some shards.

    It is the same, number for number, as `unienv.separability.estimate` makes of these transitions in memory.

    Args:
        shards: at least one, as found by `unienv.separability.shards.find`.
        ray: workers, and the cluster; every node must see the shards under the same path.
        seed: of the test.
        console: for progress.

    Raises:
        ValueError: one line, for a damaged shard, or an episode that may lie in two.
        RuntimeError: one line, when workers or the cluster are lost.
    """
    with _progress(console) as bar:
        with _hands(ray) as each:
            began, tables, spans = time.perf_counter(), list[Tally](), []
            for shard, (table, span) in _watched(bar, "counting", shards, each(count, shards)):
                tables = [merge([*tables, table])]
                spans += [(span, shard.path)] if span else []
            check_spans(spans)
            fitted, clusters = fit(tables[0]), None
            if spans:
                told = each(sums_of, shards, fitted.table, fitted.gain)
                parts = [part for _, part in _watched(bar, "summing up episodes", shards, told)]
                clusters = Sums(sum(part.squares for part in parts), sum(part.episodes for part in parts))
            seconds = time.perf_counter() - began
        bar.add_task("testing", total=None)
        estimate = infer(fitted, clusters, shards[0].modalities, None, np.random.default_rng(seed))
    return Measured(estimate, fitted.table, seconds)


def _progress(console: Console) -> Progress:
    clock = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *clock)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _watched(bar: Progress, told: str, shards: Sequence[Shard], results: Results) -> Results:
    """The same results, shown as they come."""
    task = bar.add_task(told, total=sum(shard.rows for shard in shards))
    for shard, result in results:
        bar.advance(task, shard.rows)
        yield shard, result


@contextmanager
def _hands(config: RayConfig) -> Iterator[Callable[..., Results]]:
    """What does some work on each shard: (work, shards, what all share) -> results in the order in which they come."""
    if config.workers:
        with session(config.workers, config.address) as check:
            yield partial(_on_ray, config, check)
    else:
        yield _here


def _here(work: Work, shards: Sequence[Shard], *shared: Any) -> Results:
    for shard in shards:
        yield shard, work(shard.path, *shared)


def _on_ray(config: RayConfig, check: Callable[[], None], work: Work, shards: Sequence[Shard], *shared: Any) -> Results:
    import ray
    from ray.exceptions import RayError, RayTaskError

    cores = ray.cluster_resources().get("CPU", 0)
    if cores < config.workers:
        raise RuntimeError(f"ray.workers={config.workers}: the cluster has {cores:g} CPUs, a worker needs one")
    variables = worker_environment(config.workers)
    remote: Any = ray.remote(max_retries=TRIES - 1, runtime_env={"env_vars": variables})(work)
    handles = [ray.put(value) for value in shared]
    left, running = iter(shards), {}
    while True:
        for shard in islice(left, config.workers - len(running)):
            running[remote.remote(shard.path.resolve(), *handles)] = shard
        if not running:
            return
        done, _ = ray.wait(list(running), timeout=PULSE)
        check()  # before what ended with it is taken for a failure of its own
        for reference in done:
            shard = running.pop(reference)
            try:
                yield shard, ray.get(reference)
            except RayTaskError as error:
                raise error.cause from None
            except RayError as error:
                raise RuntimeError(f"{shard.path}: {said(error)}") from None
