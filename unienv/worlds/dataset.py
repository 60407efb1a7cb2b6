"""dataset: rows of (text, image, label) as a world in which to act is to guess the label."""

import hashlib
import os
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from unienv.arrays import read_arrays
from unienv.buffers import aligned
from unienv.modality import IMAGE, TEXT, Vocabulary, pixel_space, text_space
from unienv.rng import Array, Keys
from unienv.spelling import check_choice
from unienv.sprites import copy_rows
from unienv.words import MAX_IDS, split_words
from unienv.world import Feedback, Observation, World

SPLITS = ("train", "test", "all")

_ARRAYS = (TEXT, IMAGE, "label")
_PARTS = 5  # one of which is held out
_START = 0  # salt


class DatasetState(NamedTuple):
    """Fields, both (N,)."""

    row: Array  # int64, which row of the split is asked
    answered: Array  # bool


class Dataset(World):
    """A row's text and image are shown and its label is asked: with `signal=label`, supervised learning.

    Why non-separable: as far as the data are. `exact` measures the law of these rows. That says something of where they
    come from only if texts and images recur: an image that never does tells its row by itself, which gives NS = 0. Then
    `unienv.separability.rows.guesses` makes transitions of the rows, from which `estimate` learns on some and is tested
    on others.

    Observation: text (L,), L the words of the longest; image (H, W, 3).
    Actions: the K distinct labels in sorted order. Feedback: success, the guess is the label. Reward: 1 for success.
    Start: a uniform row of the split. End: terminated after one answer.

    A file is what `numpy.savez("data.npz", text=texts, image=images, label=labels)` writes:
        text    n strings, which are split into lower-case words; or word ids (n, L) padded with 0
        image   (n, H, W, 3) uint8; grey (n, H, W) and (n, H, W, 1) are shown in three equal channels
        label   n integers or strings
    The vocabulary, L and K are those of all rows, so that the spaces of the splits are equal.

    Args:
        path: the file, or a mapping that holds the three arrays.
        split: "test" for a fifth of the rows by a hash of text and image, "train" for the others, or "all". Equal pairs
            fall into the same part, and stay there whatever rows are added.
        signal: rule G. backend, device: see `World`.
    """

    def __init__(
        self,
        path: str | Mapping[str, Any],
        split: str = "train",
        signal: str = "reward",
        backend: str = "numpy",
        device: str | None = None,
    ) -> None:
        super().__init__(signal, backend, device)
        name = "the data set" if isinstance(path, Mapping) else str(path)
        text, image, label = _check(path if isinstance(path, Mapping) else _read(name), name)
        names, labels = np.unique(label, return_inverse=True)
        if len(names) < 2:
            raise ValueError(f"{name}: expected at least 2 different labels, got only {str(names[0])!r}")
        self.action_names = tuple(map(str, names))
        self.vocabulary, tokens = _tokens(text)
        rows = _rows(split, [self.vocabulary.decode(row) for row in tokens], image, name)
        self.num_rows = len(rows)
        self._texts = self.array(tokens[rows])  # (n, L)
        self._images = self.array(aligned(_coloured(image[rows])))  # (n, H, W, 3)
        self._labels = self.array(labels[rows], "int64")  # (n,)
        self.observation_space = spaces.Dict(
            {TEXT: text_space(self.vocabulary, tokens.shape[1]), IMAGE: pixel_space(tuple(self._images.shape[1:]))}
        )
        self.action_space = spaces.Discrete(len(names))

    @property
    def shown(self) -> Observation:
        """What the n rows of the split show, by modality (n, ...)."""
        return {TEXT: self._texts, IMAGE: self._images}

    @property
    def labels(self) -> Array:
        """Their labels (n,) int64, numbers of actions."""
        return self._labels

    def initial(self, keys: Keys) -> DatasetState:
        """A uniform row."""
        row = keys.integers(_START, [self.num_rows])[:, 0]
        return DatasetState(row, row < 0)

    def observe(self, state: DatasetState) -> Observation:
        """The row's text and image, copied."""
        image = self.canvas((state.row.shape[0], *self._images.shape[1:]))
        copy_rows(self._images, state.row, image)
        return {TEXT: self._texts[state.row], IMAGE: image}

    def feedback(self, state: DatasetState, observation: Observation, action: Array, keys: Keys) -> Feedback:
        """Whether the guess is the row's label."""
        del observation, keys
        return {"success": action == self._labels[state.row]}

    def transition(
        self, state: DatasetState, observation: Observation, action: Array, feedback: Feedback, keys: Keys
    ) -> DatasetState:
        """The row has been answered."""
        del observation, action, feedback, keys
        return state._replace(answered=state.row >= 0)

    def terminal(self, state: DatasetState) -> Array:
        """One answer ends the episode."""
        return state.answered

    def oracle(self, state: DatasetState) -> Array:
        """The label."""
        return self._labels[state.row]


