"""rules: a transformation of grids, half of it shown by examples and half of it told."""

from typing import ClassVar, NamedTuple

import numpy as np
from gymnasium import spaces

from unienv.modality import IMAGE, TEXT, Vocabulary, pixel_space, text_space
from unienv.rng import Array, Keys
from unienv.sprites import COLOURS, FLOOR, TILE, as_words, floor_tile, lay, paint
from unienv.world import Feedback, Observation, World

MOVES = {
    "mirror it left and right": np.fliplr,
    "mirror it up and down": np.flipud,
    "turn it to the left": np.rot90,
    "turn it to the right": lambda grid: np.rot90(grid, -1),
    "turn it half way round": lambda grid: np.rot90(grid, 2),
    "leave it as it is": lambda grid: grid,
}

_SHOWN, _RECOLOUR, _MOVE, _QUERY = range(4)  # salts
_INK, _RULE = (225, 226, 232), (110, 112, 124)  # colours of arrows and the question mark; of the line above the query
_QUESTION = ("..####..", ".##..##.", ".....##.", "....##..", "...##...", "...##...", "........", "...##...")


class RulesState(NamedTuple):
    """Fields, int64 but the last: colours in [0, k), cells in reading order."""

    shown: Array  # (N, E * R) colour of each orbit of each example's input
    recolour: Array  # (N, k) p: the colour that each colour becomes
    move: Array  # (N,) g, index into MOVES
    query: Array  # (N, s^2) colours of the grid to transform
    answered: Array  # (N,) bool


