"""How non-separable is an environment? Exactly where it can be enumerated, else from recorded transitions.

A world that is too large to enumerate is measured twice: its declared small version exactly, itself from samples.
With `data=` it is transitions on disk that are measured, in shards as `unienv.separability.shards` tells of them.
"""

import json
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import Space
from rich.console import Console

from experiments.config import ConfigError, RayConfig, load, parse, to_yaml
from experiments.evaluate import hardware, versions
from experiments.studies import new_folder, reproduce
from experiments.studies.reading import claims, print_tables, rows, settings, verdict
from unienv.adapt import make_vector
from unienv.aside import write_aside
from unienv.registry import is_world, make_world, parameters_of
from unienv.separability.draws import NotEnumerable
from unienv.separability.enumeration import Kernel, enumerate_world
from unienv.separability.exact import Exact, exact
from unienv.separability.folds import TooManyActions
from unienv.separability.ladder import ladder
from unienv.separability.result import Estimate
from unienv.separability.rows import rows_of, trivial
from unienv.separability.shards import find
from unienv.separability.transitions import Transitions, record
from unienv.spelling import nearest
from unienv.world import World

_SAMPLED = ("samples", "table", "net", "psi")
METHODS = ("auto", "exact", *_SAMPLED)
_WORLDS = 256  # recorded side by side
_DIAL = (0.0, 0.25, 0.5, 0.75, 1.0)
_SEARCH = 20.0  # seconds for the best late fusion
_OF_EXACT, _OF_SAMPLES = ("history", "horizon"), ("samples", "policy")  # settings without a use in other methods
# Settings that have a use with data=
_OF_DATA = ("study", "data", "method", "seed", "ray.workers", "ray.address", "runs", "json")


@dataclass
class SeparabilityConfig:
    """One study."""

    study: str = "separability"
    env: dict[str, Any] = field(default_factory=lambda: {"id": "match"})
    method: str = "auto"  # exact where possible, else samples; exact; samples; samples by table, net or psi (slow)
    history: int = 1  # exact: observations that every expert remembers, the present one included
    horizon: int | None = None  # exact: steps to sum over; none for the world's own
    samples: int = 40_000  # transitions to record
    policy: str = "uniform"  # that acts while recording: uniform, or the run folder of a trained agent
    data: str | None = None  # instead of env: a folder of npz or Parquet files with transitions, or one such file
    ray: RayConfig = field(default_factory=RayConfig)  # that count `data`
    seed: int = 0
    runs: str = "runs"  # folder of run folders
    json: bool = False  # whether the last line of output is one JSON object


CONFIG = SeparabilityConfig


def prepare(arguments: list[str]) -> tuple[SeparabilityConfig, Path]:
    """A checked configuration and its folder; the environment is built once, so that mistakes show here."""
    config = parse(arguments, SeparabilityConfig)
    if config.method not in METHODS:
        near = nearest(config.method, METHODS)
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, got {config.method!r}; did you mean {near!r}?")
    given = {argument.partition("=")[0] for argument in arguments}
    if config.data is not None or "data=" in arguments:
        return _prepare_data(config, given)
    useless = _OF_EXACT if config.method in _SAMPLED else _OF_SAMPLES if config.method == "exact" else ()
    for key in sorted(given.intersection(useless)):
        raise ConfigError(f"{key} has no use with method={config.method}")
    if config.ray != RayConfig():
        raise ConfigError("ray.workers count shards of data=, and an environment was given")
    if config.policy != "uniform":
        _check_policy(config)
    make_vector(str(config.env["id"]), 1, **_parameters(config)).close()
    if config.method == "exact" and not is_world(str(config.env["id"])):
        raise ConfigError(f"only worlds can be enumerated, and {config.env['id']} is none; take method=samples")
    folder = new_folder(config.runs, str(config.env["id"]))
    write_aside(folder / "config.yaml", to_yaml(config))
    return config, folder


def _prepare_data(config: SeparabilityConfig, given: set[str]) -> tuple[SeparabilityConfig, Path]:
    """The same for transitions on disk; all shards are looked at, so that mistakes show here."""
    for key in sorted(given.difference(_OF_DATA)):
        raise ConfigError(f"{key} has no use with data=; only {', '.join(_OF_DATA)} have")
    if not config.data:
        raise ConfigError("data: expected a folder or a file of transitions, got nothing")
    if config.method not in ("auto", "table"):
        raise ConfigError(f"transitions on disk are measured by method=table, got method={config.method}")
    place = Path(config.data)
    try:
        find(place)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    config.env = {}
    folder = new_folder(config.runs, place.resolve().stem)
    write_aside(folder / "config.yaml", to_yaml(config))
    return config, folder


