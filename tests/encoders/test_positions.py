import pytest
import torch

from encoders.positions import grid_positions


@pytest.mark.parametrize("height, width, dim", [(8, 8, 16), (2, 3, 16), (1, 5, 8), (4, 1, 4), (1, 1, 16), (30, 30, 64)])
def test_positions_are_distinct(height, width, dim):
    positions = grid_positions(height, width, dim)
    assert positions.shape == (height * width, dim)
    assert positions.abs().max() <= 1.0
    if height * width > 1:
        assert torch.pdist(positions).min() > 1e-2


def test_near_positions_are_more_alike_than_far_ones():
    positions = grid_positions(8, 8, 32).unflatten(0, (8, 8))
    near, far = (positions[3, 3] - positions[3, 4]).norm(), (positions[3, 3] - positions[7, 0]).norm()
    assert near < far
