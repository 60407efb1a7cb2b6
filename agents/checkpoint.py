"""Checkpoints: tensors as safetensors, never pickle; a checkpoint is a folder that appears whole or not at all.

checkpoints/0000262144/agent.safetensors       network, optimiser, counters
checkpoints/0000262144/worlds-0.safetensors    worlds, memory, generators and remembered play of replica 0
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

KEPT = 2  # newest checkpoints kept
_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}  # Adam's


def optimiser_tensors(network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's moments and step counts by parameter name."""
    return {
        f"optimiser.{name}.{key}": value
        for name, parameter in network.named_parameters()
        for key, value in optimiser.state.get(parameter, {}).items()
    }


def restore_optimiser(network: nn.Module, optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimiser_tensors`.

    Raises:
        ValueError: one line, for moments that are in part missing or of another shape than their parameter's.
    """
    for name, parameter in network.named_parameters():
        prefix = f"optimiser.{name}."
        state: dict[str, Any] = {
            key.removeprefix(prefix): value.to(parameter.device if value.ndim else "cpu")
            for key, value in tensors.items()
            if key.startswith(prefix) and "." not in key.removeprefix(prefix)
        }
        if state and set(state) != _MOMENTS:
            raise ValueError(f"the optimiser's state of {name} is not whole: it has {', '.join(sorted(state))}")
        if any(value.shape not in ((), parameter.shape) for value in state.values()):
            raise ValueError(f"the optimiser's state of {name} has another shape than {tuple(parameter.shape)}")
        if state:
            optimiser.state[parameter] = state


def newest(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run folder; None when there is none."""
    return next(reversed(_complete_ones(folder / "checkpoints")), None)


@contextmanager
def begin(folder: Path, steps: int) -> Iterator[Path]:
    """A folder to write the files of a new checkpoint into, gone where that fails; every replica may call it."""
    aside = folder / "checkpoints" / f"{steps:010d}.part"
    aside.mkdir(parents=True, exist_ok=True)
    try:
        yield aside
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def complete(aside: Path) -> Path:
    """Make a checkpoint of what has been written, and remove all but the newest and what was never completed.

    A checkpoint of as many steps stays as it is: that a run has not gone on since is the only way to have one.
    """
    final = aside.with_suffix("")
    if not final.exists():
        os.replace(aside, final)
    for old in [*_complete_ones(final.parent)[:-KEPT], *final.parent.glob("*.part")]:
        shutil.rmtree(old)
    return final


def _complete_ones(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first; what is being written is called `.part`."""
    return sorted((path for path in folder.glob("[0-9]*") if path.name.isdecimal()), key=lambda path: int(path.name))
