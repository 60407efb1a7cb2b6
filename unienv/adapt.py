"""Any Gymnasium environment with pixels and a text in its observation, in the form that encoders read.

    make_env("match")                     a world of this package
    make_env("BabyAI-GoToLocal-v0")       any registered Gymnasium id, adapted
    make_vector("my_module:Mine-v0", 16)  an id that `my_module` registers when it is imported, adapted
    dataset(texts, images, labels)        a world of these arrays, see `unienv.worlds.dataset`

To adapt is to find the text and the pixels, and to read the text as word ids. The words are those heard in a survey of
short episodes with fixed seeds, so that every process finds the same vocabulary; other words fall into hash buckets.
"""

import contextlib
import copy
import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from unienv.backend import check_backend
from unienv.errors import name_of
from unienv.modality import (
    IMAGE,
    MODALITIES,
    TEXT,
    VIDEO,
    Vocabulary,
    check_part,
    pixel_space,
    text_space,
)
from unienv.registry import (
    import_module,
    imported_id,
    world_id,
    world_ids,
    world_names,
)
from unienv.spelling import nearest
from unienv.words import MAX_IDS, split_words
from unienv.worlds.dataset import dataset as dataset

# Keys that name a modality, the preferred first. Another key of the right form will do where it is the only one.
NAMES = {
    TEXT: ("text", "mission", "instruction", "instructions", "goal", "prompt", "question", "task"),
    IMAGE: ("image", "pixels", "rgb", "screen", "frame", "camera"),
    VIDEO: ("video", "frames", "clip"),
}
BUCKETS = 32
_RANKS = {TEXT: 1, IMAGE: 3, VIDEO: 4}
_EPISODES, _STEPS, _SAMPLES = 200, 4, 256  # of a survey


def make_env(name: str, render_mode: str | None = None, **parameters: Any) -> gym.Env:
    """One environment that observes a Dict with text (L,) int32 and image (H, W, 3) or video (F, H, W, 3) uint8.

    Args:
        name: a world ("match" or "UniEnv/Match-v0"), a registered Gymnasium id, or "module:Id".
        render_mode: as the environment understands it, usually None or "rgb_array".
        parameters: the environment's own, such as `size=8`.

    Returns:
        The environment; its `get_wrapper_attr("vocabulary")` is the `Vocabulary` of its text.

    Raises:
        ValueError: one line, for an unknown name or parameter, or an observation without text or pixels.
    """
    spec = _find_spec(name)
    if render_mode is not None:  # which not every constructor takes
        parameters["render_mode"] = render_mode
    if spec.id in world_ids():
        _check_world(spec, parameters)
        return gym.make(spec, **parameters)
    return Adapted(_make(spec, parameters), *_survey(spec, parameters))


def make_vector(
    name: str,
    num_envs: int,
    autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    backend: str = "numpy",
    device: str | None = None,
    **parameters: Any,
) -> VectorEnv:
    """N environments in step, and the `vocabulary` of their text; slot i of `reset(seed=s)` starts from seed s + i.

    Args:
        name: as in `make_env`.
        num_envs: N.
        autoreset_mode: when an ended episode makes way for the next, see `gymnasium.vector.AutoresetMode`.
        backend: "numpy", or for worlds "torch".
        device: torch device on which worlds live; None for the backend's default.
        parameters: the environment's own, and `render_mode`.

    Raises:
        ValueError: as in `make_env`.
    """
    spec = _find_spec(name)
    if spec.id in world_ids():
        _check_world(spec, parameters)
        if (backend, device) != ("numpy", None):  # which not every world knows
            parameters |= {"backend": backend, "device": device}
        return gym.make_vec(spec, num_envs, autoreset_mode=autoreset_mode, **parameters)
    if num_envs < 1:
        raise ValueError(f"num_envs must be at least 1, got {num_envs}")
    if check_backend(backend, device)[0] != "numpy":
        raise ValueError(f"{spec.id} runs on numpy; backend={backend!r} is for the worlds {', '.join(world_names())}")
    heard = _survey(spec, parameters)
    makers = [lambda: Adapted(_make(spec, parameters), *heard)] * num_envs
    return AdaptedVectorEnv(makers, autoreset_mode=autoreset_mode)


