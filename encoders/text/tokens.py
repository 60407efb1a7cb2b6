"""Text as whole numbers and back: words of a world, bytes, or pieces learned from a corpus."""

import abc
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, SupportsInt

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from unienv.aside import write_aside
from unienv.errors import named
from unienv.modality import PAD, Vocabulary

_SPECIAL = 4  # padding, begin, end, mask
_KIND = "tokens"  # key that says of which kind the tokens of a file are


class Tokens(abc.ABC):
    """V ids: 0 padding, 1..V-4 pieces of text, and the last three begin, end and mask.

    Text never yields a special id, whatever it holds.

    Args:
        num_pieces: V - 4.
    """

    pad = PAD

    def __init__(self, num_pieces: int) -> None:
        self.begin, self.end, self.mask = range(1 + num_pieces, _SPECIAL + num_pieces)

    def __len__(self) -> int:
        """V."""
        return self.mask + 1

    @abc.abstractmethod
    def encode(self, text: str) -> list[int]:
        """Ids of the pieces of a text."""

    def encode_all(self, texts: list[str]) -> list[list[int]]:
        """`encode` of each text, on several cores where that pays."""
        return list(map(self.encode, texts))

    @abc.abstractmethod
    def join(self, pieces: list[int]) -> str:
        """The text of ids that are all pieces."""

    @abc.abstractmethod
    def state(self) -> dict[str, Any]:
        """What tells these tokens from others of their kind, as JSON has it."""

    def decode(self, ids: Iterable[SupportsInt]) -> str:
        """The text of any ids; special ones are skipped."""
        return self.join([i for i in map(int, ids) if PAD < i < self.begin])

    def sentence(self, row: Iterable[SupportsInt]) -> str:
        """The text of a row up to its first `end`."""
        ids = list(map(int, row))
        return self.decode(ids[: ids.index(self.end)] if self.end in ids else ids)

    def row(self, text: str, length: int) -> list[int]:
        """A text as a row: its ids, `end`, and padding up to `length` tokens.

        Raises:
            ValueError: the text is too long.
        """
        ids = [*self.encode(text), self.end]
        if len(ids) > length:
            raise ValueError(f"{text[:60]!r} takes {len(ids)} tokens with its end, got rows of length {length}")
        return ids + [PAD] * (length - len(ids))


class Words(Tokens):
    """Words of a world's vocabulary, with the ids that they have there; text comes back up to white space.

    Args:
        vocabulary: V - 3 ids, padding among them.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__(len(vocabulary) - 1)
        self.vocabulary = vocabulary

    def encode(self, text: str) -> list[int]:
        """Ids of the words; ValueError for one that is not in the vocabulary."""
        return [self.vocabulary.id(word) for word in text.split()]

    def join(self, pieces: list[int]) -> str:
        """Words with a blank between."""
        return self.vocabulary.decode(pieces)

    def state(self) -> dict[str, Any]:
        """The words, and the number of buckets for others."""
        return {"words": list(self.vocabulary.words), "buckets": self.vocabulary.buckets}


class Bytes(Tokens):
    """The 256 bytes of UTF-8: id 1 + byte, V = 260."""

    def __init__(self) -> None:
        super().__init__(256)

    def encode(self, text: str) -> list[int]:
        """Any text; decoding gives it back."""
        return [byte + 1 for byte in text.encode()]

    def join(self, pieces: list[int]) -> str:
        """What is no UTF-8, as a model may write, reads as the replacement character."""
        return bytes(i - 1 for i in pieces).decode(errors="replace")

    def state(self) -> dict[str, Any]:
        """Nothing: all byte tokens are equal."""
        return {}


class BytePairs(Tokens):
    """Byte-pair encoding over bytes: frequent strings are one piece, and any text has some. See `learn_byte_pairs`.

    Sennrich, Haddow & Birch, "Neural machine translation of rare words with subword units", ACL 2016.

    Args:
        tokenizer: of the library `tokenizers`, without special tokens: it would find their names in texts.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer.get_vocab_size())
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        """Any text; decoding gives it back."""
        return self.encode_all([text])[0]

    def encode_all(self, texts: list[str]) -> list[list[int]]:
        """Texts side by side, in the threads of the library."""
        return [[i + 1 for i in found.ids] for found in self._tokenizer.encode_batch_fast(texts)]

    def join(self, pieces: list[int]) -> str:
        """What is no UTF-8, as a model may write, reads as the replacement character."""
        return self._tokenizer.decode([i - 1 for i in pieces])

    def state(self) -> dict[str, Any]:
        """The library's own description: pieces and merges."""
        return {"tokenizer": json.loads(self._tokenizer.to_str())}


def learn_byte_pairs(texts: Iterable[str], size: int) -> BytePairs:
    """Byte-pair encoding learned from texts.

    Args:
        texts: read once, as a stream.
        size: V at most; fewer where the texts have fewer repeated strings. At least 260.

    Raises:
        ValueError: V is too small for all bytes.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if size < len(alphabet) + _SPECIAL:
        raise ValueError(f"byte pairs need a size of at least {len(alphabet) + _SPECIAL}, got {size}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - _SPECIAL, min_frequency=2, initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return BytePairs(tokenizer)


_KINDS = {"words": Words, "bytes": Bytes, "bpe": BytePairs}


def save_tokens(path: Path, tokens: Tokens) -> None:
    """Write tokens as JSON, aside and then into place."""
    kind = next(name for name, of in _KINDS.items() if isinstance(tokens, of))
    write_aside(path, json.dumps({_KIND: kind} | tokens.state(), ensure_ascii=False))


def load_tokens(path: Path) -> Tokens:
    """The inverse of `save_tokens`.

    Raises:
        ValueError: one line, when the file is missing, damaged or something else.
    """
    try:
        return _restore(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ValueError(f"there is no file of tokens {path}") from None
    except Exception as error:  # `tokenizers` raises nothing more special
        raise ValueError(f"{path} is no file of tokens, or damaged: {named(error)}") from None


def _restore(state: Any) -> Tokens:
    kind = state[_KIND]
    if kind == "words":
        return Words(Vocabulary(state["words"], state["buckets"]))
    if kind == "bytes":
        return Bytes()
    if kind == "bpe":
        return BytePairs(Tokenizer.from_str(json.dumps(state["tokenizer"])))
    raise ValueError(f"expected one of {', '.join(_KINDS)}, got {kind!r}")
