"""One training run on the clock: when has it learned, and is its time up?"""

import time
from collections import deque
from collections.abc import Iterable

WINDOW = 1000  # episodes over which success is judged


class Judge:
    """Counts episodes. Whoever trains calls `begin`, then `over` as often as it likes, and stops when told so.

    Args:
        success: share of the last `WINDOW` episodes that must succeed.
        limit: seconds after which a run has failed.

    Attributes:
        reached: whether it learned.
        seconds: from `begin` to the last question; building worlds and networks is not counted.
        steps: env steps until then.
    """

    def __init__(self, success: float, limit: float) -> None:
        self.success, self.limit = success, limit
        self.reached, self.seconds, self.steps = False, 0.0, 0
        self._wins: deque[bool] = deque(maxlen=WINDOW)
        self._began = 0.0

    def begin(self) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def over(self, wins: Iterable[bool], steps: int) -> bool:
        """Whether to stop.

        Args:
            wins: successes of the episodes that ended since the last call, in the order in which they ended.
            steps: env steps in all.
        """
        self._wins.extend(map(bool, wins))
        self.seconds, self.steps = time.perf_counter() - self._began, steps
        self.reached = len(self._wins) == WINDOW and sum(self._wins) >= self.success * WINDOW
        return self.reached or self.seconds >= self.limit
