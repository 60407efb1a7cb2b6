"""Pictures for people: enlarged pixels with the text as a caption."""

from collections.abc import Mapping

import numpy as np

from unienv.modality import IMAGE, VIDEO

_SHORT_SIDE = 320  # pixels that a rendered picture has at least
_MARGIN, _LINE, _FONT = 8, 22, 16


def picture(observation: Mapping[str, np.ndarray]) -> np.ndarray:
    """Pixels of one observation (H, W, 3): the image, else the last frame of the video."""
    return observation[IMAGE] if IMAGE in observation else observation[VIDEO][-1]


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


def _wrap(text: str, font: object, width: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:  # type: ignore[attr-defined]
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
