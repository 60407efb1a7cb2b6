"""Text and picture decoded from one latent state beside what went in, as elements of the page."""

from html import escape
from typing import Any

import numpy as np

from experiments.bridge.summary import Summary, at
from experiments.page import picture_uri, rows_of
from unienv.errors import said

_SHOWN = 8
_SIDE = 128  # pixels that a small picture is enlarged to, in whole multiples


def gallery(summary: Summary) -> str:
    """Examples of the modalities, "" without any.

    Raises:
        ValueError: one line, for a picture that is damaged.
    """
    cards = []
    for index, row in enumerate(rows_of(at(summary, "modalities", "examples"), dict)[:_SHOWN]):
        shown = [_column(row, index, *names) for names in _COLUMNS]
        cards.append(f'<div class="card beside">{"".join(shown)}</div>')
    return "".join(cards)


_COLUMNS = (("went in", "text", "image"), ("decoded from z\u0303", "decoded_text", "decoded_image"))


def _column(row: dict[str, Any], index: int, label: str, text: str, image: str) -> str:
    picture = "" if row.get(image) is None else _element(_pixels(row[image], f"{image} of example {index}"), label)
    return f"<div><small>{label}</small>{picture}<p>{escape(str(row.get(text) or ''))}</p></div>"


def _pixels(value: Any, source: str) -> np.ndarray:
    """A picture (H, W, 3) of nested numbers from 0 to 255."""
    try:
        pixels = np.asarray(value, float)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{source} should be (H, W, 3); {said(error)}") from None
    if pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size or not np.isfinite(pixels).all():
        raise ValueError(f"{source} should be (H, W, 3) of numbers, got the shape {pixels.shape}")
    return np.round(np.clip(pixels, 0, 255)).astype(np.uint8)


def _element(pixels: np.ndarray, label: str) -> str:
    times = max(1, _SIDE // max(pixels.shape[:2]))
    return f'<img alt="picture, {label}" src="{picture_uri(pixels.repeat(times, 0).repeat(times, 1))}">'
