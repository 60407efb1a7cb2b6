"""Drawing: coloured shapes as anti-aliased tiles, and tiles onto batched images.

Everything is drawn once, at construction; at run time pixels are only copied. A tile row of 8 pixels is 24 bytes, that
is three int64: images are written through an int64 view, three words a row. Where numba is installed compiled loops do
it on numpy's images, with the same result.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from unienv.rng import Array

TILE = 8  # pixels; 8 pixels of 3 bytes are whole int64 words
_WORDS = TILE * 3 // 8

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (228, 50, 48),
    "green": (52, 186, 74),
    "blue": (66, 112, 255),
    "yellow": (250, 216, 46),
    "purple": (178, 84, 222),
    "orange": (255, 140, 26),
}

# A shape is the set of points (x, y) of the square [-1, 1]^2, y downwards, where its function is true.
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "square": lambda x, y: np.maximum(abs(x), abs(y)) < 0.72,
    "circle": lambda x, y: x**2 + y**2 < 0.80**2,
    "triangle": lambda x, y: (y < 0.74) & (y > -0.86 + 1.85 * abs(x)),
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) < 0.27) & (np.maximum(abs(x), abs(y)) < 0.86),
    "ring": lambda x, y: (x**2 + y**2 < 0.90**2) & (x**2 + y**2 > 0.48**2),
}

FLOOR = (46, 48, 56)
GRID = (60, 62, 72)


def coverage(inside: Callable[[np.ndarray, np.ndarray], np.ndarray], size: int, oversample: int = 8) -> np.ndarray:
    """Share of every pixel that a shape covers: (size, size) in [0, 1], by `oversample`^2 points a pixel."""
    points = (np.arange(size * oversample) + 0.5) / (size * oversample) * 2 - 1
    mask = inside(points[None, :], points[:, None]).astype(np.float64)
    return mask.reshape(size, oversample, size, oversample).mean(axis=(1, 3))


def paint(canvas: np.ndarray, inside: Callable, colour: tuple[int, int, int]) -> np.ndarray:
    """A copy of a square canvas (S, S, 3) uint8 with a shape painted over it."""
    alpha = coverage(inside, canvas.shape[0])[..., None]
    return np.rint(canvas * (1 - alpha) + np.asarray(colour) * alpha).astype(np.uint8)


def floor_tile() -> np.ndarray:
    """A floor tile (8, 8, 3) with a faint line at its upper and left edge, so that cells can be counted."""
    tile = np.empty((TILE, TILE, 3), np.uint8)
    tile[:] = FLOOR
    tile[0, :] = tile[:, 0] = GRID
    return tile


def agent_tile() -> np.ndarray:
    """The agent: a white head with two dark eyes, unlike any object."""
    tile = paint(
        floor_tile(), lambda x, y: np.maximum(abs(x), abs(y)) ** 3 + 0.35 * (x**2 + y**2) < 0.92, (245, 245, 245)
    )
    tile[3:5, 2] = tile[3:5, 5] = (20, 20, 30)
    return tile


def object_tiles(colours: list[str], shapes: list[str]) -> np.ndarray:
    """Tiles of all coloured shapes on the floor: (len(colours) * len(shapes), 8, 8, 3), shape varying fastest."""
    return np.stack([paint(floor_tile(), SHAPES[shape], COLOURS[colour]) for colour in colours for shape in shapes])


def as_words(tiles: np.ndarray) -> np.ndarray:
    """Tiles (T, S, S, 3) uint8, S a multiple of 8, as words (T, S, 3S/8) int64: what `stamp` and `lay` copy."""
    return np.ascontiguousarray(tiles).reshape(*tiles.shape[:2], -1).view(np.int64)


def copy_rows(table: Array, where: Array, out: Array) -> None:
    """out[i] = table[where[i]] for pixels or words (M, ...) and indices (N,) int64, in one gather.

    Of a table of whole pictures make an `aligned` copy first, see `unienv.buffers`.
    """
    if isinstance(table, np.ndarray):
        table.take(where, axis=0, out=out, mode="clip")  # "raise" would go through a second buffer
    else:
        array_namespace(table).index_select(table, 0, where, out=out)


def stamp(xp: Any, image: Array, rows: Array, columns: Array, tiles: Array) -> None:
    """Copy tiles onto images in place.

    Args:
        xp: array namespace of all arrays.
        image: (N, H, W, 3) uint8, contiguous, H and W multiples of 8.
        rows: (N, n) tile rows; within a world the n places are distinct.
        columns: (N, n) tile columns.
        tiles: (N, n, 8, 3) int64, see `as_words`. Here and above N may be 1, for what all worlds share.
    """
    num_worlds, height, width, _ = image.shape
    words = image.reshape(num_worlds, height // TILE, TILE, width // TILE, TILE * 3).view(xp.int64)
    kernels = _kernels() if xp is np else None
    if kernels:
        places = (num_worlds, np.broadcast(rows, columns).shape[1])
        rows, columns = np.broadcast_to(rows, places), np.broadcast_to(columns, places)
        kernels.stamp(words, rows, columns, np.broadcast_to(tiles, (*places, TILE, _WORDS)))
        return
    worlds = xp.arange(num_worlds, device=image.device)[:, None]
    words[worlds, rows, :, columns] = tiles


def lay(image: Array, tiles: Array, which: Array) -> None:
    """Cover images with tiles side by side.

    Args:
        image: (N, R * S, C * S, 3) uint8, contiguous.
        tiles: (T, S, 3S/8) int64, see `as_words`.
        which: (N, R, C) int64, the tile at each place.
    """
    (num_worlds, down, across), (_, size, width) = which.shape, tiles.shape
    xp = array_namespace(tiles)
    words = image.reshape(num_worlds, down, size, across, width * 8).view(xp.int64)
    kernels = _kernels() if isinstance(tiles, np.ndarray) else None
    if kernels:
        kernels.lay(words, tiles, which)
        return
    rows = xp.empty((num_worlds, down, size, across), dtype=xp.int64, device=image.device)  # of words, among all tiles
    for column in range(across):  # long runs of equal strides: four times as fast as one sum
        rows[..., column] = which[:, :, None, column] * size + xp.arange(size, device=image.device)
    copy_rows(tiles.reshape(-1, width), rows.reshape(-1), words.reshape(-1, width))


@cache
def _kernels() -> Any:
    """`unienv.kernels`, or None without numba, which takes a while to import: not before a picture is drawn."""
    try:
        from unienv import kernels
    except ImportError:
        return None
    return kernels
