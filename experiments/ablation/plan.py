"""The ablation study's settings, and the grid of trials and measurements that it is made of.

env=match,goto env.coupling=0,0.5,1 agent.psi=joint,late seed=0:5 ppo.lr=3e-4
"""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import product
from typing import Any, NamedTuple

from agents.distributed import cores
from encoders.psi import FORMS
from experiments.config import INTERNAL, ConfigError, RayConfig, RunConfig, parse
from experiments.pool import Job
from unienv.modality import MODALITIES
from unienv.registry import parameters_of, world_class
from unienv.spelling import check_choice

DIAL = "env.coupling"
GRID = ("env", DIAL, "agent.psi", "seed")  # settings that may be lists, 0,0.5,1, or ranges of whole numbers, 0:5
PRESETS = {
    "quick": "env=match env.coupling=0,0.25,0.5,0.75,1 agent.psi=joint,late,text,image seed=0:5",
    "full": "env=match,goto,manual,chase,describe,terminal env.coupling=0,0.25,0.5,0.75,1 "
    "agent.psi=joint,late,text,image seed=0:5",
}
_FEW = ("ppo.worlds=64", "episodes=192")  # for environments that are slow: small rollouts, and 3 episodes a slot
SETTINGS = {  # of trials in a world: a version that agents learn, and many episodes where each is a coin's toss
    "match": ("steps=100000", "episodes=10000"),
    "goto": ("steps=600000",),
    "manual": (
        *("env.size=2", "env.num_keys=2", "env.paraphrases=1", "env.horizon=6"),
        *("steps=600000", "ppo.play=0.4", "episodes=2000"),  # attempts are rare: many to learn from
    ),
    "chase": ("env.num_objects=2", "env.num_motions=2", "steps=400000", "episodes=10000"),
    "describe": (
        *("env.size=2", "env.num_colours=2", "env.num_shapes=2", "env.tries=2"),
        *("steps=300000", "episodes=10000"),
    ),
    "terminal": ("steps=1000000",),
    # Levels of MiniGrid as they are: the text selects among what is seen ..
    "MiniGrid-Fetch-5x5-N2-v0": ("steps=100000", *_FEW),
    "MiniGrid-GoToDoor-5x5-v0": ("steps=250000", *_FEW),
    "BabyAI-GoToLocalS5N2-v0": ("steps=120000", *_FEW),
    # .. or it names the one thing there is, or never changes, and nothing is lost without it.
    "BabyAI-GoToObjS4-v0": ("steps=40000", *_FEW),
    "BabyAI-OpenRedDoor-v0": ("steps=60000", *_FEW),
}
_OTHERS = ("steps=500000",)  # worlds without an entry there


@dataclass
class AblationConfig:
    """One study. Lists such as env=match,goto, env.coupling=0,0.5,1, agent.psi=joint,late and seed=0:5 make the grid.

    Any other setting of a training run may be given besides, and holds for all trials.
    """

    study: str = "ablation"
    preset: str = "quick"  # quick or full: the grid, of which any part that is given besides is replaced
    worlds: list[str] = field(default_factory=list, metadata=INTERNAL)  # or other environments
    coupling: list[float] = field(default_factory=list, metadata=INTERNAL)  # where a world has that dial
    psi: list[str] = field(default_factory=list, metadata=INTERNAL)
    seeds: list[int] = field(default_factory=list, metadata=INTERNAL)
    absent: list[str] = field(default_factory=list, metadata=INTERNAL)  # forms of a modality that a world lacks
    trial: list[str] = field(default_factory=list, metadata=INTERNAL)  # settings of all trials, key=value
    margin: float = 0.05  # of normalised return, within which a gap counts as none
    ray: RayConfig = field(default_factory=lambda: RayConfig(workers=cores()))  # trials side by side
    runs: str = "runs"  # folder of run folders
    resume: str | None = None  # run folder to continue
    json: bool = False  # whether the last line of output is one JSON object


class Cell(NamedTuple):
    """A world at one setting of its dial; coupling is None where it has no dial."""

    env: str
    coupling: float | None

    @property
    def name(self) -> str:
        """For people and for folders."""
        return self.env if self.coupling is None else f"{self.env}-{dial(self.coupling)}"


class Trial(NamedTuple):
    """An agent of one form and seed in a cell."""

    cell: Cell
    psi: str
    seed: int

    @property
    def name(self) -> str:
        """Of its job."""
        return f"{self.cell.name}-{self.psi}-{self.seed}"


def dial(coupling: float) -> str:
    """A coupling in as few digits as tell it exactly."""
    return f"{coupling:g}" if float(f"{coupling:g}") == coupling else repr(coupling)


