import string

import numpy as np
import pytest

from unienv.glyphs import GLYPHS, glyph_tiles

INK, PAPER = (200, 230, 205), (18, 20, 24)


def test_every_character_is_drawn_and_none_twice():
    assert set(GLYPHS) == {*string.ascii_lowercase, *string.digits, *" >"}
    assert len({mask.tobytes() for mask in GLYPHS.values()}) == len(GLYPHS)
    assert all(mask.any() == (character != " ") for character, mask in GLYPHS.items())


def test_characters_keep_apart():
    for character, mask in GLYPHS.items():
        assert (mask.shape, mask.dtype) == ((8, 8), np.bool_)
        assert not mask[:, 0].any() and not mask[:, 6:].any()
        assert character in "gjpqy" or not mask[7].any()  # what goes below the line


def test_a_letter_by_hand():
    drawn = ["".join(".#"[int(point)] for point in row) for row in GLYPHS["r"]]
    assert drawn == [
        "........",
        "........",
        ".#.##...",
        ".##..#..",
        ".#......",
        ".#......",
        ".#......",
        "........",
    ]


def test_tiles_are_ink_on_paper():
    tiles = glyph_tiles("ok >", INK, PAPER)
    assert (tiles.shape, tiles.dtype) == ((4, 8, 8, 3), np.uint8)
    for character, tile in zip("ok >", tiles, strict=True):
        assert (tile[GLYPHS[character]] == INK).all() and (tile[~GLYPHS[character]] == PAPER).all()


def test_what_is_not_drawn_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"\A.*got 'é'.*\Z"):
        glyph_tiles("café", INK, PAPER)
