"""A run folder belongs to one process at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_LOCK = ".lock"  # a file in the run folder, there while a process keeps the folder


class InUseError(ValueError):
    """Another process keeps a run folder."""


@contextmanager
def alone(folder: Path | None) -> Iterator[None]:
    """Keep a run folder to this process while the block lasts; however the process ends, the folder is free again.

    Args:
        folder: of the run; None for one that leaves no files.

    Raises:
        InUseError: one line, when another process keeps it.
        OSError: when the folder takes no files.
    """
    if folder is None:
        yield
        return
    path = folder / _LOCK
    with path.open("a") as file:  # which processes that are started meanwhile, such as Ray's, do not inherit
        if not _locks(file):
            raise InUseError(f"{folder} is in use by another process; wait for it or stop it")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locks(file: IO[str]) -> bool:
    """Lock a file, where its system knows locks; False where another process has locked it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network's file system may know none
        return True
    return os.fstat(file.fileno()).st_nlink > 0  # else its owner removed it, ending just now, and a next may have come
