"""Corpora: texts to learn from, either what worlds say or a user's files, as rows of tokens; a tenth is held out.

A row of a sentence is `sentence, end, padding`; a row of files is a stretch of documents with `end` after each, full.
"""

import abc
import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from encoders.text.documents import passages, text_files
from encoders.text.tokens import Bytes, Tokens, Words, learn_byte_pairs
from unienv.backend import to_numpy
from unienv.modality import TEXT, Vocabulary
from unienv.registry import NAMESPACE, WORLDS, make_world, needs, world_class, world_names
from unienv.rng import Keys, slots, streams
from unienv.spelling import check_choice, nearest
from unienv.world import World

SPLITS = ("train", "test")
TOKENS = ("words", "bytes", "bpe")

_PARTS = 10  # one of which is held out
_FEWEST, _MOST = 1 << 10, 1 << 16  # episodes of a survey
_TOGETHER = 64  # documents encoded side by side
_POOL = 16  # batches whose rows are shuffled together: rows that follow each other in a document are alike


class Corpus(abc.ABC):
    """Texts in two splits, "train" and "test", that share no text.

    Attributes:
        name: for people.
        tokens: what rows are written in; may be replaced.
    """

    name: str
    tokens: Tokens

    @abc.abstractmethod
    def texts(self, split: str) -> Iterator[str]:
        """All texts of a split, in a fixed order."""

    @abc.abstractmethod
    def batches(self, split: str, batch: int, length: int, generator: Generator) -> Iterator[Tensor]:
        """Rows (B, L) int64 for ever, drawn with a generator of the CPU.

        Raises:
            ValueError: one line, when the split is empty or rows are too short.
        """


def open_corpus(source: str, tokens: str | Tokens | None = None, size: int = 1024) -> Corpus:
    """A corpus by its name.

    Args:
        source: "worlds" for all worlds of this package that need no parameters; names of worlds, "goto,manual"; or the
            path of a text file or of a folder of text files.
        tokens: "words", for worlds alone; "bytes"; "bpe", learned from the training split; or tokens there are
            already. None for words of worlds and bytes of files.
        size: V at most of "bpe".

    Raises:
        ValueError: one line, for a source that does not exist, is empty or is no text.
    """
    if worlds := worlds_of(source):
        corpus = Sentences({name: make_world(id) for name, id in worlds.items()})
    elif os.path.exists(source):  # which no name is too long for
        corpus = Documents(Path(source))
    else:
        known = ["worlds", *world_names()]
        raise ValueError(f"no file, folder or world is called {source!r}; did you mean {nearest(source, known)!r}?")
    if isinstance(tokens, Tokens):
        corpus.tokens = tokens
    elif tokens is not None:
        corpus.tokens = _choose_tokens(corpus, tokens, size)
    return corpus


def worlds_of(source: str) -> dict[str, str]:
    """Ids of the worlds that a source of `open_corpus` names, by name; {} for a path."""
    if source == "worlds":
        worlds = {name.rpartition("-v")[0].lower(): f"{NAMESPACE}/{name}" for name in WORLDS}
        return {name: id for name, id in worlds.items() if not needs(world_class(id)[0])}
    names = [name.strip() for name in source.split(",")]
    return {name: name for name in names} if all(name in world_names() for name in names) else {}


def _choose_tokens(corpus: Corpus, kind: str, size: int) -> Tokens:
    check_choice("tokens", kind, TOKENS)
    if kind == "words" and not isinstance(corpus, Sentences):
        raise ValueError(f"tokens=words needs the vocabulary of worlds; files such as {corpus.name} take bytes or bpe")
    if kind == "bpe":
        return learn_byte_pairs(corpus.texts("train"), size)
    return Bytes() if kind == "bytes" else corpus.tokens


class Sentences(Corpus):
    """What worlds say at the start of an episode: a table of sentences and their probabilities.

    A draw takes a world, all alike, and then one of its sentences as often as the world says it. A sentence is held
    out by its content, unless it has a word that no sentence for training tells: nothing could be learned of that.

    Args:
        worlds: by name.

    Attributes:
        complete: whether each survey went on until it found nothing new, see `survey`.
    """

    def __init__(self, worlds: Mapping[str, World]) -> None:
        self.name = ", ".join(worlds)
        self.tokens = Words(Vocabulary(dict.fromkeys(chain(*(world.vocabulary.words for world in worlds.values())))))
        surveys = [survey(world) for world in worlds.values()]
        self.complete = all(complete for _, complete in surveys)
        self._law: dict[str, float] = {}
        for counts, _ in surveys:
            for sentence, count in counts.items():
                share = count / counts.total() / len(surveys)
                self._law[sentence] = self._law.get(sentence, 0.0) + share
        self._split = _split(self._law)

    def texts(self, split: str) -> Iterator[str]:
        """Distinct sentences, in alphabetic order."""
        return iter(self._split[_checked(split)])

    def valid(self, sentence: str) -> bool:
        """Whether a world can begin an episode with this sentence, word for word; exact if the surveys are complete."""
        return sentence in self._law

    def probabilities(self, split: str) -> Tensor:
        """(n,) float64: those of `texts`, given the split."""
        shares = torch.tensor([self._law[sentence] for sentence in self.texts(split)], dtype=torch.float64)
        return shares / shares.sum()

    def entropy(self, split: str) -> float:
        """H of a draw in nats a sentence: no model has a lower mean -log p there."""
        shares = self.probabilities(split)
        return float(-(shares * shares.log()).sum())

    def rows(self, split: str, length: int) -> Tensor:
        """(n, L) int64: a row for each of `texts`.

        Raises:
            ValueError: the split is empty, or a sentence is too long.
        """
        rows = [self.tokens.row(sentence, length) for sentence in self.texts(split)]
        if not rows:
            raise ValueError(f"{self.name}: none of {len(self._law)} sentences is in the split {split!r}")
        return torch.tensor(rows)

    def batches(self, split: str, batch: int, length: int, generator: Generator) -> Iterator[Tensor]:
        """Independent draws, a sentence a row."""
        rows, shares = self.rows(split, length), self.probabilities(split)
        draws = (torch.multinomial(shares, batch, replacement=True, generator=generator) for _ in iter(int, 1))
        return (rows[draw] for draw in draws)


