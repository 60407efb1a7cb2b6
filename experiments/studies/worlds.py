"""List the worlds: what they show, how one acts in them, what can be turned, and their exact non-separability."""

import time
from dataclasses import dataclass, field
from typing import Any

from gymnasium import spaces
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.config import ConfigError, parse
from unienv.modality import MODALITIES
from unienv.registry import make_world, needs, parameters_of, world_class, world_ids
from unienv.separability.draws import NotEnumerable
from unienv.separability.exact import exact
from unienv.world import World

_ALL = "all"
_COUPLINGS = (0.0, 0.25, 0.5, 0.75, 1.0)
_FIXED = ("signal", "backend", "device")  # parameters that every world has


@dataclass
class WorldsConfig:
    """One listing."""

    study: str = "worlds"
    env: dict[str, Any] = field(default_factory=lambda: {"id": _ALL})  # all, or one of them
    measure: bool = True  # whether to enumerate the small versions
    json: bool = False  # whether the last line of output is one JSON object


CONFIG = WorldsConfig


def prepare(arguments: list[str]) -> tuple[WorldsConfig, None]:
    """A checked configuration; a listing leaves no folder."""
    config = parse(arguments, WorldsConfig)
    given = [key for key in config.env if key != "id"]
    if given:
        raise ConfigError(f"a listing shows each world as it is; take out env.{given[0]}")
    _chosen(config)
    return config, None


def run(config: WorldsConfig, folder: None, console: Console) -> dict[str, Any]:
    """Describe the worlds, measure their small versions, and tell."""
    del folder
    worlds = []
    for id in _chosen(config):
        with console.status(f"enumerating {id}"):
            worlds.append(tell(id, config.measure))
        _print(worlds[-1], console)
    return {"worlds": worlds}


def tell(id: str, measure: bool = True) -> dict[str, Any]:
    """What there is to know about a registered world, as plain data."""
    kind, defaults = world_class(id)
    settings = {name: p.default for name, p in parameters_of(kind).items() if name not in _FIXED} | defaults
    missing = needs(kind)
    told: dict[str, Any] = {"id": id, "about": _about(kind), "needs": missing, "small": dict(kind.small)}
    told["parameters"] = {name: None if name in missing else value for name, value in settings.items()}
    if missing:
        return told | {"observation": {}, "action": None, "exact": None, "dial": None}
    world = make_world(id)
    shapes = {m: list(box.shape or ()) for m, box in world.observation_space.spaces.items()}
    told |= {"observation": {m: shapes[m] for m in MODALITIES if m in shapes}}
    told |= {"vocabulary": len(world.vocabulary), "action": say_actions(world), "horizon": world.horizon}
    if not measure:
        return told | {"exact": None, "dial": None}
    turned = "coupling" in settings
    return told | {
        "exact": measure_small(id),
        "dial": [[c, (measure_small(id, coupling=c) or {}).get("feedback")] for c in _COUPLINGS] if turned else None,
    }


def measure_small(id: str, **parameters: Any) -> dict[str, Any] | None:
    """Nats a step of a world's small version under uniform actions; None where it can't be enumerated."""
    world = make_world(id, **{**world_class(id)[0].small, **parameters})
    began = time.perf_counter()
    try:
        told = exact(world)
    except NotEnumerable:
        return None
    mean = {
        name: told.total(part, quantity) / told.length
        for name, part, quantity in (
            ("feedback", "feedback", "nonseparability"),
            ("information", "feedback", "information"),
            ("signal", "signal", "nonseparability"),
            ("output", "output", "nonseparability"),
        )
    }
    return mean | {"states": told.states, "length": told.length, "seconds": round(time.perf_counter() - began, 2)}


def say_actions(world: World) -> str:
    """The action space in words: its parts, the choices of each, and their names."""
    space = world.action_space
    if isinstance(space, spaces.Discrete):
        return f"one of {space.n}" + (f": {', '.join(world.action_names)}" if world.action_names else "")
    leaves = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    parts = sorted(leaves.items(), key=lambda part: [*MODALITIES, part[0]].index(part[0]))
    return "; ".join(f"{key + ': ' if key else ''}{_say_leaf(leaf)}" for key, leaf in parts)


def _say_leaf(leaf: spaces.Space) -> str:
    if isinstance(leaf, spaces.Discrete):
        return f"one of {leaf.n}"
    assert isinstance(leaf, spaces.MultiDiscrete)
    sizes = sorted(set(leaf.nvec.tolist()))
    return f"{len(leaf.nvec)} times one of {' or '.join(map(str, sizes))}"


def _chosen(config: WorldsConfig) -> list[str]:
    name = str(config.env["id"])
    if name == _ALL:
        return world_ids()
    kind, _ = world_class(name)  # which imports the module of module:Id
    ids = [id for id in world_ids() if world_class(id)[0] is kind]
    if not ids:
        raise ConfigError(f"{name} is not registered; call unienv.register for it")
    return ids


def _about(kind: type[World]) -> str:
    return " ".join((kind.__doc__ or "").strip().split("\n\n")[0].split())


def _print(told: dict[str, Any], console: Console) -> None:
    """One world as a block of lines."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    shapes = [f"{m} {' x '.join(map(str, shape))}" for m, shape in told["observation"].items()]
    settings = [f"{key}={'' if value is None else value}" for key, value in told["parameters"].items()]
    rows = {
        "observation": ", ".join(shapes),
        "actions": told["action"],
        "settings": " ".join(settings),
        "needs": ", ".join(told["needs"]),
        "NS_fb": _say_measure(told),
        "dial": _say_dial(told["dial"]),
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    console.print(Text.assemble((told["id"], "bold"), f"  {told['about']}"))
    console.print(table)
    console.print()


def _say_measure(told: dict[str, Any]) -> str:
    found = told["exact"]
    if found is None:
        return ""
    share = f", {found['feedback'] / found['information']:.0%} of I(X;Y)" if found["information"] > 1e-9 else ""
    small = " ".join(f"{key}={value}" for key, value in told["small"].items())
    version = f"small version ({small})" if small else "as it is"
    return (
        f"{_nats(found['feedback'])} nats a step{share}; NS_out {_nats(found['output'])}; "
        f"{version}, {found['states']:,} states, {found['seconds']:.1f} s"
    )


def _say_dial(dial: list[list[Any]] | None) -> str:
    points = [(c, value) for c, value in dial or [] if value is not None]
    return "NS_fb " + ", ".join(f"{_nats(value)} at coupling {c:g}" for c, value in points) if points else ""


def _nats(value: float) -> str:
    return f"{max(value, 0.0):.4f}"