def _check_policy(config: SeparabilityConfig) -> None:
    """ConfigError for a behaviour that can't be recorded."""
    if not (Path(config.policy) / "config.yaml").exists():
        raise ConfigError(f"policy must be uniform or a run folder, and there is no config.yaml in {config.policy!r}")
    trained = load(Path(config.policy))
    if trained.env["id"] != config.env["id"]:
        raise ConfigError(f"policy={config.policy} was trained on {trained.env['id']}, not on {config.env['id']}")
    mine, theirs = _spaces(config.env), _spaces(trained.env)
    if mine != theirs:
        raise ConfigError(f"policy={config.policy} was trained with {settings(trained.env)}, which has other spaces")
    if trained.agent.memory != "none":
        raise ConfigError(
            f"policy={config.policy} has memory; feedback is measured given the present observation alone"
        )
    if config.method in ("auto", "exact"):
        raise ConfigError(f"a policy is for recording: method=samples, table, net or psi, got method={config.method}")


def _spaces(env: dict[str, Any]) -> tuple[Space[Any], Space[Any]]:
    parameters = {key: value for key, value in env.items() if key != "id"}
    with closing(make_vector(str(env["id"]), 1, **parameters)) as envs:
        return envs.single_observation_space, envs.single_action_space


def run(config: SeparabilityConfig, folder: Path, console: Console) -> dict[str, Any]:
    """Measure, tell, and write separability.json and card.html."""
    from experiments.card import write_card

    began = time.perf_counter()
    if config.data is None:
        with console.status("measuring") as status:
            study = measure(config, status.update)
    else:
        study = measure_data(config, console)
    study |= {"verdict": verdict(study), "rows": rows(study), "claims": claims(study)}
    study |= {"command": reproduce(config), "seconds": round(time.perf_counter() - began, 2)}
    study |= {"versions": versions(), "hardware": hardware("cpu")}
    write_aside(folder / "separability.json", json.dumps(study, indent=1) + "\n")
    write_card(folder)
    print_tables(study, console)
    console.print(f"run folder  {folder}\ncard        {folder / 'card.html'}", soft_wrap=True)
    return study | {"folder": str(folder)}


def measure(config: SeparabilityConfig, say: Any = print) -> dict[str, Any]:
    """Everything that is computed, as plain data."""
    parameters = _parameters(config)
    study: dict[str, Any] = {"env": config.env["id"], "parameters": parameters, "exact": None, "ladder": None}
    behaviour = "uniform actions" if config.policy == "uniform" else f"the agent of {config.policy}"
    study |= {"estimate": None, "rho": f"{behaviour}, the environment's own resets"}
    study["conditioning"] = "the present observation and the action"
    rows = rows_of(config.env, config.seed)
    alone = trivial(rows)
    if config.method == "auto" and alone:
        study["enumeration"] = alone
    elif config.method in ("auto", "exact") and is_world(str(config.env["id"])):
        try:
            study |= _enumerate(config, parameters, say)
            study["conditioning"], study["modalities"] = (study["exact"][k] for k in ("conditioning", "modalities"))
        except NotEnumerable as error:
            if config.method == "exact":
                raise
            study["enumeration"] = str(error)
    if study["exact"] is None or (study["exact"]["small"] and config.method == "auto"):
        try:
            study |= _sample(config, parameters, rows if alone and config.policy == "uniform" else None, say)
        except TooManyActions as error:
            if study["exact"] is None:
                raise
            study["unsampled"] = str(error)
    return study


def _enumerate(config: SeparabilityConfig, parameters: dict[str, Any], say: Any) -> dict[str, Any]:
    """Exact figures, ladder and dial: of the world itself, or of the small version that it declares."""
    name = str(config.env["id"])
    world, small = make_world(name, **parameters), False
    reduced = {**parameters, **(world.small or {})}
    usual = {name: one.default for name, one in parameters_of(type(world)).items()}
    smaller = usual | reduced != usual | parameters
    say("enumerating")
    try:
        kernel, told = _measured(world, config)
    except NotEnumerable:
        if not world.small:
            raise
        parameters, small = reduced, True
        world = make_world(name, **parameters)
        say(f"enumerating the small version: {parameters}")
        kernel, told = _measured(world, config)
    say("searching the best late fusion")
    rungs, climbed = ladder(kernel, seconds=_SEARCH if small or not smaller else _SEARCH / 5), parameters
    if not rungs.certified and smaller and not small:
        rungs, climbed = ladder(make_world(name, **reduced), config.horizon, _SEARCH), reduced
        rungs = replace(rungs, decision=f"{rungs.decision}; small version {settings(world.small)}")
    say("turning the dial")
    plain = {"parameters": parameters, "small": small, "dial": _dial(name, reduced, world, config)}
    plain |= {"rho": told.rho, "conditioning": told.conditioning, "states": told.states, "length": told.length}
    plain |= {"modalities": told.modalities, "steps": [asdict(step) for step in told.steps]}
    plain |= {"dial_of": {"parameters": reduced, "small": smaller}}
    gap = {"gap": rungs.gap, "gap_bound": rungs.gap_bound, "certified": rungs.certified}
    gap |= {"small": small or climbed is reduced}
    return {"exact": plain, "ladder": asdict(rungs) | gap}


