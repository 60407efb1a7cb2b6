"""Arrays of an .npz file that may come from anywhere: nothing in it is unpickled."""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from unienv.errors import said


def read_arrays(path: str | Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of a file by name: all, or of `names` those that it has.

    Raises:
        ValueError: what is wrong with the file, in one line without its name.
        FileNotFoundError: there is none.
    """
    try:
        # An open file, for numpy leaves a damaged one open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            wanted = archive.files if names is None else [name for name in names if name in archive.files]
            arrays = {name: archive[name] for name in wanted}
    except FileNotFoundError:
        raise
    except Exception as error:  # numpy, zipfile and zlib raise all sorts for damaged files
        raise ValueError(said(error) or f"a {type(error).__name__} in reading it") from None
    for name, array in arrays.items():
        _check(name, array)
    return arrays


def _check(name: str, array: np.ndarray | bytes) -> None:
    """ValueError for what Python can't hold: numpy takes any four bytes for a character, Python breaks on some."""
    if isinstance(array, bytes):  # as numpy gives a member that is no array
        raise ValueError(f"{name} is no array")
    if array.dtype.kind not in "biufcSUmM":
        raise ValueError(f"{name} should hold numbers or text, not {array.dtype}")
    if array.dtype.kind == "U" and array.dtype.itemsize and array.size:
        plain = np.ascontiguousarray(array)
        code = plain.view(np.dtype(np.uint32).newbyteorder(plain.dtype.byteorder))
        if code.max() > sys.maxunicode:
            raise ValueError(f"{name} holds characters that are none")
