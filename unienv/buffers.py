"""Fresh memory without fresh pages: large arrays whose memory is taken again only once nobody holds it.

Every observation must be new memory, but a new 12 MB array costs more in page faults than in drawing. A buffer handed
out earlier is reused when the last view of it is gone, which CPython's reference count tells; a view of any depth holds
its buffer as `base`, and so do tensors made from it.
"""

import math
import sys
from collections import deque
from typing import Any

import numpy as np

_SMALL = 1 << 18  # bytes; below this the allocator itself reuses memory
_KEPT = 8  # buffers remembered; those that a user hoards drop out and belong to the user alone


class Buffers:
    """A pool of byte buffers for one world."""

    def __init__(self) -> None:
        self._pool: deque[np.ndarray] = deque(maxlen=_KEPT)

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """An uninitialised uint8 array of this shape whose memory nothing else refers to."""
        size = math.prod(shape)
        if size < _SMALL:
            return np.empty(shape, np.uint8)
        best: np.ndarray | None = None  # the smallest that fits: large ones are for large pictures
        for _ in range(len(self._pool)):
            buffer: np.ndarray | None = self._pool.popleft()  # out of the pool, so that no other thread takes it too
            if _held_once(buffer) and buffer.size >= size and (best is None or buffer.size < best.size):
                buffer, best = best, buffer
            if buffer is not None:
                self._pool.append(buffer)
        best = np.empty(size, np.uint8) if best is None else best
        view = best[:size].reshape(shape)
        self._pool.append(best)
        return view

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickled world starts with an empty pool."""
        return (Buffers, ())


def _held_once(buffer: np.ndarray) -> bool:
    return sys.getrefcount(buffer) <= _ALONE


def _measure_alone() -> int:
    """The count that `_held_once` sees for a buffer held by one local name, which differs between Python versions."""
    global _ALONE
    _ALONE, count = 0, 0
    buffer = np.empty(1, np.uint8)
    while not _held_once(buffer):
        count += 1
        _ALONE = count
    return count


_ALONE = _measure_alone()
