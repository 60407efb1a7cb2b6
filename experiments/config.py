"""Configuration of a run: typed defaults merged with `key=value` arguments; a mistake is one line with its remedy.

env=goto env.size=8 agent.psi=late ppo.lr=3e-4 ray.workers=2 seed=3
"""

import os
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from agents.bridge import check_bridge
from agents.network import AgentConfig
from agents.ppo import PPOConfig
from experiments.values import check_plain, read_value, read_yaml
from unienv.errors import said
from unienv.registry import is_world, parameters_of, world_class
from unienv.spelling import nearest

Config = TypeVar("Config")


class ConfigError(ValueError):
    """A mistake in the arguments, told in one line; what would break it, or order a terminal about, is escaped."""

    def __init__(self, told: str) -> None:
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in told))


INTERNAL = {"internal": True}  # metadata of a setting that is made of other arguments, and can't be given by its name


@dataclass
class RayConfig:
    """Distribution over processes."""

    workers: int = 0  # on Ray, replicas of a training or jobs of a study; 0 for none and all in this process
    address: str | None = None  # of a running cluster ("auto" finds one here); none starts Ray on this machine


@dataclass
class RunConfig:
    """One run; `env` holds the environment's id and its own parameters."""

    study: str = "training"
    env: dict[str, Any] = field(default_factory=lambda: {"id": "match"})
    agent: AgentConfig = field(default_factory=AgentConfig)
    ppo: PPOConfig = field(default_factory=PPOConfig)
    ray: RayConfig = field(default_factory=RayConfig)
    seed: int = 0
    steps: int = 200_000  # env steps to train for, over all workers
    until: float | None = None  # stop earlier, once this share of the last 1000 episodes succeeded
    episodes: int = 1000  # of the evaluation at the end
    device: str = "auto"  # auto, cpu, cuda or cuda:0 and so on
    runs: str = "runs"  # folder of run folders
    resume: str | None = None  # run folder to continue
    json: bool = False  # whether the last line of output is one JSON object


# Settings taken as they are written: a folder called 007 is no number.
TEXTS = (
    "study",
    "env",
    "env.id",
    "runs",
    "resume",
    "corpus",
    "data",
    "tokens",
    "device",
    "ray.address",
    "agent.psi",
    "agent.text",
    "agent.image",
    "agent.bridge",
    "agent.memory",
    "policy",
)


def parse(arguments: list[str], kind: type[Config] = RunConfig) -> Config:
    """Arguments to a configuration: of a run, or of a study of another `kind`.

    Raises:
        ConfigError: one line, for an argument that is no `key=value`, an unknown key or a value of the wrong type.
    """
    return build(_read_arguments(arguments), kind)


def override(config: Config, arguments: list[str]) -> Config:
    """A configuration changed by arguments, checked as a whole."""
    values = asdict(config)  # type: ignore[call-overload]
    for key, value in _read_arguments(arguments).items():
        old = values.get(key)
        values[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return build(values, type(config))


def build(values: dict[str, Any], kind: type[Config] = RunConfig) -> Config:
    """A nested mapping to a configuration, checked as arguments are."""
    try:
        check_plain(values)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    known, env = list(_keys(kind)), getattr(kind(), "env", None)
    if env is None and "env" in values:
        raise ConfigError(f"study={kind().study} has no env; its settings are {', '.join(known)}")  # type: ignore[attr-defined]
    for key in _leaves(values):
        if env is None or not key.startswith("env."):
            _check_key(key, known)
    groups = {"env", *(name.partition(".")[0] for name in known if "." in name)}
    for key, value in values.items():
        if isinstance(value, dict) and key not in groups:
            _check_key(key, known)
            raise ConfigError(f"{key!r} is one setting, got the group of settings {value!r}")
    if not isinstance(values.get("env", {}), dict):
        raise ConfigError(f"env: expected a group of settings with an id, got {values['env']!r}")
    if env is not None:
        values = {**values, "env": {**env, **values.get("env", {})}}
    config: Any = _typed(kind, _with_none(values, get_type_hints(kind)))
    if env is not None:
        config.env = _check_environment(config.env)
    _check_ranges(config, known)
    if kind is RunConfig:
        _check_shapes(config)
    return config


def load(folder: Path, kind: type[Config] = RunConfig) -> Config:
    """The configuration of a run folder, of a training or of a study of another `kind`."""
    path = folder / "config.yaml"
    if not os.path.isfile(path):  # which no name is too long for
        raise ConfigError(f"{folder} is no run folder: it has no config.yaml")
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} can't be read: {said(error)}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no settings of a run")
    study, wanted = values.get("study", RunConfig.study), kind().study  # type: ignore[attr-defined]
    if study != wanted:
        raise ConfigError(f"{folder} is a run of study={study}, not of {wanted}: say study={study} as well")
    return build(values, kind)


