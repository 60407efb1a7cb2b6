"""Which worlds there are, and how they become Gymnasium ids `UniEnv/<Name>-v0`."""

import importlib
import inspect
import re
from types import ModuleType
from typing import Any

import gymnasium as gym

from unienv.spelling import nearest
from unienv.world import World

NAMESPACE = "UniEnv"
DRIVER, VECTOR_DRIVER = "unienv.env:WorldEnv", "unienv.vector:WorldVectorEnv"

# name -> entry point. Bump the version on any change of rules, spaces or default parameters.
WORLDS = {
    "Match-v0": "unienv.worlds.match:Match",
    "Goto-v0": "unienv.worlds.goto:Goto",
    "Describe-v0": "unienv.worlds.describe:Describe",
    "Chase-v0": "unienv.worlds.chase:Chase",
    "Dataset-v0": "unienv.worlds.dataset:Dataset",
    "Rules-v0": "unienv.worlds.rules:Rules",
    "Manual-v0": "unienv.worlds.manual:Manual",
    "Terminal-v0": "unienv.worlds.terminal:Terminal",
}


class UnknownParameter(ValueError, TypeError):
    """A parameter that a world does not take; a TypeError too, as Python's own, which TorchRL's `GymEnv` looks for."""


def register(name: str, entry_point: str, **parameters: Any) -> str:
    """Register a world as the Gymnasium id `UniEnv/<name>`, single and vectorised.

    Args:
        name: with version, as "Match-v0".
        entry_point: "module:Class" of a `World`; a string, so that specs stay serialisable.
        parameters: constructor arguments other than the class's defaults, plain JSON values.

    Returns:
        The id.

    Raises:
        ValueError: the id is taken.
    """
    id = f"{NAMESPACE}/{name}"
    if not re.search(r"-v\d+$", name):
        raise ValueError(f"a world's name ends in its version, such as '{name}-v0', got {name!r}")
    if id in gym.registry:
        raise ValueError(f"{id} is registered already; choose another name or raise the version")
    gym.register(
        id,
        entry_point=DRIVER,
        vector_entry_point=VECTOR_DRIVER,
        kwargs={"world": entry_point, **parameters},
    )
    return id


def make_world(world: str | World, **parameters: Any) -> World:
    """A world from its name ("match"), id ("UniEnv/Match-v0", "module:Id") or entry point ("module:Class").

    Raises:
        ValueError: one line with the nearest valid name, for an unknown world or parameter; or what it `needs`.
    """
    if isinstance(world, World):
        if parameters:
            raise ValueError(f"a world that is built already takes no parameters, got {', '.join(parameters)}")
        return world
    kind, defaults = world_class(world)
    check_parameters(kind, parameters)
    missing = [name for name in needs(kind) if name not in {**defaults, **parameters}]
    if missing:
        raise ValueError(
            f"{kind.__name__} needs {', '.join(missing)}; give {missing[0]}=.. (in a run env.{missing[0]}=..)"
        )
    return kind(**{**defaults, **parameters})


def world_class(name: str) -> tuple[type[World], dict[str, Any]]:
    """The class behind a world's name, id or entry point, and the parameters it was registered with.

    "module:UniEnv/Mine-v0" imports the module, which registers the id, as in Gymnasium.

    Raises:
        ValueError: one line, for a name behind which there is no world.
    """
    if re.fullmatch(r"[\w.]+:.*-v\d+", name):
        name = imported_id(name)
    entry_point, parameters = name, {}
    if ":" not in name:
        spec = gym.registry.get(name) or gym.registry.get(world_id(name))
        if spec is None or "world" not in spec.kwargs:
            raise ValueError(
                f"there is no world {name!r}; did you mean {nearest(name, world_names() + world_ids())!r}?"
            )
        parameters = dict(spec.kwargs)
        entry_point = parameters.pop("world")
    module, _, attribute = entry_point.partition(":")
    kind = getattr(import_module(module, entry_point), attribute, None)
    if not (isinstance(kind, type) and issubclass(kind, World)):
        raise ValueError(f"{entry_point!r} is no world; expected module:Class of a unienv.World")
    return kind, parameters


def is_world(name: str) -> bool:
    """Whether an environment is a `World` by its name ("match") or id ("UniEnv/Match-v0", "module:UniEnv/Mine-v0").

    Raises:
        ValueError: one line, for a module that is not there.
    """
    id = imported_id(name)
    return (world_id(id) or id) in world_ids()


def imported_id(name: str) -> str:
    """The id in "module:Id", once the module that registers it is imported; a name without a module as it is.

    Raises:
        ValueError: as `import_module`.
    """
    module, _, id = name.rpartition(":")
    if module:
        import_module(module, name)
    return id


def import_module(module: str, name: str) -> ModuleType:
    """A module of the user's own, for what is called `name`.

    Raises:
        ValueError: one line, when it is not there; what it raises itself goes on.
    """
    if module.startswith("."):
        raise ValueError(f"{name!r} should name a module in full, not {module!r}")
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):  # something that the module imports itself is missing
            raise
        hint = "install it or run where it can be imported"
        raise ValueError(f"there is no module {module!r} for {name!r}; {hint}") from None


def world_id(name: str) -> str:
    """Gymnasium id of a short name: "match" -> "UniEnv/Match-v0" (the highest version registered)."""
    versions = [id for id in world_ids() if id.partition("/")[2].rpartition("-v")[0].lower() == name]
    return max(versions, key=lambda id: int(id.rpartition("-v")[2]), default="")


def world_ids() -> list[str]:
    """Ids of all registered worlds."""
    return sorted(id for id, spec in gym.registry.items() if spec.vector_entry_point == VECTOR_DRIVER)


def world_names() -> list[str]:
    """Short names of all registered worlds: "goto", "match"."""
    return sorted({id.partition("/")[2].rpartition("-v")[0].lower() for id in world_ids()})


def parameters_of(kind: type[World]) -> dict[str, inspect.Parameter]:
    """Constructor parameters of a world, by name."""
    named = inspect.signature(kind).parameters.items()
    return {name: p for name, p in named if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def needs(kind: type[World]) -> list[str]:
    """Constructor parameters without a default: a world that has some can't be made by its name alone."""
    return [name for name, parameter in parameters_of(kind).items() if parameter.default is parameter.empty]


def check_parameters(kind: type[World], parameters: dict[str, Any]) -> None:
    """UnknownParameter with the nearest valid name when a world takes no such parameter."""
    known = parameters_of(kind)
    for name in parameters:
        if name not in known:
            near = f"did you mean {nearest(name, known)!r}? It takes {', '.join(known)}" if known else "it takes none"
            raise UnknownParameter(f"{kind.__name__} got an unexpected keyword argument {name!r}; {near}")


def register_builtin_worlds() -> None:
    """Register the table above; called once, when `unienv` is imported."""
    for name, entry_point in WORLDS.items():
        register(name, entry_point)
