"""Decentralised training on Ray: replicas that step their own worlds and average their gradients.

Ray Train starts the workers, connects them and restarts them when one is lost; what a worker does is the same function
that runs in process without Ray. It finds its place again by the run folder's newest checkpoint.
"""

import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from unienv.errors import named, said

MAX_FAILURES = 3  # restarts of the group before a run is given up
TRIES = 3  # of a task whose process is lost: killed, perhaps for want of memory
PULSE = 1.0  # seconds between looks at whether Ray lives
_PATIENCE = 5.0  # seconds for a cluster to answer

Work = Callable[[dict[str, Any]], None]


class RayLostError(RuntimeError):
    """Ray's raylet on this machine has ended, and with it all that ran on it; the work can be taken up again."""


def launch(work: Work, argument: dict[str, Any], workers: int, address: str | None, folder: Path) -> None:
    """Run `work(argument)` on N workers of one torch process group; returns when all are done.

    When a worker is lost, all begin again. An exception in `work` would come again: it ends the run.

    Args:
        work: function of plain data, importable by the workers.
        argument: plain data.
        workers: N >= 1.
        address: of a running cluster, host:port or auto; every node must see `folder` under the same path. None starts
            Ray on this machine, out of reach of other machines, and stops it at the end.
        folder: run folder; Ray's own records go into `folder/ray`.

    Raises:
        RuntimeError: one line, when `work` raised an exception, workers were lost more often than `MAX_FAILURES`, or
            the cluster can't be reached.
        RayLostError: one line, when the raylet of this machine was lost.
    """
    records = folder.resolve() / "ray"
    records.mkdir(exist_ok=True)
    failure = records / "failure.txt"
    failure.unlink(missing_ok=True)
    with session(workers, address) as check:
        from ray.train import TrainingFailedError

        trainer = _trainer(partial(_replica, work, failure), argument, workers, records)
        try:
            fit = ThreadPoolExecutor(1).submit(trainer.fit)  # in the main thread it would take over Ctrl-C
            while not wait([fit], PULSE).done:
                check()
            fit.result()
        except TrainingFailedError as error:
            if not failure.exists():
                raise RuntimeError(f"training on Ray failed: {_cause(error)}") from error
    if failure.exists():
        what = failure.read_text().partition("\n")[0] or "it could not write down why, perhaps the disk is full"
        raise RuntimeError(f"a worker failed: {what}; more in {failure}")


@contextmanager
def session(workers: int, address: str | None) -> Iterator[Callable[[], None]]:
    """Ray while the block lasts; see `launch`.

    Yields:
        What to call every `PULSE`: it raises a RayLostError when the raylet of this machine was lost. Ray itself would
        notice after some 13 seconds, and end this process without a word.

    Raises:
        RuntimeError: one line, when the cluster can't be reached.
    """
    _prepare_environment(alone=address is None)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        options |= {"address": "local", "num_cpus": max(cores(), workers), "include_dashboard": False}
    else:
        _reach(address)
        options |= {"address": address}
    import ray

    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        hint = "" if address is None else "; a cluster with tokens needs RAY_AUTH_MODE=token"
        raise RuntimeError(f"ray.address={address}: {said(error)}{hint}") from error
    try:
        here = ray.get_runtime_context().get_node_id()
        (raylet,) = (node for node in ray.nodes() if node["NodeID"] == here)
        yield partial(_check, raylet["NodeManagerAddress"], raylet["NodeManagerPort"])
    finally:
        ray.shutdown()


def _check(host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), _PATIENCE).close()
    except ConnectionRefusedError:
        raise RayLostError("Ray's raylet on this machine was lost: killed, perhaps for want of memory") from None
    except OSError:
        pass  # a busy machine says nothing about the raylet


def _trainer(work: Work, argument: dict[str, Any], workers: int, records: Path) -> Any:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from agents.rendezvous import NodeConfig

    present = ray.cluster_resources()
    if present.get("CPU", 0) < workers:
        raise RuntimeError(f"ray.workers={workers}: the cluster has {present.get('CPU', 0):g} CPUs, a worker needs one")
    gpus = present.get("GPU", 0) >= workers
    # Replicas also add up small tensors on the CPU. Where they share a GPU, gloo does it all: NCCL can't.
    meeting = NodeConfig(backend="cpu:gloo,cuda:nccl" if gpus else "gloo")
    return TorchTrainer(
        work,
        train_loop_config=argument,
        torch_config=meeting,
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=gpus),
        run_config=RunConfig(
            name=records.name,
            storage_path=str(records.parent),
            failure_config=FailureConfig(max_failures=MAX_FAILURES, controller_failure_limit=1),
            worker_runtime_env={"env_vars": worker_environment(workers)},
        ),
    )


def _replica(work: Work, failure: Path, argument: dict[str, Any]) -> None:
    """Do the work in a worker; an exception of its own is written down, and ends the run when Ray begins again."""
    import torch

    if failure.exists():
        return
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        work(argument)
    except Exception as error:
        if not _lost_others(error):
            with suppress(OSError):  # a full disk holds an empty file, which tells that there was something
                failure.write_text(f"{named(error)}\n\n{''.join(traceback.format_exception(error))}")
        raise


def _lost_others(error: Exception) -> bool:
    """Whether a worker failed only because it could not talk to another, which is lost or has failed itself."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(module.startswith("torch.distributed") for module in modules)


def _cause(error: Exception) -> str:
    """One line of why Ray gave up."""
    controller = getattr(error, "controller_failure", None)
    if controller is None:
        return f"workers were lost {MAX_FAILURES + 1} times: killed, perhaps for want of memory"
    return " ".join(str(controller).split())


def _reach(address: str) -> None:
    """Make sure that something listens at a cluster's address: Ray itself would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise RuntimeError(f"ray.address: expected host:port or auto, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise RuntimeError(f"ray.address={address}: nothing answers there ({error})") from None


def _prepare_environment(alone: bool) -> None:
    """Settings that Ray reads when it is imported; what the user has set stays."""
    loopback = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    if alone and "ray" in sys.modules and loopback not in os.environ:
        raise RuntimeError("ray was imported before agents.distributed could keep it to this machine")
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # it would print a paragraph for every worker that is lost and replaced
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # how often the controller looks at its workers: 2 s by default
        "RAY_task_oom_retries": str(TRIES - 1),  # of a task killed for want of memory: without end by default
        "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths among the settings stay relative to where the run was started
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # workers that reserve no GPU may still see one
        # Whatever its name says: Ray then listens at 127.0.0.1, and takes a cluster's address of that kind at its word.
        loopback: "0",
    }
    if alone:
        # There is no dashboard to ask: Ray would look for one for half a minute, and end no earlier.
        settings["RAY_API_SERVER_ADDRESS"] = "http://127.0.0.1:1"
        # Workers are no less urgent than this process: of a core that others use too, Ray's 15 leaves them a thirtieth.
        settings["RAY_worker_niceness"] = "0"
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def worker_environment(workers: int) -> dict[str, str]:
    """Environment variables of each of some workers on the running Ray: its threads, and where a user's modules lie."""
    import ray

    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, int(ray.cluster_resources()["CPU"]) // workers)))
    paths = os.environ.get("PYTHONPATH")
    passed_on = {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, paths.split(os.pathsep)))} if paths else {}
    return {"OMP_NUM_THREADS": threads, **passed_on}


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
