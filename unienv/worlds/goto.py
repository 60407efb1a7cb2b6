"""goto: walk to the object that the text names, where colour and shape are each shared with another object."""

from typing import ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces

from unienv.grid import FAR, MOVE_NAMES, distances, next_cells
from unienv.modality import IMAGE, TEXT, Vocabulary, pixel_space, text_space
from unienv.rng import Array, Keys
from unienv.sprites import COLOURS, SHAPES, TILE, agent_tile, as_words, floor_tile, object_tiles, stamp
from unienv.world import Feedback, Observation, World

_CELLS, _COLOURS, _SHAPES, _GOAL = range(4)  # salts


class GotoState(NamedTuple):
    """Fields, int64: cells are row * size + column, kinds are colour * 5 + shape."""

    agent: Array  # (N,) cell
    cells: Array  # (N, n) cell of each object
    kinds: Array  # (N, n) kind of each object
    goal: Array  # (N,) which object is meant, in [0, n)


class Goto(World):
    """A grid with n objects: n/2 colours in 2 shapes each. The text names one of them: "go to the red ring".

    Why non-separable: whether an arrival is right is [kind of the object = kind in the text]. The image shows every
    object alike and the text says nothing of where they are; colour alone leaves 2 candidates, shape alone n/2.

    Observation: text (5,); image (8 * size, 8 * size, 3), one 8 x 8 tile a cell; the agent is the white face.
    Actions: 0 wait, 1 up, 2 down, 3 left, 4 right; a step off the grid waits.
    Feedback: success, the agent stepped onto the object meant; wrong, it stepped onto another.
    Reward: 1 for success. Start: objects and agent on distinct uniform cells, the goal uniform over the objects.
    End: terminated on any object, truncated at the horizon.

    Args:
        size: cells a side, 3 to 64.
        num_objects: n, even, from 4 to twice the colours and at most size^2 / 2.
        num_colours: colours in use, n/2 to 6.
        num_shapes: shapes in use, 2 to 5.
        horizon: steps until truncation.
        signal: rule G. backend, device: see `World`.
    """

    action_names = MOVE_NAMES
    small: ClassVar = {"size": 3, "num_objects": 4, "num_colours": 2, "num_shapes": 2, "horizon": 4}

    def __init__(
        self,
        size: int = 8,
        num_objects: int = 4,
        num_colours: int = 6,
        num_shapes: int = 5,
        horizon: int = 32,
        signal: str = "reward",
        backend: str = "numpy",
        device: str | None = None,
    ) -> None:
        super().__init__(signal, backend, device)
        _check_layout(size, num_objects, num_colours, num_shapes, horizon)
        self.size, self.num_objects, self.horizon = size, num_objects, horizon
        self.num_colours, self.num_shapes = num_colours, num_shapes
        colours, shapes = list(COLOURS), list(SHAPES)
        self.vocabulary = Vocabulary(["go", "to", "the", *colours, *shapes])
        sentences = [self.vocabulary.encode(f"go to the {c} {s}", 5) for c in colours for s in shapes]
        self._sentences = self.array(np.stack(sentences))  # (kinds, L)
        self._floor = self.array(np.tile(floor_tile(), (size, size, 1)))  # (H, W, 3)
        self._objects = self.array(as_words(object_tiles(colours, shapes)))  # (kinds, 8, 3)
        self._agent = self.array(as_words(agent_tile()[None]))  # (1, 8, 3)
        self._next = self.array(next_cells(size))  # (cells, K)
        self.observation_space = spaces.Dict(
            {TEXT: text_space(self.vocabulary, 5), IMAGE: pixel_space((size * TILE, size * TILE, 3))}
        )
        self.action_space = spaces.Discrete(len(MOVE_NAMES))

    def initial(self, keys: Keys) -> GotoState:
        """Distinct cells; n/2 colours crossed with 2 shapes; one of the n objects is meant."""
        n = self.num_objects
        cells = keys.permutation(_CELLS, self.size**2, n + 1)
        colours = keys.permutation(_COLOURS, self.num_colours, n // 2)
        shapes = keys.permutation(_SHAPES, self.num_shapes, 2)
        kinds = (colours[:, :, None] * len(SHAPES) + shapes[:, None, :]).reshape(-1, n)
        return GotoState(cells[:, n], cells[:, :n], kinds, keys.integers(_GOAL, [n])[:, 0])

    def observe(self, state: GotoState) -> Observation:
        """The sentence, and the floor with objects and agent stamped on it; the agent covers what it stands on."""
        image = self.canvas((state.agent.shape[0], *self._floor.shape))
        image[...] = self._floor
        stamp(self.xp, image, state.cells // self.size, state.cells % self.size, self._objects[state.kinds])
        agent = state.agent[:, None]
        stamp(self.xp, image, agent // self.size, agent % self.size, self._agent)
        return {TEXT: self._sentences[self.at(state.kinds, state.goal)], IMAGE: image}

    def feedback(self, state: GotoState, observation: Observation, action: Array, keys: Keys) -> Feedback:
        """What the agent steps onto."""
        del observation, keys
        met = state.cells == self._next[state.agent, action][:, None]  # (N, n)
        success = self.at(met, state.goal)
        return {"success": success, "wrong": self.xp.any(met, axis=1) & ~success}

    def transition(
        self, state: GotoState, observation: Observation, action: Array, feedback: Feedback, keys: Keys
    ) -> GotoState:
        """The agent moves; nothing else does."""
        del observation, feedback, keys
        return state._replace(agent=self._next[state.agent, action])

    def terminal(self, state: GotoState) -> Array:
        """The agent stands on an object."""
        return self.xp.any(state.cells == state.agent[:, None], axis=1)

    def oracle(self, state: GotoState) -> Array:
        """First step of a shortest path to the goal around the other objects; wait where there is none."""
        xp = self.xp
        cells = xp.arange(self.size**2, device=self.device)[None, :]
        objects = xp.any(cells[:, None, :] == state.cells[:, :, None], axis=1)  # (N, size^2)
        at_goal = cells == self.at(state.cells, state.goal)[:, None]
        distance = distances(xp, self.size, at_goal, FAR * xp.astype(objects, xp.int64))
        ahead = xp.take_along_axis(distance, self._next[state.agent], axis=1)  # (N, K)
        return xp.argmin(ahead, axis=1)

    def describe(self, state: GotoState, index: int) -> str:
        """The sentence above a map: @ the agent, . a free cell, a colour's and a shape's first letters an object."""
        rows = [[" ."] * self.size for _ in range(self.size)]
        for cell, kind in zip(state.cells[index].tolist(), state.kinds[index].tolist(), strict=True):
            colour, shape = divmod(kind, len(SHAPES))
            rows[cell // self.size][cell % self.size] = list(COLOURS)[colour][0].upper() + list(SHAPES)[shape][0]
        agent = int(state.agent[index])
        rows[agent // self.size][agent % self.size] = " @"
        return "\n".join([super().describe(state, index), *(" ".join(row) for row in rows)])


def _check_layout(size: int, num_objects: int, num_colours: int, num_shapes: int, horizon: int) -> None:
    if not 3 <= size <= 64:
        raise ValueError(f"goto needs a size from 3 to 64 cells a side, got {size}")
    if not (2 <= num_colours <= len(COLOURS) and 2 <= num_shapes <= len(SHAPES)):
        raise ValueError(
            f"goto needs 2..{len(COLOURS)} colours and 2..{len(SHAPES)} shapes, "
            f"got num_colours={num_colours}, num_shapes={num_shapes}"
        )
    most = min(2 * num_colours, size * size // 2)
    if num_objects % 2 or not 4 <= num_objects <= most:
        raise ValueError(
            f"goto of size {size} with {num_colours} colours needs an even number of objects from 4 to {most}, "
            f"got {num_objects}"
        )
    if horizon < 1:
        raise ValueError(f"goto needs a horizon of at least 1 step, got {horizon}")
