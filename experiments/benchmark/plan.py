"""The benchmark's settings, and its parts."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass

from experiments.benchmark.timing import Row, Timing
from experiments.config import ConfigError
from unienv.spelling import check_choice

PARTS = {
    "worlds": "experiments.benchmark.worlds:worlds",
    "simulators": "experiments.benchmark.simulators:simulators",
    "threshold": "experiments.benchmark.learner:threshold",
    "threshold-goto": "experiments.benchmark.learner:threshold_goto",
    "step": "experiments.benchmark.update:update",
    "compile": "experiments.benchmark.compiled:compiled",
    "solver": "experiments.benchmark.separability:solver",
    "estimates": "experiments.benchmark.separability:estimates",
    "growth": "experiments.benchmark.growth:growth",
    "shards": "experiments.benchmark.shards:shards",
    "scaling": "experiments.benchmark.scaling:scaling",
}


@dataclass
class BenchmarkConfig:
    """One benchmark. Fix the cores from outside, as with `taskset -c 0,1`."""

    study: str = "benchmark"
    parts: str = ",".join(PARTS)  # with commas between
    rounds: int = 5  # that a median is taken over
    seconds: float = 1.0  # of one measurement of a rate
    runs: str = "runs"  # folder of run folders
    json: bool = False  # whether the last line of output is one JSON object


def parts(config: BenchmarkConfig) -> dict[str, Callable[[Timing], list[Row]]]:
    """The chosen parts: name -> function.

    Raises:
        ConfigError: one line, for a part that is none.
    """
    chosen = {}
    for name in str(config.parts).split(","):
        try:
            check_choice("parts", name, PARTS)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        module, function = PARTS[name].split(":")
        chosen[name] = getattr(importlib.import_module(module), function)
    return chosen