def to_yaml(config: Any) -> str:
    """The configuration as `load` reads it."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def _read_arguments(arguments: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals or not key:
            raise ConfigError(f"expected key=value, got {argument!r}; for example env=goto or seed=1")
        _put(values, "env.id" if key == "env" else key, (text or None) if key in TEXTS else read_value(text))
    return values


def _typed(kind: type, values: dict[str, Any]) -> Any:
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), OmegaConf.create(values)))
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "the configuration"
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from None


def _with_none(values: dict[str, Any], hints: dict[str, Any]) -> dict[str, Any]:
    """The same settings with None for the word none, where none is a value."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        hint = hints.get(key)
        if isinstance(value, dict) and is_dataclass(hint):
            found[key] = _with_none(value, get_type_hints(hint))
        else:
            found[key] = None if value == "none" and NoneType in get_args(hint) else value
    return found


def _check_key(key: str, known: list[str]) -> None:
    if key not in known:
        meant = [name for name in known if name.rpartition(".")[2] == key]  # psi for agent.psi
        near = meant[0] if len(meant) == 1 else nearest(key, known)
        raise ConfigError(f"there is no setting {key!r}; did you mean {near!r}?")


def _keys(kind: type, prefix: str = "") -> list[str]:
    names = []
    for item in fields(kind):
        default = item.default_factory() if callable(item.default_factory) else item.default
        if is_dataclass(default):
            names += _keys(type(default), f"{prefix}{item.name}.")
        elif item.name != "env":
            names.append(prefix + item.name)
    return names


def _check_environment(env: dict[str, Any]) -> dict[str, Any]:
    """A world's parameters by name and type, from its constructor; other environments check their own."""
    name = env["id"]
    if not isinstance(name, str):
        raise ConfigError(f"env: expected the name of an environment, got {name!r}")
    if ":" in name or not (is_world(name) or name.startswith("UniEnv/")):
        return env
    try:
        kind, _ = world_class(name)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    known = [key for key in parameters_of(kind) if key not in ("backend", "device", "world")]
    hints = get_type_hints(kind.__init__)
    env = _with_none(env, hints)
    for key, value in env.items():
        if key == "id":
            continue
        if key not in known:
            near = f"did you mean 'env.{nearest(key, known)}'?" if known else "it has none"
            raise ConfigError(f"{name} has no setting {'env.' + key!r}; {near}")
        _check_type(f"env.{key}", value, hints.get(key, object))
    return env


def _check_type(key: str, value: Any, hint: Any) -> None:
    allowed = get_args(hint) or (hint,)
    kinds = tuple(kind for kind in allowed if isinstance(kind, type))
    fits = isinstance(value, kinds) or (float in kinds and isinstance(value, int))
    if not fits or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join("none" if kind is NoneType else kind.__name__ for kind in kinds)
        raise ConfigError(f"{key}: expected {names}, got {value!r}")


