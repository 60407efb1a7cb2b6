"""Seconds and env steps of training to a threshold, beside other libraries.

All train a network of the same number of parameters on the same worlds and cores, taking turns by seed. A run that does
not reach the threshold is stopped after a limit and counts with that time: such a median is a lower bound.
"""

import importlib
from collections.abc import Callable
from typing import NamedTuple

from experiments.benchmark.judge import Judge
from experiments.benchmark.timing import Row, Timing, row, say
from experiments.config import RunConfig, build
from experiments.train import make_learner


class Course(NamedTuple):
    """What is to be learned, and how long anybody may take."""

    world: str
    success: float  # share of the last 1000 episodes
    limit: float  # seconds
    steps: int  # that our step size falls along


MATCH = Course("match", 0.95, 150.0, 200_000)
GOTO = Course("goto", 0.5, 1000.0, 600_000)

_PEERS = {
    "Stable-Baselines3 PPO": "experiments.benchmark.peers.sb3",
    "CleanRL-style PPO": "experiments.benchmark.peers.cleanrl",
    "RLlib PPO": "experiments.benchmark.peers.rllib",
}


class Run(NamedTuple):
    """One training run of one library."""

    parameters: int
    reached: bool
    seconds: float
    steps: int


def threshold(timing: Timing) -> list[Row]:
    """Until 0.95 of the last 1000 episodes of match succeeded, ours and the peers'."""
    return race(MATCH, timing.rounds)


def threshold_goto(timing: Timing) -> list[Row]:
    """Until half of the last 1000 episodes of goto succeeded."""
    return race(GOTO, timing.rounds)


def race(course: Course, rounds: int) -> list[Row]:
    """Rows of seconds and env steps for each library, by seeds 0, 1, .. in turn."""
    size = make_learner(_config(course, 0)).parameters
    runners: dict[str, Callable[[int, Judge], int]] = {"unienv": lambda seed, judge: ours(course, seed, judge)}
    for name, module in _PEERS.items():
        try:
            train = importlib.import_module(module).train
        except ImportError as error:
            say(f"left out: {name} needs {error.name}; pip install 'unienv-lab[peers]'")
            continue
        runners[name] = lambda seed, judge, train=train: train(course.world, seed, size, judge)
    told: dict[str, list[Run]] = {name: [] for name in runners}
    for seed in range(rounds):
        for name, train in runners.items():
            judge = Judge(course.success, course.limit)
            parameters = train(seed, judge)
            told[name].append(Run(parameters, judge.reached, judge.seconds, judge.steps))
            end = "there" if judge.reached else "stopped"
            say(f"{course.world}, seed {seed}: {name} {end} after {judge.seconds:.0f} s, {judge.steps:,} env steps")
    return [line for name, runs in told.items() for line in rows(name, course, runs)]


def rows(name: str, course: Course, runs: list[Run]) -> list[Row]:
    """Seconds, env steps and env steps a second of a library's runs; what it missed stands in their name."""
    missed = sum(not run.reached for run in runs)
    title = f"{course.world} to {course.success:g}, {name}, {runs[0].parameters:,} parameters"
    if missed:
        title += f", > {course.limit:g} s in {missed} of {len(runs)}"
    return [
        row(title, "s", [run.seconds for run in runs]),
        row(title, "env steps", [run.steps for run in runs]),
        row(title, "env steps/s", [run.steps / run.seconds for run in runs]),
    ]


def ours(course: Course, seed: int, judge: Judge) -> int:
    """Train our agent until the judge says stop; returns the number of parameters."""
    learner = make_learner(_config(course, seed))
    judge.begin()
    wins: list[bool] = []
    while not judge.over(wins, learner.steps):
        told = learner.update()
        wins = spread(round((told["success"] or 0.0) * told["episodes"]), told["episodes"])
    return learner.parameters


def spread(successes: int, episodes: int) -> list[bool]:
    """Successes spread evenly: an update tells how many of its episodes there were, and not in which order."""
    return [(i + 1) * successes // episodes > i * successes // episodes for i in range(episodes)]


def _config(course: Course, seed: int) -> RunConfig:
    return build({"env": {"id": course.world}, "steps": course.steps, "seed": seed, "device": "cpu"})
