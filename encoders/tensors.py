"""Tensors on disk: safetensors, never pickle; a file appears whole or not at all."""

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor


def save_tensors(path: Path, tensors: Mapping[str, Tensor], told: Mapping[str, str] | None = None) -> None:
    """Write tensors, and what is `told` of them, aside and move them into place."""
    aside = path.with_suffix(".part")
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(held, aside, dict(told) if told else None)
    os.replace(aside, path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors.

    Raises:
        ValueError: one line, when the file is missing or damaged.
    """
    try:
        return load_file(path)
    except FileNotFoundError:
        raise ValueError(f"there is no checkpoint file {path}") from None
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged and can't be read: {error}") from None


def told_of(path: Path) -> dict[str, str]:
    """What is told of the tensors of a file that `load_tensors` reads."""
    with safe_open(path, "pt") as file:
        return file.metadata() or {}
