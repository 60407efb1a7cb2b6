"""The study's settings, and its jobs: world models that are measured, and agents that are compared."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agents.distributed import cores
from experiments.config import RayConfig
from experiments.pool import Job
from unienv.registry import world_class

FORMS = ("joint", "late")
ROUNDS = 6  # of balanced play that a world model learns from first
UPDATES = 125  # of a world model after balanced play, each on fresh play
_MODELS = 3  # seeds of world models: their losses hardly vary


class Cell(NamedTuple):
    """A version of a world that can be enumerated."""

    env: str
    parameters: dict[str, Any]

    @property
    def name(self) -> str:
        """For people and for folders."""
        return self.env if "coupling" not in self.parameters else f"{self.env}-{self.parameters['coupling']:g}"


class Fit(NamedTuple):
    """A world model of one form and seed in a cell."""

    cell: Cell
    form: str
    seed: int

    @property
    def name(self) -> str:
        """Of its job."""
        return f"model-{self.cell.name}-{self.form}-{self.seed}"


class Trial(NamedTuple):
    """An agent that learns from experience alone, or from imagined rollouts as well."""

    env: str
    learner: str
    seed: int

    @property
    def name(self) -> str:
        """Of its job."""
        return f"agent-{self.env}-{self.learner}-{self.seed}"


LEARNERS = {  # settings of the agents, at equal environment steps
    "model-free": (),
    "two epochs": ("ppo.epochs=2",),  # as many updates as with one imagined rollout a real one
    "auxiliary": ("agent.imagine=0",),
    "imagine": ("agent.imagine=1",),
}
TRAINED = {  # worlds, and few enough steps that data are what lacks
    "match": ("steps=30000",),
    "goto": ("env.size=3", "env.num_colours=2", "env.num_shapes=2", "env.horizon=8", "steps=80000"),
}
_MEASURED = (("match", (0.0, 0.5, 1.0)), ("manual", (0.0, 1.0)), ("goto", ()), ("terminal", ()))


@dataclass
class ImaginationConfig:
    """One study."""

    study: str = "imagination"
    seeds: int = 5  # of agents: 0, 1, ..
    episodes: int = 1000  # of each agent's evaluation
    ray: RayConfig = field(default_factory=lambda: RayConfig(workers=cores()))  # jobs side by side
    runs: str = "runs"  # folder of run folders
    resume: str | None = None  # run folder to continue
    json: bool = False  # whether the last line of output is one JSON object


def cells() -> list[Cell]:
    """Versions of worlds whose non-separability is exact, from the controls on."""
    found = []
    for env, couplings in _MEASURED:
        small = dict(world_class(env)[0].small)
        found += [Cell(env, small | {"coupling": coupling}) for coupling in couplings] or [Cell(env, small)]
    return found


def fits() -> list[Fit]:
    """All world models, those of one seed together."""
    return [Fit(cell, form, seed) for seed in range(_MODELS) for cell in cells() for form in FORMS]


def trials(config: ImaginationConfig) -> list[Trial]:
    """All agents, those of one seed together."""
    return [Trial(env, learner, seed) for seed in range(config.seeds) for env in TRAINED for learner in LEARNERS]


def jobs(config: ImaginationConfig) -> list[Job]:
    """Exact figures of the cells, world models and agents."""
    exact = [Job(f"exact-{cell.name}") for cell in cells()]
    return exact + [Job(one.name) for one in (*trials(config), *fits())]


def settings(trial: Trial, config: ImaginationConfig) -> list[str]:
    """An agent as arguments of a training run."""
    told = [f"env={trial.env}", *TRAINED[trial.env], *LEARNERS[trial.learner]]
    return [*told, f"seed={trial.seed}", f"episodes={config.episodes}"]
