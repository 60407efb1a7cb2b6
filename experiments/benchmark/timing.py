"""What all benchmarks share: rows of medians, and cases that are timed in turn."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console

Row = dict[str, Any]  # name, unit, median, least, most
Step = Callable[[], int]  # does some work and tells how much was done


class Timing(NamedTuple):
    """How often and how long."""

    rounds: int  # that a median is taken over
    seconds: float  # of one measurement of a rate


def say(line: str) -> None:
    """Tell what is left out, or how a benchmark of hours stands."""
    Console(stderr=True).print(line, markup=False, soft_wrap=True)


def alternate(cases: Mapping[str, Callable[[], Step]], timing: Timing) -> dict[str, list[float]]:
    """Work a second of each case in turn, round after round, so that a machine that drifts treats all alike.

    Args:
        cases: name -> what makes the case ready and returns its step.
        timing: rounds, and seconds that a case has in each.
    """
    running = {name: make() for name, make in cases.items()}
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(timing.rounds):
        for name, step in running.items():
            step()
            began, done = time.perf_counter(), 0
            while time.perf_counter() - began < timing.seconds:
                done += step()
            rates[name].append(done / (time.perf_counter() - began))
    return rates


def row(name: str, unit: str, values: Sequence[float]) -> Row:
    """Median and range of some rounds."""
    return {"name": name, "unit": unit, "median": statistics.median(values), "least": min(values), "most": max(values)}
