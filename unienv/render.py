"""Pictures for people: enlarged pixels with the text as a caption."""

from collections.abc import Mapping

import numpy as np

from unienv.modality import IMAGE, VIDEO

_SHORT_SIDE = 320  # pixels that a rendered picture has at least
_MARGIN, _LINE, _FONT = 8, 22, 16
_GAP = 3  # pixels between the pieces of a picture, before it is enlarged


def picture(observation: Mapping[str, np.ndarray]) -> np.ndarray:
    """Pixels of one observation (H, W, 3): the image, the frames of the video in order, or both, side by side."""
    pieces = [observation[IMAGE]] if IMAGE in observation else []
    pieces += [*observation[VIDEO]] if VIDEO in observation else []
    return pieces[0] if len(pieces) == 1 else _side_by_side(pieces)


def enlarge(image: np.ndarray) -> np.ndarray:
    """Whole-number magnification to a size that a person can look at."""
    factor = max(1, -(-_SHORT_SIDE // min(image.shape[:2])))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def caption(image: np.ndarray, text: str) -> np.ndarray:
    """An enlarged image (H, W, 3) uint8 above its text, wrapped to the image's width."""
    from PIL import Image, ImageDraw, ImageFont

    big = enlarge(image)
    font = ImageFont.load_default(_FONT)
    lines = _wrap(text, font, big.shape[1] - 2 * _MARGIN)
    canvas = Image.new("RGB", (big.shape[1], big.shape[0] + 2 * _MARGIN + _LINE * len(lines)), "white")
    canvas.paste(Image.fromarray(big), (0, 0))
    draw = ImageDraw.Draw(canvas)
    for row, line in enumerate(lines):
        draw.text((_MARGIN, big.shape[0] + _MARGIN + row * _LINE), line, fill="black", font=font)
    return np.asarray(canvas).copy()


def _side_by_side(pieces: list[np.ndarray]) -> np.ndarray:
    """Pictures in a row with white between them, each as large as a whole factor makes it fit the highest."""
    height = max(len(piece) for piece in pieces)
    width = _GAP * (len(pieces) - 1)
    scaled = [piece.repeat(height // len(piece), axis=0).repeat(height // len(piece), axis=1) for piece in pieces]
    strip = np.full((height, width + sum(piece.shape[1] for piece in scaled), 3), 255, np.uint8)
    left = 0
    for piece in scaled:
        strip[: len(piece), left : left + piece.shape[1]] = piece
        left += piece.shape[1] + _GAP
    return strip


def _wrap(text: str, font: object, width: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:  # type: ignore[attr-defined]
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