class Adapted(gym.Wrapper, RecordConstructorArgs):
    """An environment whose observation is text, image and video alone, and whose steps report success.

    Strings become lower-case words and marks of punctuation. Text that comes as ids keeps them; they are words of the
    environment's own `vocabulary`, or else numbers. A step's `info["success"]` is the environment's own "success" or
    "is_success", or else whether it terminated with a positive reward.

    Args:
        env: observes a Dict with text and pixels (uint8, channels last, 1 or 3 of them).
        words: words of a text of strings; all others share `BUCKETS` ids.
        length: L, the number of words to which a string is padded or cut.

    Raises:
        ValueError: one line, when the observation has no text or no pixels.
    """

    def __init__(self, env: gym.Env, words: tuple[str, ...] = (), length: int = 0) -> None:
        RecordConstructorArgs.__init__(self, words=words, length=length)
        gym.Wrapper.__init__(self, env)
        self._keys = _modality_keys(env)
        space = cast(spaces.Dict, env.observation_space)
        self._source = source = {modality: cast(spaces.Box, space[key]) for modality, key in self._keys.items()}
        self._strings = _holds_strings(source[TEXT])
        self._length = length if self._strings else source[TEXT].shape[0]
        self.vocabulary = Vocabulary(words, BUCKETS) if self._strings else _vocabulary_of_ids(env, source[TEXT])
        pixels = {modality: pixel_space((*box.shape[:-1], 3)) for modality, box in source.items() if modality != TEXT}
        self.observation_space = spaces.Dict({TEXT: text_space(self.vocabulary, self._length), **pixels})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """The environment's reset, its observation adapted; a seed of over 31 bits, which many refuse, is folded."""
        if seed is not None and seed >= 1 << 31:
            seed = int(np.random.SeedSequence(seed).generate_state(1)[0] >> 1)
        observation, info = self.env.reset(seed=seed, options=options)
        return self._adapt(observation), info

    def step(self, action: Any) -> tuple[dict, Any, bool, bool, dict]:
        """The environment's step, its observation adapted and success added to its info."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        success = info.get("success", info.get("is_success", terminated and float(reward) > 0))
        return self._adapt(observation), reward, terminated, truncated, {**info, "success": bool(success)}

    def _adapt(self, observation: dict[str, Any]) -> dict[str, np.ndarray]:
        return {modality: self._read(modality, observation[key]) for modality, key in self._keys.items()}

    def _read(self, modality: str, value: Any) -> np.ndarray:
        """One modality, always copied: an environment may draw every step into the same array."""
        if modality == TEXT and self._strings:
            if not isinstance(value, str):
                raise ValueError(f"{name_of(self)} observes text outside its space: expected a string, got {value!r}")
            return self.vocabulary.encode(" ".join(split_words(value)), self._length)
        value, box = np.asarray(value), self._source[modality]
        check_part(value, box, box.shape, f"{name_of(self)} observes {modality}")
        if modality == TEXT:
            return np.array(value, np.int32)
        return np.repeat(value, 3, axis=-1) if value.shape[-1] == 1 else np.array(value)


class AdaptedVectorEnv(SyncVectorEnv):
    """Adapted environments, stepped in turn.

    In processes of their own, sixteen BabyAI levels are no faster on two cores and 1.6 times as fast on four, at the
    price of a slow start and of a main module that must be safe to import again.
    """

    @property
    def vocabulary(self) -> Vocabulary:
        """Words of the text modality."""
        return self.envs[0].get_wrapper_attr("vocabulary")


def _find_spec(name: str) -> EnvSpec:
    """The spec behind a world's short name, an id or "module:Id", once what registers it is imported."""
    id = imported_id(name)
    if id not in gym.registry and id.lower().startswith(("babyai-", "minigrid-")):
        try:
            import_module("minigrid", name)
        except ValueError:
            raise ValueError(f"{name!r} needs minigrid; pip install 'unienv-lab[minigrid]'") from None
    spec = gym.registry.get(id) or gym.registry.get(world_id(id))
    if spec is None:
        closest = nearest(id, [*world_names(), *gym.registry])
        raise ValueError(f"there is no environment {name!r}; did you mean {closest!r}?")
    return spec


def _check_world(spec: EnvSpec, parameters: dict[str, Any]) -> None:
    """A world is the one that its id names: by a parameter of that name settings could import any module."""
    if "world" in parameters:
        raise ValueError(f"{spec.id} is the world that it was registered with; it takes no parameter 'world'")


def _modality_keys(env: gym.Env) -> dict[str, str]:
    """Which key of an environment's observation is which modality, in the order text, image, video."""
    space, name = env.observation_space, name_of(env)
    needed = "text is a space of strings, an image a uint8 Box (H, W, 3)"
    if not isinstance(space, spaces.Dict):
        raise ValueError(f"{name} observes a {type(space).__name__}, expected a Dict with text and image; {needed}")
    found = {modality: _pick(space, modality, name) for modality in MODALITIES}
    missing = [] if found[TEXT] else [TEXT]
    missing += [] if found[IMAGE] or found[VIDEO] else ["image or video"]
    if missing:
        lacks = " and no ".join(missing)
        raise ValueError(f"{name} has no {lacks} in its observation, its keys are {sorted(space.spaces)}; {needed}")
    return {modality: key for modality, key in found.items() if key}