def cells(config: AblationConfig) -> list[Cell]:
    """All cells; a world without the dial has one."""
    return [Cell(env, coupling) for env in config.worlds for coupling in (config.coupling if has_dial(env) else [None])]


def trials(config: AblationConfig) -> list[Trial]:
    """All trials, those of one seed together: a study that is cut off has whole seeds."""
    grid = product(config.seeds, cells(config), config.psi)
    return [Trial(cell, psi, seed) for seed, cell, psi in grid if f"{cell.env} {psi}" not in config.absent]


def jobs(config: AblationConfig) -> list[Job]:
    """Measurements of the cells, then trials."""
    return [Job(f"ns-{cell.name}") for cell in cells(config)] + [Job(trial.name) for trial in trials(config)]


def has_dial(env: str) -> bool:
    """Whether a world's coupling can be set."""
    try:
        return "coupling" in parameters_of(world_class(env)[0])
    except (ValueError, ImportError):  # an environment that is none of ours, or none at all
        return False


def absent(config: AblationConfig) -> list[str]:
    """Forms of the grid that are of a modality which a world lacks, as "<world> <form>": `chase` may have no image.

    Raises:
        ConfigError: one line, for a form that no world has, or a world that has no form.
    """
    one = {cell.env: run_config(config, Trial(cell, "joint", 0)).env for cell in cells(config)}
    worlds = {env: _modalities(settings) for env, settings in one.items()}
    single = [psi for psi in config.psi if psi in MODALITIES]
    lacking = {env: [psi for psi in single if psi not in there] for env, there in worlds.items()}
    nowhere = [psi for psi in single if all(psi in forms for forms in lacking.values())]
    for env, forms in lacking.items():
        if nowhere or len(forms) == len(config.psi):
            has, form = ", ".join(sorted(worlds[env] & set(MODALITIES))), (nowhere or forms)[0]
            raise ConfigError(f"agent.psi: expected forms that {env} has, got {form}; it has {has}")
    return [f"{env} {psi}" for env, forms in lacking.items() for psi in forms]


def _modalities(env: dict[str, Any]) -> set[str]:
    """Names of the parts of an environment's observation."""
    from experiments.train import choose_device, make_envs

    with closing(make_envs(env, 1, choose_device("cpu"))) as envs:
        space: Any = envs.single_observation_space
        return set(space)


def run_config(config: AblationConfig, trial: Trial) -> RunConfig:
    """The training run of a trial."""
    return parse([*config.trial, *settings(config, trial)])


def settings(config: AblationConfig, trial: Trial) -> list[str]:
    """What a trial sets besides what is common to all, as arguments of a training run."""
    told = [f"env={trial.cell.env}", f"agent.psi={trial.psi}", f"seed={trial.seed}"]
    if trial.cell.coupling is not None:
        told.append(f"{DIAL}={dial(trial.cell.coupling)}")
    given = {argument.partition("=")[0] for argument in config.trial}
    usual = SETTINGS.get(trial.cell.env, _OTHERS)
    return told + [setting for setting in usual if setting.partition("=")[0] not in given]


def read_grid(arguments: Iterable[str]) -> dict[str, Any]:
    """Lists of the grid by setting, and under "trial" what holds for all trials.

    Raises:
        ConfigError: one line, for a list that is none.
    """
    found: dict[str, Any] = {"trial": []}
    for argument in arguments:
        key, _, text = argument.partition("=")
        key = "env" if key == "env.id" else key
        if key not in GRID:
            found["trial"].append(argument)
        elif key == "seed":
            found["seeds"] = _whole_numbers(text)
        elif key == DIAL:
            found["coupling"] = _numbers(text)
        else:
            found["worlds" if key == "env" else "psi"] = _names(key, text)
    for form in found.get("psi", ()):
        check_choice("agent.psi", form, FORMS)
    return found


def _names(key: str, text: str) -> list[str]:
    names = text.split(",")
    if not all(names) or len(set(names)) < len(names):
        raise ConfigError(f"{key}: expected different names with commas between, got {text!r}")
    return names


def _numbers(text: str) -> list[float]:
    try:
        numbers = sorted({float(part) for part in text.split(",")})
    except ValueError:
        raise ConfigError(f"{DIAL}: expected numbers with commas between, such as 0,0.5,1, got {text!r}") from None
    return numbers


def _whole_numbers(text: str) -> list[int]:
    try:
        if ":" in text:
            low, high = map(int, text.split(":"))
            numbers = list(range(low, high))
        else:
            numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        numbers = []
    if not numbers or numbers[0] < 0:
        raise ConfigError(f"seed: expected whole numbers such as 0,1,2 or a range such as 0:5, got {text!r}")
    return numbers