class Rules(World):
    """A few solved examples, a hint, and a grid to be transformed alike: the answer is p(g(query)).

    g is one of six moves of a square, p a permutation of the k colours that is drawn anew every episode. The examples'
    grids look the same after every move: cells that some mirroring or turn exchanges (an orbit) have one colour. So the
    examples show p and nothing of g; the hint names g and says nothing of p. After Chollet, "On the measure of
    intelligence", 2019: what is learned is to learn a rule, not the rule.

    Why non-separable: the picture shows p and the query but fits every g alike; the hint names g, and leaves all
    answers equally likely. Only both together single one out.

    Observation: text (7,) "hint : mirror it left and right"; image (8 * ((E + 1) * s + E), 8 * (2 * s + 1), 3): a row
        an example, input -> output, below them query -> ?.
    Actions: a colour for each cell of the answer in reading order, MultiDiscrete([k] * s^2).
    Feedback: cells, how many are right; success, all are. Reward: cells / s^2.
    Start: g, p and the query's cells are uniform and independent; the examples' inputs hold every colour, all about
        equally often (floor or ceiling of E * R / k orbits), in random places.
    End: terminated after one answer.

    Args:
        size: s, cells a side, 2 to 8.
        num_colours: k, 2 to 6; at most E * R, where R = m (m + 1) / 2, m = ceil(s / 2), is the number of orbits.
        num_examples: E, 1 to 8.
        num_moves: moves in use, the first of `MOVES`, 2 to 6.
        signal: rule G. backend, device: see `World`.
    """

    small: ClassVar = {"size": 2, "num_colours": 2, "num_examples": 2, "num_moves": 4}

    def __init__(
        self,
        size: int = 3,
        num_colours: int = 3,
        num_examples: int = 2,
        num_moves: int = 6,
        signal: str = "reward",
        backend: str = "numpy",
        device: str | None = None,
    ) -> None:
        super().__init__(signal, backend, device)
        _check_rules(size, num_colours, num_examples, num_moves)
        self.size, self.num_colours, self.num_examples, self.num_moves = size, num_colours, num_examples, num_moves
        orbits = _orbits(size)
        self.num_orbits = int(orbits.max()) + 1
        hints = [f"hint : {move}" for move in MOVES]
        self.vocabulary = Vocabulary(dict.fromkeys(" ".join(hints).split()))
        sentences = [self.vocabulary.encode(hint, 7) for hint in hints[:num_moves]]
        self._sentences = self.array(np.stack(sentences))  # (moves, L)
        self._orbits = self.array(orbits)  # (s^2,)
        self._origins = self.array(_origins(size)[:num_moves])  # (moves, s^2)
        blank, layout = _draw_blank(size, num_examples), _layout(size, num_examples)
        self._shape = blank.shape
        tiles = np.concatenate([_colour_tiles(num_colours), _cut(blank)])
        self._tiles = self.array(as_words(tiles))  # (tiles, 8, 3)
        self._filled, self._layout = self.array(layout >= 0), self.array(np.maximum(layout, 0))  # (H/8 * W/8,) each
        self._blank = self.array(np.arange(len(layout)) + num_colours)  # (H/8 * W/8,) tile where there is no cell
        self.observation_space = spaces.Dict({TEXT: text_space(self.vocabulary, 7), IMAGE: pixel_space(blank.shape)})
        self.action_space = spaces.MultiDiscrete([num_colours] * size**2)

    def initial(self, keys: Keys) -> RulesState:
        """The colours are dealt in turn to the examples' orbits in a random order, so that each of them occurs."""
        k = self.num_colours
        shown = keys.permutation(_SHOWN, self.num_examples * self.num_orbits) % k
        move = keys.integers(_MOVE, [self.num_moves])[:, 0]
        query = keys.integers(_QUERY, [k] * self.size**2)
        return RulesState(shown, keys.permutation(_RECOLOUR, k), move, query, move < 0)

    def observe(self, state: RulesState) -> Observation:
        """The hint, and a mosaic of coloured cells and the tiles of the blank sheet."""
        cells = self.xp.concat([*self.examples(state), state.query], axis=1)
        tiles = self.xp.where(self._filled, self.xp.take(cells, self._layout, axis=1), self._blank)  # (N, H/8 * W/8)
        height, width, _ = self._shape
        image = self.canvas((tiles.shape[0], *self._shape))
        lay(image, self._tiles, tiles.reshape(-1, height // TILE, width // TILE))
        return {TEXT: self._sentences[state.move], IMAGE: image}

    def feedback(self, state: RulesState, observation: Observation, action: Array, keys: Keys) -> Feedback:
        """How much of the answer is right."""
        del observation, keys
        cells = self.xp.sum(self.xp.astype(action == self.oracle(state), self.xp.int64), axis=1)
        return {"success": cells == self.size**2, "cells": cells}

    def reward(self, state: RulesState, observation: Observation, action: Array, feedback: Feedback) -> Array:
        """(N,) share of the cells that are right: learning needs a slope, as blind answers hardly ever succeed."""
        del state, observation, action
        return self.xp.astype(feedback["cells"], self.xp.float64) / self.size**2

    def transition(
        self, state: RulesState, observation: Observation, action: Array, feedback: Feedback, keys: Keys
    ) -> RulesState:
        """The answer has been given."""
        del observation, action, feedback, keys
        return state._replace(answered=state.move >= 0)

    def terminal(self, state: RulesState) -> Array:
        """One answer ends the episode."""
        return state.answered

    def oracle(self, state: RulesState) -> Array:
        """p(g(query)), (N, s^2)."""
        moved = self.xp.take_along_axis(state.query, self._origins[state.move], axis=1)
        return self.xp.take_along_axis(state.recolour, moved, axis=1)

    def examples(self, state: RulesState) -> tuple[Array, Array]:
        """Inputs and outputs of the examples, (N, E * s^2) each; g changes nothing of them."""
        orbits = state.shown.reshape(-1, self.num_examples, self.num_orbits)
        inputs = orbits[:, :, self._orbits].reshape(-1, self.num_examples * self.size**2)
        return inputs, self.xp.take_along_axis(state.recolour, inputs, axis=1)

    def describe(self, state: RulesState, index: int) -> str:
        """The hint above the grids, a colour's first letter a cell."""
        inputs, outputs = (self._letters(grids[index]) for grids in self.examples(state))
        query = self._letters(state.query[index])
        lefts, rights = [*inputs, *query], [*outputs, *["?" * self.size] * self.size]
        lines = [super().describe(state, index)]
        for row, (left, right) in enumerate(zip(lefts, rights, strict=True)):
            lines += [""] * (row % self.size == 0)
            lines.append(f"{left} {'->' if row % self.size == self.size // 2 else '  '} {right}")
        return "\n".join(lines)

    def _letters(self, cells: Array) -> list[str]:
        """Rows of grids as text."""
        letters = "".join([list(COLOURS)[colour][0].upper() for colour in cells.tolist()])
        return [letters[start : start + self.size] for start in range(0, len(letters), self.size)]


def _orbits(size: int) -> np.ndarray:
    """(s^2,) int64: cells that a mirroring or a turn of the square exchanges have equal numbers, from 0 up."""
    row, column = np.divmod(np.arange(size**2), size)
    depth = np.sort(np.minimum([row, column], size - 1 - np.array([row, column])), axis=0)  # from the nearest sides
    return np.unique(depth[0] * size + depth[1], return_inverse=True)[1]


def _origins(size: int) -> np.ndarray:
    """(moves, s^2) int64: the cell whose colour each cell takes in each move."""
    cells = np.arange(size**2).reshape(size, size)
    return np.stack([move(cells).ravel() for move in MOVES.values()])


def _layout(size: int, num_examples: int) -> np.ndarray:
    """(H/8 * W/8,) int64: which cell of all inputs, then all outputs, then the query each tile shows; -1 for none."""
    layout = np.full(((num_examples + 1) * (size + 1) - 1, 2 * size + 1), -1)
    examples = range(num_examples)
    corners = [*((i, 0) for i in examples), *((i, size + 1) for i in examples), (num_examples, 0)]
    for grid, (line, left) in enumerate(corners):
        top, cells = line * (size + 1), np.arange(size**2) + grid * size**2
        layout[top : top + size, left : left + size] = cells.reshape(size, size)
    return layout.ravel()


def _cut(image: np.ndarray) -> np.ndarray:
    """Tiles (H/8 * W/8, 8, 8, 3) of an image, in reading order."""
    height, width, _ = image.shape
    return image.reshape(height // TILE, TILE, width // TILE, TILE, 3).swapaxes(1, 2).reshape(-1, TILE, TILE, 3)


def _colour_tiles(num_colours: int) -> np.ndarray:
    """(k, 8, 8, 3) uint8: filled cells that keep the faint line between cells."""
    tiles = np.tile(floor_tile(), (num_colours, 1, 1, 1))
    tiles[:, 1:, 1:] = np.array(list(COLOURS.values())[:num_colours])[:, None, None]
    return tiles


def _draw_blank(size: int, num_examples: int) -> np.ndarray:
    """The sheet (H, W, 3) uint8 before grids are filled in: arrows, a line above the query, and what is asked for."""
    side, line = size * TILE, (size + 1) * TILE
    sheet = np.full((num_examples * line + side, line + side, 3), FLOOR, np.uint8)
    for top in range(0, len(sheet), line):
        arrow = sheet[top + (side - TILE) // 2 :, side:][:TILE, :TILE]
        arrow[...] = paint(arrow, _arrow, _INK)
    top = num_examples * line
    sheet[top - TILE // 2 - 1 : top - TILE // 2 + 1] = _RULE
    sheet[top:, line:] = np.tile(floor_tile(), (size, size, 1))
    question = np.array([list(row) for row in _QUESTION]).repeat(2, axis=0).repeat(2, axis=1) == "#"
    margin = (side - 2 * TILE) // 2
    sheet[top + margin :, line + margin :][: 2 * TILE, : 2 * TILE][question] = _INK
    return sheet


def _arrow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Where an arrow to the right covers the square [-1, 1]^2."""
    return ((abs(y) < 0.2) & (abs(x) < 0.7)) | ((x > 0.0) & (abs(y) < 0.8 - x))


def _check_rules(size: int, num_colours: int, num_examples: int, num_moves: int) -> None:
    if not (2 <= size <= 8 and 2 <= num_colours <= len(COLOURS) and 1 <= num_examples <= 8):
        raise ValueError(
            f"rules needs a size of 2..8, 2..{len(COLOURS)} colours and 1..8 examples, "
            f"got size={size}, num_colours={num_colours}, num_examples={num_examples}"
        )
    if not 2 <= num_moves <= len(MOVES):
        raise ValueError(f"rules needs 2..{len(MOVES)} moves, got num_moves={num_moves}")
    orbits = int(_orbits(size).max()) + 1
    if num_colours > num_examples * orbits:
        raise ValueError(
            f"symmetric grids of size {size} hold {orbits} free colour(s), so {num_examples} example(s) can't show "
            f"num_colours={num_colours}; take fewer colours, more examples or a larger size"
        )
