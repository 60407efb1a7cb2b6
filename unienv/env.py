"""WorldEnv: one world behind `gymnasium.Env`."""

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from unienv.actions import batch_of_one, first
from unienv.backend import to_numpy
from unienv.loop import Loop
from unienv.modality import Vocabulary
from unienv.registry import make_world
from unienv.render import caption, picture
from unienv.world import Outcome, World

_RENDER_MODES = ["rgb_array", "ansi"]
_ONLY = np.zeros(1, np.int64)  # the one world of a WorldEnv


class WorldEnv(gym.Env):
    """One world, the N = 1 case of the loop.

    Observations are fresh arrays at every call. `info` of a step holds "feedback" (xi by part), "success", and what the
    signal rule discloses. An episode is truncated at the world's horizon, apart from its termination.

    Args:
        world: name, id, entry point or instance of a world.
        render_mode: None, "rgb_array" (enlarged pixels with the text as a caption) or "ansi" (for a terminal).
        parameters: the world's own, such as `size=8`.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": _RENDER_MODES, "render_fps": 4}

    def __init__(self, world: str | World, render_mode: str | None = None, **parameters: Any) -> None:
        self.world = make_world(world, **parameters)
        if self.world.backend != "numpy":
            raise ValueError("a single environment runs on numpy; backend='torch' is for gymnasium.make_vec")
        self.render_mode = check_render_mode(render_mode)
        self.observation_space = self.world.observation_space
        self.action_space = self.world.actions.space
        self._loop = Loop(self.world, 1)
        self._over = True

    @property
    def vocabulary(self) -> Vocabulary:
        """Words of the text modality."""
        return self.world.vocabulary

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Episode 0 of a given seed, or the next episode; `options` has no entries."""
        del options
        if isinstance(seed, np.integer):
            seed = int(seed)
        super().reset(seed=seed)
        if seed is None and self._loop.state is not None:
            self._loop.restart(_ONLY)
        else:
            self._loop.start(slot_seeds(self.np_random, seed, 1))
        self._over = False
        return self._observe(), {}

    def step(self, action: Any) -> tuple[dict, float, bool, bool, dict]:
        """One turn of the loop.

        Raises:
            ValueError: the action is not in the action space.
            gymnasium.error.ResetNeeded: the episode is over, or none has begun.
        """
        if self._over:
            over = "" if self._loop.state is None else "the episode is over; "
            raise gym.error.ResetNeeded(f"{over}call reset() before step()")
        if not self.action_space.contains(action):
            raise ValueError(f"expected an action in {self.action_space}, got {' '.join(repr(action).split())}")
        outcome = self._loop.advance(batch_of_one(action))
        terminated, truncated = bool(outcome.terminated[0]), bool(outcome.truncated[0])
        self._over = terminated or truncated
        info = {key: first(value) for key, value in step_info(outcome).items()}
        return self._observe(), float(outcome.signal[0]), terminated, truncated, info

    def render(self) -> Any:
        """The state as an image (H, W, 3) uint8 or as text; None without a render mode."""
        if self._loop.state is None and self.render_mode is not None:
            raise gym.error.ResetNeeded("call reset() before render()")
        return render_world(self._loop, 0, self.render_mode)

    def oracle(self) -> Any:
        """The best action in the present state, for anchors and demonstrations."""
        if self._loop.state is None:
            raise gym.error.ResetNeeded("call reset() before oracle()")
        return first(self.world.oracle(self._loop.state))

    def _observe(self) -> dict[str, np.ndarray]:
        return {key: value[0] for key, value in self._loop.observe().items()}


def slot_seeds(generator: np.random.Generator, seed: int | None, num_worlds: int) -> np.ndarray:
    """Seeds (N,) int64: seed + i for world i, from a drawn seed when none is given."""
    first = int(generator.integers(1 << 62)) if seed is None else seed
    return np.array([(first + i) % (1 << 63) for i in range(num_worlds)], np.int64)


def step_info(outcome: Outcome) -> dict[str, Any]:
    """The `info` of a step, batched (N, ...): feedback by part, success, and the rule's supervision."""
    return {"feedback": outcome.feedback, "success": outcome.feedback["success"], **outcome.supervision}


def render_world(loop: Loop, index: int, mode: str | None) -> Any:
    """World `index` of a loop as an image, as text, or None."""
    if mode is None:
        return None
    if mode == "ansi":
        return loop.world.describe(loop.state, index)
    observation = loop.observe_only(loop.world.array([index], "int64"))
    row = {key: to_numpy(value)[0] for key, value in observation.items()}
    return caption(picture(row), loop.world.vocabulary.decode(row["text"]))


def check_render_mode(mode: str | None) -> str | None:
    """The mode, or ValueError when it is not one that worlds draw in."""
    if mode not in (None, *_RENDER_MODES):
        raise ValueError(f"render_mode must be None, {' or '.join(map(repr, _RENDER_MODES))}, got {mode!r}")
    return mode
