"""Modalities of an observation: their names, their spaces and the vocabulary that text is written in.

Text is a fixed-length row of word ids (L,), padded with 0: it batches, shares memory and feeds an embedding as it is.
"""

from collections.abc import Iterable, Mapping

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
    """Space of pixels, channels last: image (H, W, C) or video (F, H, W, C), uint8."""
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
    return {key: _check_box(key, box, name) for key, box in found.items()}


def _check_box(key: str, box: gym.Space, name: str) -> spaces.Box:
    rank, dtype = {TEXT: (1, np.int32), IMAGE: (3, np.uint8), VIDEO: (4, np.uint8)}[key]
    if not isinstance(box, spaces.Box) or len(box.shape) != rank or box.dtype != dtype:
        raise ValueError(f"{name} observes {key} as {box}; expected a Box of {rank} dimension(s), {np.dtype(dtype)}")
    return box


def describe_observation(observation: Mapping[str, np.ndarray], vocabulary: Vocabulary) -> str:
    """One line a person can read: the text, and the sizes of what can't be printed."""
    parts = [f'"{vocabulary.decode(observation[TEXT])}"'] if TEXT in observation else []
    parts += [f"{key} {'x'.join(map(str, observation[key].shape))}" for key in (IMAGE, VIDEO) if key in observation]
    return " + ".join(parts)
