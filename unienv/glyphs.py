"""Letters as pixels: a character is an 8 x 8 tile, 5 pixels wide with room around it; text is a grid of tiles."""

import numpy as np

from unienv.sprites import TILE

_LEFT = 1  # columns of paper before a letter

# Three rows of characters, each above its drawings: 5 x 8 points apart by a blank column, # is ink.
_DRAWN = """
a     b     c     d     e     f     g     h     i     j     k     l     m
..... #.... ..... ....# ..... ..### ..... #.... ..#.. ...#. #.... .##.. .....
..... #.... ..... ....# ..... .#... ..... #.... ..... ..... #.... ..#.. .....
.###. #.##. .#### .##.# .###. ####. .#### #.##. .##.. ..##. #..#. ..#.. ##.#.
....# ##..# #.... #..## #...# .#... #...# ##..# ..#.. ...#. #.#.. ..#.. #.#.#
.#### #...# #.... #...# ##### .#... #...# #...# ..#.. ...#. ##... ..#.. #.#.#
#...# #...# #.... #...# #.... .#... .#### #...# ..#.. ...#. #.#.. ..#.. #.#.#
.#### ####. .#### .#### .#### .#... ....# #...# .###. #..#. #..#. .###. #.#.#
..... ..... ..... ..... ..... ..... .###. ..... ..... .##.. ..... ..... .....
n     o     p     q     r     s     t     u     v     w     x     y     z
..... ..... ..... ..... ..... ..... .#... ..... ..... ..... ..... ..... .....
..... ..... ..... ..... ..... ..... .#... ..... ..... ..... ..... ..... .....
#.##. .###. ####. .#### #.##. .#### ####. #...# #...# #...# #...# #...# #####
##..# #...# #...# #...# ##..# #.... .#... #...# #...# #.#.# .#.#. #...# ...#.
#...# #...# #...# #...# #.... .###. .#... #...# #...# #.#.# ..#.. #...# ..#..
#...# #...# ####. .#### #.... ....# .#... #..## .#.#. #.#.# .#.#. .#### .#...
#...# .###. #.... ....# #.... ####. ..### .##.# ..#.. .#.#. #...# ....# #####
..... ..... #.... ....# ..... ..... ..... ..... ..... ..... ..... .###. .....
0     1     2     3     4     5     6     7     8     9     >
.###. ..#.. .###. ####. #..#. ##### .###. ##### .###. .###. .....
#...# .##.. #...# ....# #..#. #.... #.... ....# #...# #...# #....
#..## #.#.. ....# ....# #..#. ####. #.... ...#. #...# #...# .##..
#.#.# ..#.. ..##. ..##. ##### ....# ####. ..#.. .###. .#### ...##
##..# ..#.. .#... ....# ...#. ....# #...# ..#.. #...# ....# .##..
#...# ..#.. #.... ....# ...#. #...# #...# .#... #...# ....# #....
.###. ##### ##### ####. ...#. .###. .###. .#... .###. .###. .....
..... ..... ..... ..... ..... ..... ..... ..... ..... ..... .....
"""


def _read(drawn: str) -> dict[str, np.ndarray]:
    """Masks (8, 8) bool by character, the space among them."""
    masks = {" ": np.zeros((TILE, TILE), bool)}
    lines = drawn.strip().splitlines()
    for top in range(0, len(lines), TILE + 1):
        points = np.array([[point == "#" for point in line] for line in lines[top + 1 : top + 1 + TILE]])
        for column, character in enumerate(lines[top]):
            if character != " ":
                masks[character] = np.zeros((TILE, TILE), bool)
                masks[character][:, _LEFT : _LEFT + 5] = points[:, column : column + 5]
    return masks


GLYPHS: dict[str, np.ndarray] = _read(_DRAWN)


def glyph_tiles(characters: str, ink: tuple[int, int, int], paper: tuple[int, int, int]) -> np.ndarray:
    """Characters as tiles (len(characters), 8, 8, 3) uint8.

    Raises:
        ValueError: a character that has not been drawn.
    """
    unknown = "".join(sorted(set(characters) - set(GLYPHS)))
    if unknown:
        raise ValueError(f"drawn are space and {''.join(GLYPHS).strip()}, got {unknown!r}; draw it in unienv/glyphs.py")
    masks = np.stack([GLYPHS[character] for character in characters])
    return np.where(masks[..., None], np.array(ink, np.uint8), np.array(paper, np.uint8))
