"""Modalities of an observation: their names, their spaces and the vocabulary that text is written in.

Text is a fixed-length row of word ids (L,), padded with 0: it batches, shares memory and feeds an embedding as it is.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

TEXT, IMAGE, VIDEO = "text", "image", "video"
MODALITIES = (TEXT, IMAGE, VIDEO)
PAD = 0


class Vocabulary:
    """Words with ids 1..V-1; id 0 is padding.

    Args:
        words: distinct, non-empty words without white space, in id order.
        buckets: ids set aside after the words for words not listed; such a word always falls into the same bucket.
            0 makes an unlisted word an error.
    """

    def __init__(self, words: Iterable[str], buckets: int = 0) -> None:
        self.words = tuple(words)
        self.buckets = buckets
        self._ids = {word: index for index, word in enumerate(self.words, start=1)}
        if len(self._ids) != len(self.words) or any(word.split() != [word] for word in self.words):
            raise ValueError(f"vocabulary words must be distinct and non-empty, got {self.words!r}")

    def __len__(self) -> int:
        """V: the number of ids, padding and buckets included."""
        return 1 + len(self.words) + self.buckets

    def id(self, word: str) -> int:
        """The id of one word; ValueError when it is unlisted and there are no buckets."""
        known = self._ids.get(word)
        if known is not None:
            return known
        if not self.buckets:
            raise ValueError(f"{word!r} is not in the vocabulary of {len(self.words)} words")
        return 1 + len(self.words) + _stable_hash(word) % self.buckets

    def encode(self, sentence: str, length: int) -> np.ndarray:
        """A sentence as ids (length,) int32, padded with 0 and cut at `length` words."""
        tokens = np.zeros(length, np.int32)
        ids = [self.id(word) for word in sentence.split()[:length]]
        tokens[: len(ids)] = ids
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        """Ids back to a sentence; padding is skipped, a bucket reads as '<?>'."""
        return " ".join(self.words[i - 1] if i <= len(self.words) else "<?>" for i in map(int, tokens) if i != PAD)


def _stable_hash(word: str) -> int:
    """FNV-1a, 32 bits: Python's own hash of a string differs from process to process."""
    value = 0x811C9DC5
    for byte in word.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def text_space(vocabulary: Vocabulary, length: int) -> spaces.Box:
    """Space of `length` word ids: Box(0, V-1, (L,), int32)."""
    return spaces.Box(0, len(vocabulary) - 1, (length,), np.int32)


def pixel_space(shape: tuple[int, ...]) -> spaces.Box:
    """Space of pixels, channels last: image (H, W, 3) or video (F, H, W, 3), uint8."""
    return spaces.Box(0, 255, shape, np.uint8)


def check_modalities(space: gym.Space, name: str) -> dict[str, spaces.Box]:
    """The modalities of an observation space, in the order text, image, video.

    Raises:
        ValueError: one line, when the space is not a Dict with text and pixels of the form above.
    """
    if not isinstance(space, spaces.Dict):
        raise ValueError(f"{name} observes {space}; expected a Dict with 'text' and 'image' (or 'video')")
    found = {key: space[key] for key in MODALITIES if key in space.spaces}
    missing = [] if TEXT in found else [TEXT]
    missing += [] if IMAGE in found or VIDEO in found else ["image or video"]
    if missing:
        raise ValueError(f"{name} has no {' and no '.join(missing)} in its observation; its keys are {sorted(space)}")
    return {key: check_box(key, box, name) for key, box in found.items()}


def check_box(key: str, box: gym.Space, name: str) -> spaces.Box:
    """The space of a modality; ValueError unless it has the form above."""
    form, dtype = {TEXT: ("(L,)", np.int32), IMAGE: ("(H, W, 3)", np.uint8), VIDEO: ("(F, H, W, 3)", np.uint8)}[key]
    rank = form.count(",") + (key != TEXT)
    if not isinstance(box, spaces.Box) or len(box.shape) != rank or box.dtype != dtype:
        raise ValueError(f"{name} observes {key} as {box}; expected a Box {form} of {np.dtype(dtype)}")
    if key != TEXT and box.shape[-1] != 3:
        raise ValueError(f"{name} observes {key} of {box.shape[-1]} channels; expected 3, {form}")
    return box


def check_observation(observation: Mapping[str, Any], space: spaces.Dict, num: int, name: str) -> None:
    """Refuse N observations, on either backend, that left their space: word ids index tables, shapes are compiled.

    Ids are looked at on the host alone, as a device would have to be waited for.

    Raises:
        ValueError: one line.
    """
    for key, box in space.items():
        check_part(observation.get(key), box, (num, *(box.shape or ())), f"{name} observes {key}")


def check_part(value: Any, box: gym.Space, shape: tuple[int, ...], said: str) -> None:
    """Refuse an array that is not of a box's kind, of a shape or, if it holds word ids, not among its ids."""
    assert isinstance(box, spaces.Box)
    pixels, kind = len(box.shape) > 1, str(getattr(value, "dtype", "")).removeprefix("torch.")
    fits = tuple(getattr(value, "shape", ())) == shape and (
        kind == "uint8" if pixels else kind.startswith(("int", "uint"))
    )
    if not fits:
        got = f"{tuple(value.shape)} {kind}" if kind else type(value).__name__
        raise ValueError(f"{said} outside its space: expected {shape} {'uint8' if pixels else 'integers'}, got {got}")
    if not pixels and (isinstance(value, np.ndarray) or value.device.type == "cpu"):
        low, high, most = int(value.min()), int(value.max()), int(box.high.flat[0])
        if low < 0 or high > most:
            raise ValueError(f"{said} outside its space: expected ids from 0 to {most}, got {low} to {high}")
