"""Wrappers of one environment that observes a Dict of modalities: a world, or what `unienv.adapt` makes.

    env = FlatActions(ReadableText(gym.make("UniEnv/Goto-v0")))
    envs = gym.make_vec("UniEnv/Goto-v0", 8, "sync", wrappers=[functools.partial(MaskModality, modality="text")])

They are recorded in the environment's spec, as Gymnasium's own are, and can be stacked with those.
"""

import copy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers.utils import create_zero_array

from unienv.actions import Actions, first
from unienv.errors import name_of
from unienv.modality import IMAGE, TEXT, VIDEO, pixel_space


class ReadableText(gym.ObservationWrapper, RecordConstructorArgs):
    """The text as a string, for language models and for people: "go to the red ring" instead of word ids.

    Observation: text, a `spaces.Text` of the characters of the vocabulary, words parted by one blank and padding left
        out; the other modalities as they are.

    Args:
        env: its observation has a text of word ids (L,), and `get_wrapper_attr("vocabulary")` tells the words.

    Raises:
        ValueError: there is no text, or no vocabulary to read it by.
    """

    def __init__(self, env: gym.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        modalities = _modalities(env, TEXT)
        tokens = modalities[TEXT]
        if not isinstance(tokens, spaces.Box) or not env.has_wrapper_attr("vocabulary"):
            raise ValueError(
                f"{name_of(env)} has the text {tokens}; expected word ids and a vocabulary to read them by"
            )
        self._vocabulary = env.get_wrapper_attr("vocabulary")
        words = [self._vocabulary.decode([id]) for id in range(1, len(self._vocabulary))]
        length = tokens.shape[0] * (max(map(len, words)) + 1)
        text = spaces.Text(length, min_length=0, charset="".join(sorted({" "}.union(*words))))
        self.observation_space = spaces.Dict({**modalities, TEXT: text})

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """The observation with its text read."""
        return {**observation, TEXT: self._vocabulary.decode(observation[TEXT])}


class MaskModality(gym.ObservationWrapper, RecordConstructorArgs):
    """One modality hidden: padding for a text, black for pixels. What is lost is what that modality was good for.

    Args:
        env: observes a Dict of modalities.
        modality: the one to hide, such as "text".

    Raises:
        ValueError: there is no such modality.
    """

    def __init__(self, env: gym.Env, modality: str) -> None:
        RecordConstructorArgs.__init__(self, modality=modality)
        gym.ObservationWrapper.__init__(self, env)
        self._space = _modalities(env, modality)[modality]
        self._modality = modality

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """The observation without the modality."""
        return {**observation, self._modality: create_zero_array(self._space)}


class ShuffleModality(gym.Wrapper, RecordConstructorArgs):
    """One modality taken from another episode: each modality stays as it was, what hangs together is broken.

    A second, independent environment of the same kind starts anew with every episode, takes the same actions, and lends
    its modality. If its episode ends early, it shows its last observation and at the next step starts another.

    Kept, under actions that are chosen without looking: the law of everything of the environment itself, that is of the
    other modalities, feedback and ends together; and the law of the modality itself, as an environment shows it that is
    restarted at its ends. Broken: given the actions the two are independent, so that the first observation is drawn
    from the product of its marginals P(o^m) P(o^rest). An agent that acts on what it sees drives both with actions that
    fit neither, and meets states in other proportions than before. Rendering shows the environment, not what is lent.

    Args:
        env: observes a Dict of modalities; it is copied, so it can't hold what `copy.deepcopy` refuses.
        modality: the one to lend, such as "text".

    Raises:
        ValueError: there is no such modality.
    """

    def __init__(self, env: gym.Env, modality: str) -> None:
        RecordConstructorArgs.__init__(self, modality=modality)
        gym.Wrapper.__init__(self, env)
        _modalities(env, modality)
        self._modality = modality
        self._other = copy.deepcopy(env)
        self._other_over = True
        self._seeds = np.random.default_rng()  # never the environment's own generator, whose draws stay as they were

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Both environments' reset; the other one's seed is drawn from `seed`."""
        if seed is not None:  # shuffling two modalities, one over the other, must take them from two episodes
            self._seeds = np.random.default_rng([seed, *self._modality.encode()])
        observation, info = self.env.reset(seed=seed, options=options)
        return {**observation, self._modality: self._start_other(options)[self._modality]}, info

    def step(self, action: Any) -> tuple[dict, Any, bool, bool, dict]:
        """The environment's step, with the modality as the other one has it after the same action."""
        observation, *outcome = self.env.step(action)
        lent = self._start_other() if self._other_over else self._step_other(action)
        return {**observation, self._modality: lent[self._modality]}, *outcome  # type: ignore[return-value]

    def close(self) -> None:
        """Close both environments."""
        self._other.close()
        self.env.close()

    def _start_other(self, options: dict[str, Any] | None = None) -> dict[str, Any]:
        self._other_over = False
        return self._other.reset(seed=int(self._seeds.integers(1 << 31)), options=options)[0]

    def _step_other(self, action: Any) -> dict[str, Any]:
        observation, _, terminated, truncated, _ = self._other.step(action)
        self._other_over = terminated or truncated
        return observation


class FrameStack(gym.Wrapper, RecordConstructorArgs):
    """The last F images as a video, next to the image and the other modalities, for agents without memory.

    Observation: video (F, H, W, C), the oldest image first; at the start all F are the first image.

    Args:
        env: observes a Dict with an image and no video.
        frames: F, at least 1.

    Raises:
        ValueError: there is no image, there is a video already, or F is below 1.
    """

    def __init__(self, env: gym.Env, frames: int) -> None:
        RecordConstructorArgs.__init__(self, frames=frames)
        gym.Wrapper.__init__(self, env)
        modalities = _modalities(env, IMAGE)
        if VIDEO in modalities:
            raise ValueError(f"{name_of(env)} observes a video already; frames are stacked where there is none")
        if frames < 1:
            raise ValueError(f"frames must be at least 1, got {frames}")
        shape = modalities[IMAGE].shape or ()
        self._video = np.zeros((frames, *shape), np.uint8)
        self.observation_space = spaces.Dict({**modalities, VIDEO: pixel_space(self._video.shape)})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """The environment's reset; its image fills the video."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._video[:] = observation[IMAGE]
        return {**observation, VIDEO: self._video.copy()}, info

    def step(self, action: Any) -> tuple[dict, Any, bool, bool, dict]:
        """The environment's step; its image is the last of the video, the first one drops out."""
        observation, *outcome = self.env.step(action)
        self._video = np.concatenate([self._video[1:], observation[IMAGE][None]])
        return {**observation, VIDEO: self._video.copy()}, *outcome  # type: ignore[return-value]


class FlatActions(gym.ActionWrapper, RecordConstructorArgs):
    """Actions with named parts as one row of choices, for libraries without Dict actions such as Stable-Baselines3.

    Actions: MultiDiscrete, the parts of the Dict one after the other in its order, each counted from 0. Discrete and
        MultiDiscrete actions stay as they are. `oracle` and labels keep the environment's own structure.

    Args:
        env: its actions are Discrete, MultiDiscrete or a Dict of these.

    Raises:
        ValueError: actions of another kind.
    """

    def __init__(self, env: gym.Env) -> None:
        RecordConstructorArgs.__init__(self)
        gym.ActionWrapper.__init__(self, env)
        self._actions = None
        if not isinstance(env.action_space, (spaces.Discrete, spaces.MultiDiscrete)):
            self._actions = Actions(env.action_space)
            self.action_space = spaces.MultiDiscrete(list(self._actions.nvec))

    def action(self, action: Any) -> Any:
        """The row (n,) in the structure of the environment's actions."""
        if self._actions is None:
            return action
        if not self.action_space.contains(action):
            raise ValueError(f"expected an action in {self.action_space}, got {' '.join(repr(action).split())}")
        return first(self._actions.join(np.asarray(action, np.int64)[None]))


def _modalities(env: gym.Env, needed: str) -> dict[str, spaces.Space]:
    """What an environment observes; ValueError where what is needed is not among it."""
    space = env.observation_space
    if not isinstance(space, spaces.Dict):
        raise ValueError(f"{name_of(env)} observes a {type(space).__name__}, expected a Dict of modalities")
    if needed not in space.spaces:
        raise ValueError(f"{name_of(env)} has no modality {needed!r} in its observation; it has {', '.join(space)}")
    return dict(space.spaces)
