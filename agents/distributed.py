"""Decentralised training on Ray: replicas that step their own worlds and average their gradients.

Ray Train starts the workers, connects them and restarts them after a failure; what a worker does is the same function
that runs in process without Ray. It finds its place again by the run folder's newest checkpoint.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

MAX_FAILURES = 3  # restarts of the group before a run is given up


def launch(
    work: Callable[[dict[str, Any]], None], argument: dict[str, Any], workers: int, address: str | None, folder: Path
) -> None:
    """Run `work(argument)` on N workers of one torch process group; returns when all are done.

    Without an address Ray is started on this machine, bound to the loopback interface, and stopped at the end.

    Args:
        work: function of plain data, importable by the workers.
        argument: plain data.
        workers: N >= 1.
        address: of a running cluster; every node must see `folder` under the same path.
        folder: run folder; Ray's own records go into `folder/ray`.

    Raises:
        RuntimeError: one line, when the workers failed more often than `MAX_FAILURES`, or the cluster can't be reached.
    """
    _prepare_environment()
    import ray
    import torch
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    cores = os.cpu_count() or 1
    threads = {"OMP_NUM_THREADS": str(max(1, cores // workers)), **_passed_on()}
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "runtime_env": {"env_vars": threads}}
    if address is None:
        local = {"num_cpus": max(cores, workers), "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        options |= local
    try:
        ray.init(address=address or "local", **options)
    except ConnectionError as error:
        raise RuntimeError(f"ray.address={address}: {' '.join(str(error).split())}") from None
    try:
        TorchTrainer(
            work,
            train_loop_config=argument,
            torch_config=TorchConfig(backend="nccl" if torch.cuda.is_available() else "gloo"),
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=torch.cuda.is_available()),
            run_config=RunConfig(
                name="ray", storage_path=str(folder), failure_config=FailureConfig(max_failures=MAX_FAILURES)
            ),
        ).fit()
    except ray.train.TrainingFailedError as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise RuntimeError(f"training on Ray failed: {lines[-1].strip()}; records are in {folder / 'ray'}") from error
    finally:
        ray.shutdown()


def _prepare_environment() -> None:
    """Settings that Ray reads when it is imported; what the user has set stays."""
    for name, value in {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # how often the controller looks at its workers: 2 s by default
        "RAY_TRAIN_ENABLE_CONSOLE_OUTPUT": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "GLOO_SOCKET_IFNAME": "lo",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    }.items():
        os.environ.setdefault(name, value)


def _passed_on() -> dict[str, str]:
    """Environment variables that workers need to find a user's modules."""
    return {name: os.environ[name] for name in ("PYTHONPATH", "PYTHONWARNINGS") if name in os.environ}
