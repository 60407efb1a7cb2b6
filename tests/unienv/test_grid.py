import numpy as np
import pytest
from array_api_compat import torch as torch_xp

from unienv.grid import DOWN, FAR, LEFT, MOVE_NAMES, RIGHT, UP, WAIT, distances, next_cells


def field(size, goals, tolls):
    """Distances of one room; `tolls` by cell."""
    goal, toll = np.zeros((1, size * size), bool), np.zeros((1, size * size), np.int64)
    goal[0, goals] = True
    toll[0, list(tolls)] = list(tolls.values())
    return distances(np, size, goal, toll)


def test_moves_by_hand():
    assert [MOVE_NAMES[move] for move in (WAIT, UP, DOWN, LEFT, RIGHT)] == ["wait", "up", "down", "left", "right"]
    assert next_cells(3).tolist() == [
        [0, 0, 3, 0, 1],
        [1, 1, 4, 0, 2],
        [2, 2, 5, 1, 2],
        [3, 0, 6, 3, 4],
        [4, 1, 7, 3, 5],
        [5, 2, 8, 4, 5],
        [6, 3, 6, 6, 7],
        [7, 4, 7, 6, 8],
        [8, 5, 8, 7, 8],
    ]


def test_distances_by_hand():
    assert field(3, [0], {}).reshape(3, 3).tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert field(3, [0, 8], {}).reshape(3, 3).tolist() == [[0, 1, 2], [1, 2, 1], [2, 1, 0]]
    wall = {1: FAR, 4: FAR}
    assert field(3, [0], wall).reshape(3, 3).tolist() == [[0, FAR, 6], [1, FAR, 5], [2, 3, 4]]
    gate = {1: FAR, 4: 1, 7: FAR, 0: 5}  # the goal's own toll is not asked
    assert field(3, [0], gate).reshape(3, 3).tolist() == [[0, FAR, 5], [1, 3, 4], [2, FAR, 5]]
    enclosed = {1: FAR, 3: FAR}
    assert field(3, [0], enclosed).reshape(3, 3).tolist() == [[0, FAR, FAR], [FAR, FAR, FAR], [FAR, FAR, FAR]]


@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_distances_fulfil_their_equation_on_both_backends(size):
    random = np.random.default_rng(size)
    goal = random.random((300, size * size)) < 0.1
    toll = random.choice([0, 0, 0, 1, 4, FAR], (300, size * size))
    found = distances(np, size, goal, toll)
    ahead = np.where(np.arange(5) == WAIT, FAR, found[:, next_cells(size)]).min(axis=2)
    assert np.array_equal(found, np.where(goal, 0, np.minimum(FAR, ahead + 1 + toll)))
    theirs = distances(torch_xp, size, torch_xp.asarray(goal), torch_xp.asarray(toll))
    assert theirs.dtype == torch_xp.int64 and np.array_equal(theirs.numpy(), found)