_RANGES: dict[str, tuple[float, float]] = {
    "steps": (1, 1e15), "episodes": (2, 1e9), "seed": (0, 2**31 - 1), "ray.workers": (0, 4096), "until": (0.0, 1.0),
    "ppo.worlds": (1, 1 << 20), "ppo.play": (0.0, 1.0),
    "ppo.horizon": (1, 1 << 16), "ppo.epochs": (1, 1000), "ppo.minibatches": (1, 1 << 20),
    "ppo.lr": (0.0, 10.0), "ppo.gamma": (0.0, 1.0), "ppo.lam": (0.0, 1.0), "ppo.clip": (1e-6, 10.0),
    "ppo.entropy": (0.0, 1e3), "ppo.feedback": (0.0, 1e3), "ppo.value": (0.0, 1e3), "ppo.max_grad_norm": (1e-9, 1e9),
    "agent.dim": (4, 4096), "agent.queries": (1, 256), "agent.layers": (1, 64), "agent.heads": (1, 64),
    "agent.hidden": (4, 1 << 14), "agent.imagine": (0, 64), "ppo.evolution": (0.0, 1e3),
    "batch": (1, 1 << 16), "lr": (0.0, 10.0), "stage1": (1, 1e9), "stage2": (1, 1e9), "vocabulary": (261, 1 << 20),
    "length": (2, 1 << 16), "vae.width": (4, 1 << 14), "vae.layers": (1, 256), "vae.heads": (1, 256),
    "vae.latent": (3, 1024), "vae.patch": (1, 16), "vae.kl": (0.0, 1e3), "vae.mask_weight": (0.0, 1e3),
    "vae.mask_ratio": (0.0, 1.0), "prior.width": (4, 1 << 14), "prior.layers": (1, 256), "prior.heads": (1, 256),
    "prior.block": (1, 1024), "latent.vae": (0.0, 1e3), "latent.flow": (0.0, 1e3), "latent.reference": (0.0, 1e3),
    "margin": (1e-6, 1.0), "samples": (100, 1e8), "history": (1, 16), "horizon": (1, 1 << 16), "null": (19, 10_000),
    "seeds": (1, 1000), "port": (0, 65535),
}  # fmt: skip


def _check_ranges(config: Any, known: list[str]) -> None:
    for key, (low, high) in _RANGES.items():
        if key not in known:
            continue
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        if isinstance(value, (int, float)) and not low <= value <= high:  # and no list, as seeds are in some studies
            raise ConfigError(f"{key}: expected a number from {low:g} to {high:g}, got {value}")


def _check_shapes(config: RunConfig) -> None:
    try:
        check_bridge(config.agent.text, config.agent.image, config.agent.bridge)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if config.agent.dim % config.agent.heads or config.agent.dim % 4:
        raise ConfigError(
            f"agent.dim: expected a multiple of 4 and of agent.heads={config.agent.heads}, got {config.agent.dim}"
        )
    if config.agent.imagine and config.env.get("signal") == "preference":
        raise ConfigError(
            "agent.imagine: imagined rollouts need rewards from 0 on, and env.signal=preference has -1; take 0 or none"
        )
    share = config.ppo.worlds // max(1, config.ray.workers)
    if config.ppo.worlds % max(1, config.ray.workers) or share < config.ppo.minibatches:
        raise ConfigError(
            f"ppo.worlds: expected a multiple of ray.workers={config.ray.workers} with at least "
            f"ppo.minibatches={config.ppo.minibatches} worlds a worker, got {config.ppo.worlds}"
        )


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{key!r} is given both as a value and as a group of settings")
    if isinstance(values.get(last), dict):
        raise ConfigError(f"{key!r} is a group of settings; set {key}.<name>")
    values[last] = value


def _leaves(values: dict[str, Any], prefix: str = "") -> list[str]:
    names = []
    for key, value in values.items():
        nested = isinstance(value, dict) and not (prefix == "" and key == "env")
        names += _leaves(value, f"{prefix}{key}.") if nested else [f"{prefix}{key}"]
        if prefix == "" and key == "env":
            names.pop()
    return names
