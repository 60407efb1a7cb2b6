"""Loops that copy tiles, compiled by numba; `unienv.sprites` takes them where numba is installed and does without else.

One thread each, and no state: safe in forked processes and in Ray's workers. The machine code is kept beside this file
as Python keeps its own, or else in the user's cache folder, so that only the first process ever compiles.

Indices are checked: compiled code would write past the end of a picture, and a snapshot may come from anywhere.
"""

from collections.abc import Callable
from typing import Any

from numba import int64, njit, types


def _compiled(*arguments: Any) -> Callable[[Callable], Callable]:
    """Compile for arguments of these types at once, with the machine code kept on disk where that can be written."""

    def compile(function: Callable) -> Callable:
        try:
            return njit(arguments, cache=True)(function)
        except (OSError, RuntimeError):  # a full disk; no folder for the cache
            return njit(arguments)(function)

    return compile


def _input(rank: int, layout: str = "A") -> types.Array:
    """An int64 array that is only read: of any strides, or contiguous ("C")."""
    return types.Array(int64, rank, layout, readonly=True)


_PICTURES = types.Array(int64, 5, "C")  # (N, rows, words down, columns, words across)


@_compiled(_PICTURES, _input(2), _input(2), _input(4))
def stamp(words: Any, rows: Any, columns: Any, tiles: Any) -> None:
    """Tiles (N, n, 8, 3) onto the places `rows` and `columns` (N, n) of pictures."""
    for i in range(words.shape[0]):
        for j in range(rows.shape[1]):
            row, column = rows[i, j], columns[i, j]
            if not (0 <= row < words.shape[1] and 0 <= column < words.shape[3]):
                raise IndexError("a tile would lie outside of the picture")
            for y in range(8):
                for x in range(3):
                    words[i, row, y, column, x] = tiles[i, j, y, x]


@njit(inline="always")
def _lay(words: Any, tiles: Any, which: Any, across: int) -> None:
    """Row by row, so that memory is written in order."""
    for i in range(words.shape[0]):
        for row in range(words.shape[1]):
            for column in range(words.shape[3]):
                if not 0 <= which[i, row, column] < tiles.shape[0]:
                    raise IndexError("there is no such tile")
            for y in range(words.shape[2]):
                for column in range(words.shape[3]):
                    tile = which[i, row, column]
                    for x in range(across):
                        words[i, row, y, column, x] = tiles[tile, y, x]


@_compiled(_PICTURES, _input(3, "C"), _input(3))
def lay(words: Any, tiles: Any, which: Any) -> None:
    """Tiles number `which` (N, rows, columns) of `tiles` (T, words down, words across) side by side."""
    if words.shape[4] == 3:
        _lay(words, tiles, which, 3)  # the compiler unrolls a number that it knows: twice as fast
    else:
        _lay(words, tiles, which, words.shape[4])