def _measured(world: World, config: SeparabilityConfig) -> tuple[Kernel, Exact]:
    """A world's kernel, enumerated once for all that is measured on it, and its exact figures."""
    kernel = enumerate_world(world, config.horizon)
    return kernel, exact(kernel, history=config.history)


def _dial(name: str, parameters: dict[str, Any], world: World, config: SeparabilityConfig) -> list[Any] | None:
    """(coupling, NS_fb a step, GAP) of a world with a coupling."""
    if "coupling" not in parameters_of(type(world)):
        return None
    points = []
    for coupling in _DIAL:
        turned = make_world(name, **{**parameters, "coupling": coupling})
        kernel, told = _measured(turned, config)
        rungs = ladder(kernel, seconds=_SEARCH / len(_DIAL))
        gap = rungs.gap if rungs.certified else None
        points.append([coupling, told.total("feedback", "nonseparability") / told.length, gap])
    return points


def _sample(
    config: SeparabilityConfig, parameters: dict[str, Any], transitions: Transitions | None, say: Any
) -> dict[str, Any]:
    """An estimate from transitions; recorded where none are given."""
    from experiments.evaluate import unseen
    from unienv.separability.estimate import estimate

    if transitions is None:
        say(f"recording {config.samples:,} transitions")
        num_envs = min(_WORLDS, max(1, config.samples // 100))
        with closing(make_vector(str(config.env["id"]), num_envs, **parameters)) as envs:
            transitions = record(envs, config.samples, _behaviour(config, envs.num_envs), unseen(config.seed))
    say(f"estimating from {len(transitions):,} transitions")
    if config.method == "psi":
        from encoders.probe import estimate_by_psi

        told = estimate_by_psi(transitions, seed=config.seed)
    else:
        told = estimate(transitions, config.method if config.method in ("table", "net") else "auto", seed=config.seed)
    policy = "uniform actions" if config.policy == "uniform" else f"the agent of {config.policy}"
    counts = np.bincount(transitions.feedback, minlength=len(transitions.names))
    feedback = dict(zip(transitions.names, (counts / counts.sum()).tolist(), strict=True))
    return _plain(told, policy, feedback)


def measure_data(config: SeparabilityConfig, console: Console) -> dict[str, Any]:
    """The same of transitions on disk."""
    from experiments.shards import estimate_shards

    shards = find(Path(str(config.data)))
    told, table, seconds = estimate_shards(shards, config.ray, config.seed, console)
    feedback = dict(zip(table.names, (table.count.sum(axis=0) / told.n).tolist(), strict=True))
    study = {"env": config.data, "parameters": {}, "exact": None, "ladder": None}
    study |= {"shards": len(shards), "counting_seconds": round(seconds, 2)}
    study |= {"rho": "whatever acted when the data were recorded", "conditioning": told.conditioning}
    return study | _plain(told, "not known", feedback)


def _plain(told: Estimate, policy: str, feedback: dict[str, float]) -> dict[str, Any]:
    """An estimate as JSON has it."""
    plain = json.loads(json.dumps(asdict(told))) | {"policy": policy, "feedback": feedback}
    return {"estimate": plain, "modalities": list(told.modalities)}


def _behaviour(config: SeparabilityConfig, num_envs: int) -> Any:
    """What `record` takes as a policy."""
    if config.policy == "uniform":
        return "uniform"
    from experiments.train import make_learner

    trained = load(Path(config.policy))
    learner = make_learner(trained)
    learner.envs.close()
    if not learner.load(Path(config.policy)):
        raise ValueError(f"{config.policy} holds no checkpoint")
    policy = learner.policy(num_envs, config.seed)
    going_on = np.zeros(num_envs, bool)  # where episodes start is of no matter without memory
    return lambda observation: policy.act(observation, going_on)


def _parameters(config: SeparabilityConfig) -> dict[str, Any]:
    return {key: value for key, value in config.env.items() if key != "id"}
