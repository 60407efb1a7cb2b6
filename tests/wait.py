"""Waiting for what another process does."""

import time


def wait_for(condition, seconds=90.0):
    """Return once `condition()` holds; fail after some seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
