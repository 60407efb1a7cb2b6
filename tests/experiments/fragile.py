"""Small runs for tests in which something goes wrong."""

import pytest

UPDATE = 64  # env steps
TINY = ["agent.dim=16", "agent.heads=2", "agent.hidden=32", "agent.queries=2", "ppo.worlds=8", "ppo.horizon=8"]
TINY += ["ppo.minibatches=2", "ppo.epochs=1", "ppo.play=0", "device=cpu", "episodes=8"]
# A training that fails leaves its files to the end of the process.
LEFT_OPEN = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO.*metrics.jsonl"),
]
