"""Square rooms of cells, numbered row * size + column: the moves in them, and how far it is from cell to cell."""

from typing import Any

import numpy as np

from unienv.rng import Array

MOVE_NAMES = ("wait", "up", "down", "left", "right")
WAIT, UP, DOWN, LEFT, RIGHT = range(5)
MOVES = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]])  # rows, columns of each move
FAR = 1 << 20  # steps; longer than any path


def next_cells(size: int) -> np.ndarray:
    """(size^2, K) int64: the cell that each move leads to from each cell; a step off the room waits."""
    row, column = np.divmod(np.arange(size * size)[:, None], size)
    return np.clip(row + MOVES[:, 0], 0, size - 1) * size + np.clip(column + MOVES[:, 1], 0, size - 1)


def distances(xp: Any, size: int, goal: Array, toll: Array) -> Array:
    """Steps to the nearest goal from each cell of N rooms, the toll of the cell itself included.

    So the best step is the one onto the cell of least distance.

    Args:
        xp: array namespace of all arrays.
        size: cells a side.
        goal: (N, size^2) bool; a goal is at distance 0, whatever its toll.
        toll: (N, size^2) int64, steps that a cell costs besides the step onto it; FAR closes the cell.

    Returns:
        (N, size^2) int64, FAR where no path leads to a goal.
    """
    distance = xp.where(goal, 0, xp.full_like(toll, FAR))
    while True:
        ahead = _nearest_neighbour(xp, distance.reshape(-1, size, size)).reshape(-1, size * size)
        nearer = xp.minimum(distance, ahead + 1 + toll)
        if not xp.any(nearer < distance):
            return distance
        distance = nearer


def _nearest_neighbour(xp: Any, grid: Array) -> Array:
    """(N, S, S): the least of the four neighbours of each cell of a batch of grids; FAR lies outside."""
    column = xp.full_like(grid[:, :, :1], FAR)
    row = xp.full_like(grid[:, :1, :], FAR)
    vertical = xp.minimum(xp.concat([grid[:, 1:, :], row], axis=1), xp.concat([row, grid[:, :-1, :]], axis=1))
    horizontal = xp.minimum(xp.concat([grid[:, :, 1:], column], axis=2), xp.concat([column, grid[:, :, :-1]], axis=2))
    return xp.minimum(vertical, horizontal)
