"""describe: say in words which object is meant and point at it, in one action with a part for each modality."""

from typing import ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces

from unienv.dial import check_coupling
from unienv.modality import IMAGE, TEXT, Vocabulary, pixel_space, text_space
from unienv.rng import Array, Keys
from unienv.sprites import COLOURS, SHAPES, TILE, as_words, floor_tile, lay, object_tiles
from unienv.world import Action, Feedback, Observation, World

_WORDS = 2  # of an utterance: a shape and a row
_CELLS, _COLOURS, _SHAPES, _SAYING, _POINTING = range(5)  # salts
_STROKE = (245, 245, 245)


class DescribeState(NamedTuple):
    """Cells are row * size + column; an object is 1 + colour * num_shapes + shape, and 0 is none."""

    board: Array  # (N, cells) int64, the object in each cell
    crossed: Array  # (N, cells) bool, cells that were pointed at in vain
    goal: Array  # (N,) int64, cell of the object meant
    done: Array  # (N,) bool


class Describe(World):
    """A listener asks "which red one ?" and means one of n objects on a grid, of n/2 colours in 2 shapes each.

    The agent answers in two words and by pointing, at once: it says "ring 2", the shape and the row in which it stands,
    counted from 1, and shows the cell. A cell that was pointed at in vain is crossed out, and the agent tries again.

    Why non-separable: a cell can be right only if [its colour = the colour in the text], and so can an utterance. And
    the colour leaves 2 candidates, so utterance and pointing are right together or not at all if both mean the same
    one, and exactly one of them is right if they mean different ones: two outputs that hang on one fair coin.

    Observation: text (4,); image (8 * size, 8 * size, 3), one 8 x 8 tile a cell; a white stroke crosses it out.
    Actions: a Dict; text, two words with the ids of the text: 0 none, then shapes, then rows; image, one cell.
    Feedback: text, the utterance was right; image, the pointing was; success, both were. Reward: 1 for success.
    Start: objects on distinct uniform cells; the object meant is uniform over them, and stays the same.
    End: terminated by success, truncated after `tries` answers.

    Utterance and pointing are each judged jointly with probability `coupling`, by a coin of their own: the utterance
    is shape and row of the object meant, the cell holds it. Otherwise each is judged by what its own modality shows:
    the utterance is any shape and any row, as all fit the text; the cell holds an object and is not crossed out. What
    is right jointly is right either way. So `coupling=0` is separable in feedback and in outputs, `coupling=1` is
    joint, and non-separability grows between.

    Success at coupling 1: the oracle's at the first try; the best agent's at the first or the second, half the time
    each; that of uniform actions at each try with probability 1 / ((1 + num_shapes + size) * size)^2.
    Neither answer can name a colour, yet with 4 objects sums of scores, one a modality, choose as well as the best
    agent at the first try: of two equally likely candidates they take the one of the earlier shape for one colour and
    of the later shape for the other, so that the choice itself tells the colours apart.

    Args:
        coupling: share of joint judgements in [0, 1].
        size: cells a side, 2 to 64.
        num_objects: n, even, from 4 to twice the colours and at most size^2.
        num_colours: colours in use, n/2 to 6.
        num_shapes: shapes in use, 2 to 5.
        tries: answers until truncation.
        signal: rule G. backend, device: see `World`.
    """

    small: ClassVar = {"size": 2, "num_objects": 4, "num_colours": 2, "num_shapes": 2, "tries": 2}

    def __init__(
        self,
        coupling: float = 1.0,
        size: int = 4,
        num_objects: int = 4,
        num_colours: int = 6,
        num_shapes: int = 5,
        tries: int = 3,
        signal: str = "reward",
        backend: str = "numpy",
        device: str | None = None,
    ) -> None:
        super().__init__(signal, backend, device)
        _check_scene(coupling, size, num_objects, num_colours, num_shapes, tries)
        self.coupling, self.size, self.num_objects, self.horizon = coupling, size, num_objects, tries
        self.num_colours, self.num_shapes = num_colours, num_shapes
        colours, shapes = list(COLOURS)[:num_colours], list(SHAPES)[:num_shapes]
        rows = [str(1 + row) for row in range(size)]
        said = [*shapes, *rows]  # these come first, so that ids of words are numbers of actions
        self.vocabulary = Vocabulary([*said, "which", "one", "?", *colours])
        sentences = [self.vocabulary.encode(f"which {colour} one ?", 4) for colour in colours]
        self._sentences = self.array(np.stack(sentences))  # (colours, L)
        self._shape, self._row = self.vocabulary.id(shapes[0]), self.vocabulary.id(rows[0])  # the first of each
        self._tiles = self.array(as_words(_draw_tiles(colours, shapes)))  # (2 * (1 + kinds), 8, 3)
        self._cells = self.array(np.arange(size * size)[None])  # (1, cells)
        self.observation_space = spaces.Dict(
            {TEXT: text_space(self.vocabulary, 4), IMAGE: pixel_space((size * TILE, size * TILE, 3))}
        )
        self.action_space = spaces.Dict(
            {TEXT: spaces.MultiDiscrete([1 + len(said)] * _WORDS), IMAGE: spaces.Discrete(size * size)}
        )

    def initial(self, keys: Keys) -> DescribeState:
        """n/2 colours crossed with 2 shapes, in random order on distinct cells: the first is as good as any to mean."""
        n = self.num_objects
        cells = keys.permutation(_CELLS, self.size**2, n)
        colours = keys.permutation(_COLOURS, self.num_colours, n // 2)
        shapes = keys.permutation(_SHAPES, self.num_shapes, 2)
        kinds = (colours[:, :, None] * self.num_shapes + shapes[:, None, :]).reshape(-1, n)
        board = self.xp.zeros((cells.shape[0], self.size**2), dtype=self.xp.int64, device=self.device)
        board[self.xp.arange(board.shape[0], device=self.device)[:, None], cells] = 1 + kinds
        return DescribeState(board, board < 0, cells[:, 0], cells[:, 0] < 0)

    def observe(self, state: DescribeState) -> Observation:
        """The question, and the tile of every cell."""
        image = self.canvas((state.board.shape[0], self.size * TILE, self.size * TILE, 3))
        look = self.xp.where(state.crossed, state.board + len(self._tiles) // 2, state.board)
        lay(image, self._tiles, look.reshape(-1, self.size, self.size))
        return {TEXT: self._sentences[self._meant(state) // self.num_shapes], IMAGE: image}

    def feedback(self, state: DescribeState, observation: Observation, action: Action, keys: Keys) -> Feedback:
        """Whether utterance and pointing are right, each judged jointly or by what its own modality shows."""
        del observation
        said, cell = action[TEXT], action[IMAGE]
        shape, row = said[:, 0] - self._shape, said[:, 1] - self._row
        fits = (shape >= 0) & (shape < self.num_shapes) & (row >= 0)
        names = self.xp.all(said == self._name(state), axis=1)
        holds = (self.at(state.board, cell) > 0) & ~self.at(state.crossed, cell)
        text = fits & (names | ~keys.bernoulli(_SAYING, self.coupling))
        image = holds & ((cell == state.goal) | ~keys.bernoulli(_POINTING, self.coupling))
        return {TEXT: text, IMAGE: image, "success": text & image}

    def transition(
        self, state: DescribeState, observation: Observation, action: Action, feedback: Feedback, keys: Keys
    ) -> DescribeState:
        """A cell that was pointed at in vain is crossed out, so the goal never is; success ends the episode."""
        del observation, keys
        vain = (self._cells == action[IMAGE][:, None]) & ~feedback[IMAGE][:, None]
        return state._replace(crossed=state.crossed | vain, done=feedback["success"])

    def terminal(self, state: DescribeState) -> Array:
        """Both answers were right."""
        return state.done

    def oracle(self, state: DescribeState) -> Action:
        """Shape and row of the object meant, and its cell."""
        return {TEXT: self._name(state), IMAGE: self.xp.asarray(state.goal, copy=True)}

    def describe(self, state: DescribeState, index: int) -> str:
        """The question above a map: a colour's and a shape's first letters an object, . a free cell, x crossed out."""
        rows = [[""] * self.size for _ in range(self.size)]
        for cell, thing in enumerate(state.board[index].tolist()):
            colour, shape = divmod(thing - 1, self.num_shapes)
            look = list(COLOURS)[colour][0].upper() + list(SHAPES)[shape][0] if thing else " ."
            rows[cell // self.size][cell % self.size] = look + " x"[int(state.crossed[index, cell])]
        return "\n".join([super().describe(state, index), *(" ".join(row).rstrip() for row in rows)])

    def _meant(self, state: DescribeState) -> Array:
        """(N,) colour * num_shapes + shape of the object meant."""
        return self.at(state.board, state.goal) - 1

    def _name(self, state: DescribeState) -> Array:
        """(N, 2) the words for the object meant: its shape, and the row in which it stands."""
        shape, row = self._meant(state) % self.num_shapes, state.goal // self.size
        return self.xp.stack([shape + self._shape, row + self._row], axis=1)


def _draw_tiles(colours: list[str], shapes: list[str]) -> np.ndarray:
    """(2 * (1 + kinds), 8, 8, 3) uint8: the free floor and all objects, then all of these crossed out."""
    plain = np.concatenate([floor_tile()[None], object_tiles(colours, shapes)])
    crossed = plain.copy()
    crossed[:, np.arange(TILE), TILE - 1 - np.arange(TILE)] = _STROKE  # one pixel wide, for shapes to stay legible
    return np.concatenate([plain, crossed])


def _check_scene(coupling: float, size: int, num_objects: int, num_colours: int, num_shapes: int, tries: int) -> None:
    check_coupling(coupling)
    if not 2 <= size <= 64:
        raise ValueError(f"describe needs a size from 2 to 64 cells a side, got {size}")
    if not (2 <= num_colours <= len(COLOURS) and 2 <= num_shapes <= len(SHAPES)):
        raise ValueError(
            f"describe needs 2..{len(COLOURS)} colours and 2..{len(SHAPES)} shapes, "
            f"got num_colours={num_colours}, num_shapes={num_shapes}"
        )
    most = min(2 * num_colours, size * size)
    if num_objects % 2 or not 4 <= num_objects <= most:
        raise ValueError(
            f"describe of size {size} with {num_colours} colours needs an even number of objects from 4 to {most}, "
            f"got {num_objects}"
        )
    if tries < 1:
        raise ValueError(f"describe needs at least 1 try, got {tries}")
