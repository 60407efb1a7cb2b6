"""What was seen step by step, as columns of a .npz file: it appears whole or not at all, and is read with care."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unienv.arrays import read_arrays


def write_columns(path: Path, rows: Sequence[Mapping[str, Any]], more: Mapping[str, np.ndarray]) -> None:
    """Write rows of equal names, and what is `more` than an entry a row, aside and move them into place."""
    columns = {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}
    aside = path.with_name(path.name + ".part")
    with aside.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **columns, **more)
    os.replace(aside, path)


def read_columns(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """All columns of a file; ValueError, one line, when it is damaged or lacks one of `names`."""
    names = tuple(names)
    try:
        columns = read_arrays(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} should hold {', '.join(names)}; {error}") from None
    missing = [name for name in names if name not in columns]
    if missing:
        raise ValueError(f"{path} should hold {', '.join(names)}; there is no {missing[0]}")
    return columns