def survey(world: World) -> tuple[Counter[str], bool]:
    """How often a world opens an episode with each sentence, and whether that was all.

    Episodes are doubled from 2^10 until the second half says nothing that the first did not, or until 2^16.
    """
    counts: Counter[str] = Counter()
    episodes = 0
    while episodes < _MOST:
        known = len(counts)
        for _ in range(max(1, episodes // _FEWEST)):
            counts.update(_openings(world, episodes, _FEWEST))
            episodes += _FEWEST
        if len(counts) == known:
            return counts, True
    return counts, False


def _openings(world: World, seed: int, count: int) -> Counter[str]:
    """First sentences of `count` episodes, from seeds that follow `seed`."""
    seeds = world.array(np.arange(seed, seed + count), "int64")
    stream = streams(slots(seeds), seeds * 0)
    text = world.observe(world.initial(Keys(world.xp, stream, stream * 0)))[TEXT]
    rows, counts = np.unique(to_numpy(text), axis=0, return_counts=True)
    said = Counter[str]()
    for row, n in zip(rows, counts.tolist(), strict=True):
        said[world.vocabulary.decode(row)] += n
    return said


def _split(sentences: Iterable[str]) -> dict[str, list[str]]:
    """Sentences by split; those that have a word which the training split lacks are moved there."""
    parts: dict[str, list[str]] = {split: [] for split in SPLITS}
    for sentence in sorted(sentences):
        parts["test" if _is_held_out(sentence.encode()) else "train"].append(sentence)
    known = {word for sentence in parts["train"] for word in sentence.split()}
    lost = [sentence for sentence in parts["test"] if not known.issuperset(sentence.split())]
    held = [sentence for sentence in parts["test"] if known.issuperset(sentence.split())]
    return {"train": sorted(parts["train"] + lost), "test": held}


class Documents(Corpus):
    """A file, or all files in a folder and its folders but hidden ones: UTF-8 text, read as it is needed.

    A document is a passage between blank lines; in a file without blank lines, a line. What is longer than 64 KiB is
    cut. A tenth of the documents is held out by their content.

    Args:
        path: of the file or folder.
        tokens: what rows are written in.

    Raises:
        ValueError: one line, when there is no text, or something that is not UTF-8.
    """

    def __init__(self, path: Path, tokens: Tokens | None = None) -> None:
        self.name, self.tokens = str(path), tokens or Bytes()
        self._files = text_files(path)
        places = {split: array("q") for split in SPLITS}
        for number, file in enumerate(self._files):
            for start, passage in passages(file):
                places["test" if _is_held_out(passage) else "train"].extend((number, start, len(passage)))
        self._places = {split: np.frombuffer(of, np.int64).reshape(-1, 3) for split, of in places.items()}
        if not any(map(len, places.values())):
            raise ValueError(f"{path} holds no text")

    def texts(self, split: str) -> Iterator[str]:
        """All documents of a split, file by file."""
        return map(self._read, self._places[_checked(split)].tolist())

    def batches(self, split: str, batch: int, length: int, generator: Generator) -> Iterator[Tensor]:
        """Epochs in new orders without a break between them: every row is full."""
        count = len(self._places[_checked(split)])
        if not count:
            told = sum(map(len, self._places.values()))
            raise ValueError(
                f"{self.name}: none of {told} document(s) is in the split {split!r}; blank lines part them"
            )
        return self._batches(split, batch, length, generator)

    def _batches(self, split: str, batch: int, length: int, generator: Generator) -> Iterator[Tensor]:
        stream, pool = self._stream(split, generator), _POOL * batch
        while True:
            rows = torch.from_numpy(np.fromiter(stream, np.int64, pool * length)).reshape(pool, length)
            yield from rows[torch.randperm(pool, generator=generator)].split(batch)

    def _stream(self, split: str, generator: Generator) -> Iterator[int]:
        """Tokens of documents in random order, `end` after each, for ever."""
        places = self._places[split]
        while True:
            for some in torch.randperm(len(places), generator=generator).split(_TOGETHER):
                for ids in self.tokens.encode_all(list(map(self._read, places[some.numpy()].tolist()))):
                    yield from ids
                    yield self.tokens.end

    def _read(self, place: list[int]) -> str:
        number, start, size = place
        with open(self._files[number], "rb", buffering=0) as file:
            file.seek(start)
            return file.read(size).decode()


def _is_held_out(text: bytes) -> bool:
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return int.from_bytes(digest, "little") % _PARTS == 1


def _checked(split: str) -> str:
    check_choice("split", split, SPLITS)
    return split