def _make(spec: EnvSpec, parameters: dict[str, Any]) -> gym.Env:
    """`gymnasium.make`, with pixels for MiniGrid and with one line for an unknown parameter."""
    try:
        return _with_pixels(gym.make(spec, **parameters))
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None or unknown[1] not in parameters:
            raise
        known = ", ".join(_parameters_of(spec)) or "none"
        raise ValueError(f"{spec.id} has no parameter {unknown[1]!r}; it takes {known}") from None


def _parameters_of(spec: EnvSpec) -> list[str]:
    """Parameters that an environment's constructor takes, those that it hands on to its base classes included."""
    creator: Any = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    named = [p for kind in getattr(creator, "__mro__", [creator]) for p in inspect.signature(kind).parameters.values()]
    return list(dict.fromkeys(p.name for p in named if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)))


class _Hushed(gym.Wrapper):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        with contextlib.redirect_stdout(None):  # BabyAI prints every mission that it drew and rejected
            return self.env.reset(seed=seed, options=options)


def _with_pixels(env: gym.Env) -> gym.Env:
    """The environment, seen in pixels if it is of MiniGrid, whose own "image" holds ids of objects."""
    minigrid = sys.modules.get("minigrid")
    if minigrid is None or not isinstance(env.unwrapped, minigrid.minigrid_env.MiniGridEnv):
        return env
    return minigrid.wrappers.RGBImgPartialObsWrapper(_Hushed(env), tile_size=8)


def _survey(spec: EnvSpec, parameters: dict[str, Any]) -> tuple[tuple[str, ...], int]:
    """Words that an instance of its own was heard to say, and a length with room for its sentences."""
    quiet = {key: value for key, value in parameters.items() if (key, value) != ("render_mode", "human")}  # no window
    with _make(spec, quiet) as env:
        said = [split_words(sentence) for sentence in _sentences(env, _modality_keys(env)[TEXT])]
    longest = max(map(len, said), default=0)
    return tuple(sorted({word for sentence in said for word in sentence})), longest + longest // 3 + 2


def _sentences(env: gym.Env, key: str) -> Iterator[str]:
    """Samples of a grammar, then what short random episodes say; nothing for text of ids."""
    observed, actions = copy.deepcopy((env.observation_space, env.action_space))  # which instances may share
    space = cast(spaces.Dict, observed)[key]
    if not _holds_strings(space):
        return
    if not isinstance(space, spaces.Text):  # which samples letters
        space.seed(0)
        yield from (space.sample() for _ in range(_SAMPLES))
    actions.seed(0)
    for seed in range(_EPISODES):
        observation, _ = env.reset(seed=seed)
        yield observation[key]
        for _ in range(_STEPS):
            observation, _, terminated, truncated, _ = env.step(actions.sample())
            yield observation[key]
            if terminated or truncated:
                break


def _pick(space: spaces.Dict, modality: str, name: str) -> str | None:
    """The key of a modality: by its name, or the only one of its form."""
    candidates = [key for key in space.spaces if _has_form(modality, key, space[key])]
    named = [key for key in NAMES[modality] if key in candidates]
    if not named and len(candidates) > 1:
        raise ValueError(f"{name} has several keys that may be its {modality}: {candidates}; call one {modality!r}")
    return next(iter(named + candidates), None)


def _has_form(modality: str, key: str, space: gym.Space) -> bool:
    if not isinstance(space, spaces.Box) or len(space.shape) != _RANKS[modality]:
        return modality == TEXT and _holds_strings(space)
    if modality == TEXT:  # a row of integers may be anything, unless its key says text
        return key in NAMES[TEXT] and np.issubdtype(space.dtype, np.integer)
    return space.dtype == np.uint8 and space.shape[-1] in (1, 3)


def _holds_strings(space: gym.Space) -> bool:
    return space.dtype is not None and space.dtype.kind == "U"  # spaces.Text, MiniGrid's MissionSpace and their like


def _vocabulary_of_ids(env: gym.Env, box: spaces.Box) -> Vocabulary:
    """The environment's own vocabulary, or else the numbers up to its highest id."""
    low, high = int(box.low.min()), int(box.high.max())
    vocabulary = env.get_wrapper_attr("vocabulary") if env.has_wrapper_attr("vocabulary") else None
    if not isinstance(vocabulary, Vocabulary):
        vocabulary = Vocabulary(map(str, range(1, min(high, MAX_IDS) + 1)))
    if low < 0 or high >= len(vocabulary):
        raise ValueError(f"{name_of(env)} writes ids from {low} to {high}, expected 0 to at most {len(vocabulary) - 1}")
    return vocabulary
