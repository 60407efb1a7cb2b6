"""Fresh memory without fresh pages: large arrays whose memory is taken again only once nobody holds it.

Every observation must be new memory, but a new 12 MB array costs more in page faults than in drawing. A buffer handed
out earlier is reused when the last view of it is gone, which CPython's reference count tells; a view of any depth holds
its buffer as `base`, and so do tensors made from it.

Pictures begin at multiples of 64 bytes, as should what they are copied from: where a target lies some 8 bytes behind
its source within the page, AMD's `rep movsb` is ten times as slow, and malloc leaves that to chance.
"""

import math
import sys
from collections import deque
from typing import Any

import numpy as np

_LINE = 64  # bytes
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
            return _view(np.empty(size + _LINE, np.uint8), shape)
        best: np.ndarray | None = None  # the smallest that fits: large ones are for large pictures
        for _ in range(len(self._pool)):
            buffer: np.ndarray | None = self._pool.popleft()  # out of the pool, so that no other thread takes it too
            if _held_once(buffer) and buffer.size >= size + _LINE and (best is None or buffer.size < best.size):
                buffer, best = best, buffer
            if buffer is not None:
                self._pool.append(buffer)
        best = np.empty(size + _LINE, np.uint8) if best is None else best
        view = _view(best, shape)
        self._pool.append(best)
        return view

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickled world starts with an empty pool."""
        return (Buffers, ())


def aligned(array: np.ndarray) -> np.ndarray:
    """A copy that begins at a multiple of 64 bytes."""
    copy = _view(np.empty(array.nbytes + _LINE, np.uint8), (array.nbytes,)).view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _view(buffer: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    start = -buffer.__array_interface__["data"][0] % _LINE
    return buffer[start : start + math.prod(shape)].reshape(shape)


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
