"""Tensors on disk: safetensors, never pickle; a file appears whole or not at all."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor


def save_tensors(path: Path, tensors: Mapping[str, Tensor], told: Mapping[str, str] | None = None) -> None:
    """Write tensors, and what is `told` of them, aside and move them into place.

    Raises:
        OSError: naming `path`, which is left as it was, where the disk refuses.
    """
    aside = path.with_suffix(".part")
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(held, aside, dict(told) if told else None)
        os.replace(aside, path)
    except (SafetensorError, OSError) as error:
        aside.unlink(missing_ok=True)
        code = re.search(r"os error (\d+)", str(error))  # all that safetensors tells of it
        number = int(code[1]) if code else getattr(error, "errno", None)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


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


def flat(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Tensors by dotted name, beginning with `name`, of nested mappings and named tuples."""
    if isinstance(value, Tensor):
        yield name, value
        return
    for key, part in (value if isinstance(value, Mapping) else value._asdict()).items():
        yield from flat(f"{name}.{key}", part)