def dataset(texts: Any, images: Any, labels: Any, **parameters: Any) -> Dataset:
    """A world from arrays in memory, for `WorldEnv(world)` and `WorldVectorEnv(world, num_envs)`.

    Args:
        texts: n strings, or word ids (n, L).
        images: (n, H, W, 3) uint8, or grey (n, H, W) or (n, H, W, 1).
        labels: n integers or strings.
        parameters: `split`, `signal`, `backend` and `device` of `Dataset`.

    Raises:
        ValueError: one line, for arrays of another form.
    """
    return Dataset(dict(zip(_ARRAYS, (texts, images, labels), strict=True)), **parameters)


def _read(path: str) -> dict[str, np.ndarray]:
    """The arrays of a file, as far as it has them."""
    if not os.path.isfile(path):  # which no name is too long for
        raise ValueError(f"there is no file {path!r}; path names an .npz file with text, image and label")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no .npz file; write one with numpy.savez(path, text=.., image=.., label=..)")
    try:
        return read_arrays(path, _ARRAYS)
    except ValueError as error:
        raise ValueError(f"{path} can't be read: {error}; save plain arrays of numbers and of numpy.str_") from None


def _check(arrays: Mapping[str, Any], name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Text, image and label of n >= 1 rows each; ValueError in one line otherwise."""
    missing = [key for key in _ARRAYS if key not in arrays]
    if missing:
        raise ValueError(f"{name} has no {' and no '.join(missing)}; expected arrays text, image and label")
    text, image, label = (np.asarray(arrays[key]) for key in _ARRAYS)
    forms = (
        (text, text.dtype.kind + str(text.ndim) in ("U1", "i2", "u2"), "text: strings (n,) or word ids (n, L)"),
        (image, image.dtype == np.uint8 and _is_picture(image.shape), "image: uint8 (n, H, W, 3), or grey"),
        (label, label.dtype.kind in "biuU" and label.ndim == 1, "label: integers or strings (n,)"),
    )
    for array, fits, form in forms:
        if not fits or 0 in array.shape:
            raise ValueError(f"{name}: expected {form} with n >= 1, got {array.dtype} {array.shape}")
    lengths = [len(array) for array in (text, image, label)]
    if len(set(lengths)) > 1:
        raise ValueError(f"{name}: expected equally many texts, images and labels, got {lengths}")
    if text.dtype.kind != "U" and not 0 <= text.min() <= text.max() <= MAX_IDS:
        raise ValueError(f"{name}: expected word ids from 0 to {MAX_IDS}, got {text.min()} to {text.max()}")
    return text, image, label


def _is_picture(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 or (len(shape) == 4 and shape[3] in (1, 3))


def _tokens(text: np.ndarray) -> tuple[Vocabulary, np.ndarray]:
    """The vocabulary of all rows and their ids (n, L) int32; ids that came as such are called by their numbers."""
    if text.dtype.kind != "U":
        return Vocabulary(map(str, range(1, int(text.max()) + 1))), text.astype(np.int32)
    said = [split_words(sentence) for sentence in text.tolist()]
    vocabulary = Vocabulary(sorted({word for words in said for word in words}))
    length = max(1, *map(len, said))
    return vocabulary, np.stack([vocabulary.encode(" ".join(words), length) for words in said])


def _rows(split: str, sentences: list[str], image: np.ndarray, name: str) -> np.ndarray:
    """Indices of the rows of a split."""
    check_choice("split", split, SPLITS)
    if split == "all":
        return np.arange(len(sentences))
    held_out = np.array([_hash(*row) % _PARTS == 0 for row in zip(sentences, image, strict=True)])
    rows = np.flatnonzero(held_out == (split == "test"))
    if not len(rows):
        raise ValueError(f"none of the {len(sentences)} rows of {name} falls into split={split}; take split=all")
    return rows


def _hash(sentence: str, pixels: np.ndarray) -> int:
    """Of what is shown, not of its place or label: a pair that recurs must not be both learned from and tested on."""
    digest = hashlib.blake2b(sentence.encode() + b"\0" + pixels.tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _coloured(image: np.ndarray) -> np.ndarray:
    """Images (n, H, W, 3), grey ones in three equal channels."""
    image = image[..., None] if image.ndim == 3 else image
    return np.repeat(image, 3 // image.shape[3], axis=3)
