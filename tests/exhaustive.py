"""All draws at once, in place of random ones: a law by counting instead of by sampling."""

from collections.abc import Sequence

import numpy as np


class Exhaustive:
    """Stands in for `unienv.rng.Keys`: its rows are every combination that a draw can take, each once.

    A batch whose length is a multiple of the combinations sees them over and over.

    Args:
        steps: a uniform number takes the midpoints of so many equal parts of [0, 1).
        rows: length of the batch; None for one round of the combinations.
    """

    def __init__(self, steps: int = 8, rows: int | None = None) -> None:
        self.steps, self.rows = steps, rows

    def integers(self, salt: int, highs: Sequence[int]) -> np.ndarray:
        grid = np.stack(np.meshgrid(*map(np.arange, highs), indexing="ij"), axis=-1).reshape(-1, len(highs))
        return grid if self.rows is None else np.resize(grid, (self.rows, len(highs)))

    def uniform(self, salt: int, count: int) -> np.ndarray:
        return (self.integers(salt, [self.steps] * count) + 0.5) / self.steps
