"""Training in one replica: the same function in process and on each Ray worker."""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from gymnasium.vector import VectorEnv

from agents.distribution import DivergedError, all_reduce_sum, rank
from agents.learner import Learner
from experiments.config import RunConfig, build
from experiments.recorder import Recorder, read_metrics
from unienv.adapt import make_vector
from unienv.registry import is_world

STOP = "stop"  # a file of this name in the run folder asks all replicas to save and end
SAVE_EVERY = 60.0  # seconds
_WINDOW = 1000  # episodes over which `until` is judged


def train_replica(argument: dict[str, Any]) -> None:
    """Entry point of a worker: `argument` holds the configuration and the folder as plain data."""
    train(build(argument["config"]), Path(argument["folder"]), argument["save_every"])


def train(config: RunConfig, folder: Path, save_every: float = SAVE_EVERY) -> None:
    """Train until `config.steps`, `config.until` or a request to stop; continue from the folder's newest checkpoint.

    Args:
        config: of the run.
        folder: run folder.
        save_every: seconds between checkpoints.

    Raises:
        RuntimeError: one line, when the loss is no number any more; see `Learner.save_diverged`.
    """
    learner = make_learner(config)
    learner.load(folder)
    recorder = Recorder(folder, learner.steps) if rank() == 0 else None
    before, began = (recorder.seconds if recorder else 0.0), time.perf_counter()
    saved = time.monotonic()
    recent = _Recent(read_metrics(folder) if recorder else [])
    stop, _ = _agree(recent.reached(config.until), False)  # of a run that ended so there may be nothing left to do
    while learner.steps < config.steps and not stop:
        began_update, steps = time.perf_counter(), learner.steps
        metrics = _update(learner, folder)
        now = time.perf_counter()
        speed = (learner.steps - steps) / (now - began_update)
        if recorder:
            recorder.write({**metrics, "seconds": before + now - began, "steps_per_second": speed})
            recent.add(metrics)
        asked = recent.reached(config.until) or (folder / STOP).exists()
        stop, save = _agree(asked, time.monotonic() - saved > save_every)
        if save and not stop:
            learner.save(folder)
            saved = time.monotonic()
    learner.save(folder)
    if recorder:
        recorder.close()


def _update(learner: Learner, folder: Path) -> dict[str, Any]:
    try:
        return learner.update()
    except DivergedError as error:
        path = learner.save_diverged(folder, error)
        told = f"training diverged after {learner.steps:,} steps: {error}; the weights before that and the batch are in"
        raise RuntimeError(f"{told} {path}; try a ppo.lr below {learner.ppo.lr:g}") from error


def make_learner(config: RunConfig) -> Learner:
    """The learner of a configuration, in this process."""
    device = choose_device(config.device)
    return Learner(
        partial(make_envs, config.env, device=device), config.agent, config.ppo, config.steps, config.seed, device
    )


def make_envs(env: dict[str, Any], num_envs: int, device: torch.device) -> VectorEnv:
    """N environments in SAME_STEP mode; worlds live on the learner's device where that is an accelerator."""
    parameters = {key: value for key, value in env.items() if key != "id"}
    name = str(env["id"])
    if device.type != "cpu" and is_world(name):
        return make_vector(name, num_envs, backend="torch", device=str(device), **parameters)
    return make_vector(name, num_envs, **parameters)


def choose_device(name: str) -> torch.device:
    """The device called `name`; auto is the accelerator where there is one.

    Raises:
        ValueError: one line, for a device that torch does not know or this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device must be auto, cpu or cuda, got {name!r}") from None
    if device.type == "cpu":
        return device
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None or found.type != device.type or (device.index or 0) >= torch.accelerator.device_count():
        raise ValueError(f"device={name}: torch finds no such device here; use device=cpu")
    return device


def as_argument(config: RunConfig, folder: Path, save_every: float = SAVE_EVERY) -> dict[str, Any]:
    """What `train_replica` takes."""
    return {"config": asdict(config), "folder": str(folder.resolve()), "save_every": save_every}


def _agree(stop: bool, save: bool) -> tuple[bool, bool]:
    """Replica 0's wishes, known to all replicas."""
    wishes = all_reduce_sum(torch.tensor([float(stop), float(save)]) * (rank() == 0))
    return bool(wishes[0] > 0), bool(wishes[1] > 0)


class _Recent:
    """The latest updates, which together ended at least `_WINDOW` episodes where there were as many."""

    def __init__(self, records: Iterable[dict[str, Any]]) -> None:
        self._kept: deque[tuple[float, int]] = deque()  # successes and episodes
        self._episodes = 0
        for record in records:
            self.add(record)

    def add(self, record: dict[str, Any]) -> None:
        """One update more."""
        episodes, success = record.get("episodes"), record.get("success")
        if not episodes or success is None:
            return
        self._kept.append((success * episodes, episodes))
        self._episodes += episodes
        while self._episodes - self._kept[0][1] >= _WINDOW:
            self._episodes -= self._kept.popleft()[1]

    def reached(self, until: float | None) -> bool:
        """Whether they succeeded often enough."""
        if until is None or self._episodes < _WINDOW:
            return False
        return sum(successes for successes, _ in self._kept) / self._episodes >= until
