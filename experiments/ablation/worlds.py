"""What the worlds of an ablation study are: pictures with their text, what they say of themselves, actions, signal.

All is drawn and written down with the figures of the study, so that its report needs no world to be shown.
"""

import inspect
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np

from experiments.ablation.plan import AblationConfig, Cell, Trial, cells, run_config
from experiments.game import Game
from experiments.page import picture_uri
from unienv.adapt import make_env
from unienv.env import WorldEnv
from unienv.errors import named
from unienv.modality import IMAGE, TEXT, VIDEO, check_modalities
from unienv.registry import parameters_of, world_class
from unienv.signal import SIGNALS
from unienv.world import World

_SEEDS = 16  # episodes from which those that are shown are taken
_SIDE = 256  # pixels of a picture, at most; of larger ones every second, third, .. is shown
_APART = ("coupling", "signal", "backend", "device")  # parameters that are told elsewhere or change nothing
_TOLD = (TEXT, "oracle")  # what two starts of episodes should differ in, to be worth showing both
_ENTRY = re.compile(r"(?:^|(?<=[.] ))(Why [^.:]+|Observation|Actions|Feedback|Reward|Start|End|Args): ")


def worlds(config: AblationConfig) -> dict[str, dict[str, Any]]:
    """What there is to know of each world of a study, by its name there, as plain data.

    A world is shown at its largest coupling, with the parameters of its trials. Of one that can't be made there is
    only "error", a line: the figures of a study must not be lost for a picture.
    """
    shown = {cell.env: cell for cell in sorted(cells(config), key=lambda cell: cell.coupling or 0.0)}
    return {env: _tell(config, shown[env]) for env in config.worlds}


def _tell(config: AblationConfig, cell: Cell) -> dict[str, Any]:
    parameters = dict(run_config(config, Trial(cell, config.psi[0], config.seeds[0])).env)
    name = str(parameters.pop("id"))
    try:
        with closing(make_env(name, **parameters)) as env:
            played = env.unwrapped
            ours = _of_world(name, played.world, parameters) if isinstance(played, WorldEnv) else None
            return {"coupling": cell.coupling, **_of_env(env), **(ours or _of_other(env, parameters))}
    except Exception as error:  # an environment of the user's own may raise anything
        return {"error": named(error)}


def _of_env(env: gym.Env) -> dict[str, Any]:
    """What any environment shows: its id, spaces, names of actions, and the starts of two episodes."""
    name = env.spec.id if env.spec else type(env.unwrapped).__name__
    first, *others = _starts(env)
    return {
        "id": name,
        "observation": {m: list(box.shape) for m, box in check_modalities(env.observation_space, name).items()},
        "vocabulary": len(env.get_wrapper_attr("vocabulary")),
        "actions": "; ".join(_say_actions(group) for group in Game(env, seed=0).groups),
        "examples": [first, max(others, key=lambda start: sum(start[key] != first[key] for key in _TOLD))],
    }


def _of_world(name: str, world: World, parameters: dict[str, Any]) -> dict[str, Any]:
    """What a world says of itself in its docstring, its rule G and the parameters that it runs with."""
    kind, registered = world_class(name)
    usual = {key: p.default for key, p in parameters_of(kind).items()} | registered
    chosen, said = usual | parameters, entries(kind)
    signal = str(chosen.get("signal", "reward"))
    rule = said.get("Reward", "") if signal == "reward" else (inspect.getdoc(SIGNALS[signal]) or "").splitlines()[0]
    return {
        "about": said[""],
        "why": {heading: text for heading, text in said.items() if heading.startswith("Why")},
        "signal": f"{signal}: {rule}".rstrip(": ."),
        "horizon": world.horizon,
        "end": said.get("End", "").rstrip("."),
        "parameters": {key: value for key, value in chosen.items() if key not in _APART},
        "small": dict(world.small),
    }


def _of_other(env: gym.Env, parameters: dict[str, Any]) -> dict[str, Any]:
    """What can be known of an environment that is no world: nobody says why it should need both modalities."""
    played, limit = env.unwrapped, env.spec.max_episode_steps if env.spec else None
    most = getattr(played, "max_steps", None)  # MiniGrid's own way to end an episode
    return {
        "about": entries(type(played))[""],
        "why": {},
        "signal": "the environment's own reward",
        "horizon": limit or (most if isinstance(most, int) else None),
        "end": "",
        "parameters": parameters,
        "small": {},
    }


def entries(kind: type) -> dict[str, str]:
    """What a class's docstring says under its headings, as "Start: .."; under "" its first paragraph below titles."""
    doc = inspect.cleandoc(kind.__doc__ or "").replace("`", "")
    below = (text for text in doc.split("\n\n") if text.strip() and not text.startswith("#"))
    paragraphs = [" ".join(text.split()) for text in below]
    said = {"": paragraphs[0] if paragraphs else ""}
    for paragraph in paragraphs[1:]:
        _, *parts = _ENTRY.split(paragraph)
        said |= {heading: text.strip() for heading, text in zip(parts[::2], parts[1::2], strict=True)}
    return said


def _say_actions(group: dict[str, Any]) -> str:
    """The choices of parts of an action that belong together: their names, or how many."""
    labels, sizes = group["labels"] or [], group["sizes"]
    numbered = all(label.removeprefix("action ").isdecimal() for label in labels)
    many = f"one of {' or '.join(map(str, sorted(set(sizes))))}"
    choices = many if numbered else ", ".join(label or "nothing" for label in labels)
    owner = f"{group['name']}: " if group["name"] else ""
    return f"{owner}{choices}" if len(sizes) == 1 else f"{owner}{len(sizes)} times {choices}"


def _starts(env: gym.Env) -> Iterator[dict[str, Any]]:
    """The starts of episodes, drawn, and what the oracle does there; None where there is no oracle."""
    played, vocabulary = env.unwrapped, env.get_wrapper_attr("vocabulary")
    for seed in range(_SEEDS):
        observation, _ = env.reset(seed=seed)
        best = played.world.name_action(played.oracle()) if isinstance(played, WorldEnv) else None
        yield {**_draw(observation, vocabulary), "oracle": best}


def _draw(observation: dict[str, np.ndarray], vocabulary: Any) -> dict[str, Any]:
    """An observation for a page: its text in words, its image and each frame of its video as pictures."""
    drawn: dict[str, Any] = {TEXT: vocabulary.decode(observation[TEXT])}
    if IMAGE in observation:
        drawn[IMAGE] = picture_uri(_thin(observation[IMAGE]))
    if VIDEO in observation:
        drawn[VIDEO] = [picture_uri(_thin(frame)) for frame in observation[VIDEO]]
    return drawn


def _thin(pixels: np.ndarray) -> np.ndarray:
    every = -(-max(pixels.shape[:2]) // _SIDE)
    return pixels[::every, ::every]
