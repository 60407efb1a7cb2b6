"""Where a token stands: the starting point of learned places on a grid."""

import math

import torch
from torch import Tensor


def grid_positions(height: int, width: int, dim: int) -> Tensor:
    """Sines and cosines of row and column: (height * width, dim), where learning the places starts from.

    Frequencies run from half a turn over the grid upwards, so that near places are alike and no two are equal.
    """
    quarter = math.ceil(dim / 4)
    waves = []
    for length, axis in ((height, 0), (width, 1)):
        turns = torch.linspace(0.5, max(0.5, length / 4), quarter) * math.tau
        phase = torch.arange(length)[:, None] / length * turns  # (length, quarter)
        wave = torch.cat([phase.sin(), phase.cos()], dim=1)  # (length, 2 * quarter)
        waves.append(wave[:, None, :].expand(-1, width, -1) if axis == 0 else wave[None].expand(height, -1, -1))
    return torch.cat(waves, dim=2).reshape(height * width, -1)[:, :dim].contiguous()
