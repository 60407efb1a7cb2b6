"""Jobs that need each other's results: side by side on Ray, each in a process of its own, or one after another here."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

from agents.distributed import PULSE, TRIES, session, worker_environment
from unienv.errors import named

Work = Callable[[Any, str], None]
Start = Callable[[str], None]
Ended = Callable[[], Iterator[tuple[str, str | None]]]


class Job(NamedTuple):
    """Something to do. Fields: name; needs, the names of jobs that must be done before."""

    name: str
    needs: tuple[str, ...] = ()


def run_jobs(
    jobs: Iterable[Job],
    work: Work,
    argument: Any,
    done: Callable[[str], bool],
    workers: int,
    address: str | None = None,
) -> dict[str, str]:
    """Do all jobs that are not done yet; those that fail stop only the ones that need them.

    Whenever there is room, the first job is begun that needs nothing more: what others wait for should stand early.

    Args:
        jobs: what a job needs stands before it.
        work: does a job, given the argument and the job's name; importable by the workers.
        argument: what all jobs share; on Ray it is sent once.
        done: whether a job was done before.
        workers: jobs side by side on Ray; 0 for one after another in this process.
        address: of a running cluster, see `agents.distributed.session`.

    Returns:
        What went wrong, in one line, by the name of the job.

    Raises:
        RuntimeError: one line, when the cluster can't be reached.
        RayLostError: one line, when the raylet of this machine was lost.
    """
    left = {job.name: job.needs for job in jobs if not done(job.name)}
    running: set[str] = set()
    failed: dict[str, str] = {}
    if not left:
        return failed
    with _place(work, argument, workers, address) as (start, ended):
        while left or running:
            for name, needs in list(left.items()):
                lost = [need for need in needs if need in failed]
                if lost:
                    del left[name]
                    failed[name] = f"needs {lost[0]}, which failed"
                elif len(running) < max(1, workers) and running.isdisjoint(needs) and left.keys().isdisjoint(needs):
                    del left[name]
                    running.add(name)
                    start(name)
            for name, error in ended() if running else ():
                running.remove(name)
                failed |= {name: error} if error else {}
    return failed


def _place(work: Work, argument: Any, workers: int, address: str | None) -> AbstractContextManager[tuple[Start, Ended]]:
    return _on_ray(work, argument, workers, address) if workers else _here(work, argument)


@contextmanager
def _here(work: Work, argument: Any) -> Iterator[tuple[Start, Ended]]:
    waiting: list[str] = []

    def ended() -> Iterator[tuple[str, str | None]]:
        name = waiting.pop(0)
        try:
            work(argument, name)
        except Exception as error:  # whatever a job raises, the others go on
            yield name, named(error)
        else:
            yield name, None

    yield waiting.append, ended


@contextmanager
def _on_ray(work: Work, argument: Any, workers: int, address: str | None) -> Iterator[tuple[Start, Ended]]:
    with session(workers, address) as check:
        import ray
        from ray.exceptions import RayError, RayTaskError

        present: Mapping[str, float] = ray.cluster_resources()
        if present.get("CPU", 0) < workers:
            raise RuntimeError(
                f"ray.workers={workers}: the cluster has {present.get('CPU', 0):g} CPUs, a job needs one"
            )
        share = present["CPU"] / workers if address is None else 1.0  # so that as many jobs run as there are workers
        remote = ray.remote(
            num_cpus=share,
            num_gpus=gpu_share(present.get("GPU", 0), workers),
            max_retries=TRIES - 1,
            runtime_env={"env_vars": worker_environment(workers)},
        )(_with_threads)
        shared, names = ray.put((work, argument)), {}

        def start(name: str) -> None:
            names[remote.remote(shared, name)] = name

        def ended() -> Iterator[tuple[str, str | None]]:
            first, _ = ray.wait(list(names), timeout=PULSE)
            check()  # before what ended with it is taken for a failure of its own
            for reference in first:
                name = names.pop(reference)
                try:
                    ray.get(reference)
                except RayTaskError as error:
                    yield name, named(error.cause)
                except RayError as error:
                    yield name, named(error)
                else:
                    yield name, None

        yield start, ended


def gpu_share(gpus: float, workers: int) -> float:
    """GPUs that each job reserves, so that as many jobs run side by side as there are workers.

    A job computes on one device. Below one a share is the same part of every GPU, as none reaches over two of them.

    Args:
        gpus: of the cluster.
        workers: at least 1.
    """
    if gpus >= workers:
        return 1.0
    return 1 / math.ceil(workers / gpus) if gpus else 0.0


def _with_threads(shared: tuple[Work, Any], name: str) -> None:
    import os

    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    work, argument = shared
    work(argument, name)
