"""Rows of tokens: a sentence, its end and padding, (B, L) int64. What models of text count, say, draw and cut.

Of V ids 0 is padding and the last three are begin, end and mask, as in encoders.text.tokens. The tokens up to and
including the end are the text; padding follows from them and is worth nothing. A text that fills its row may lack its
end.
"""

import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from unienv.modality import PAD


def special(vocabulary_size: int) -> tuple[int, int, int]:
    """The ids of begin, end and mask, of V."""
    return vocabulary_size - 3, vocabulary_size - 2, vocabulary_size - 1


class Head(nn.Linear):
    """Features to logits of tokens, -inf for those that are read but never said.

    Args:
        width: of the features.
        vocabulary_size: V.
        never: ids that are never said.
    """

    never: Tensor

    def __init__(self, width: int, vocabulary_size: int, never: tuple[int, ...]) -> None:
        super().__init__(width, vocabulary_size)
        self.register_buffer("never", torch.tensor(never), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """(..., width) -> (..., V) in float32."""
        return super().forward(input).float().index_fill(-1, self.never, -math.inf)


def log_likelihoods(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x_i) at each place, (B, L), from logits (B, L, V); 0 at padding."""
    return -functional.cross_entropy(logits.transpose(1, 2), x, ignore_index=PAD, reduction="none")


def per_token(nats: Tensor, x: Tensor) -> Tensor:
    """The mean over a batch, (): nats of rows (B,) or of places (B, L), over the tokens of x that are not padding."""
    return nats.sum() / (x != PAD).sum()


def draw(logits: Tensor, temperature: float, generator: Generator | None) -> Tensor:
    """Tokens (...,) from softmax(logits / temperature), logits (..., V); at temperature 0 the likeliest."""
    if temperature == 0.0:
        return logits.argmax(dim=-1)
    probabilities = (logits / temperature).softmax(dim=-1)
    return torch.multinomial(probabilities.flatten(0, -2), 1, generator=generator).view(logits.shape[:-1])


def room(prefix: Tensor, length: int) -> Tensor:
    """Prefixes (B, P) with padding up to `length` tokens, to be filled; ValueError for longer ones."""
    if prefix.shape[1] > length:
        raise ValueError(f"prefixes must have at most length={length} tokens, got {prefix.shape[1]}")
    return functional.pad(prefix, (0, length - prefix.shape[1]), value=PAD)


def cut(x: Tensor, end: int) -> Tensor:
    """The rows (B, L) with padding after their first end."""
    ends = (x == end).to(torch.int64)
    return x.masked_fill(ends.cumsum(dim=1) > ends, PAD)
