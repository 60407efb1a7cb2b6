"""Eq. (3): p(x) = prod_i p(x_i | x_<i), text as a path through its prefixes."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from encoders.text.blocks import KV, Transformer, causal
from encoders.text.rows import Head, cut, draw, log_likelihoods, per_token, room, special
from unienv.modality import PAD


class Autoregressive(nn.Module):
    """A causal transformer that predicts each token from those before it.

    The probabilities of all texts that end within L tokens, and of all beginnings of L tokens, add up to 1.

    Args:
        vocabulary_size: V, special ids included, see `encoders.text.rows`.
        width: of the residual stream.
        num_layers: blocks.
        num_heads: attention heads.
    """

    def __init__(self, vocabulary_size: int, width: int = 128, num_layers: int = 4, num_heads: int = 4) -> None:
        super().__init__()
        self.begin, self.end, mask = special(vocabulary_size)
        self.embed = nn.Embedding(vocabulary_size, width)
        self.transformer = Transformer(width, num_layers, num_heads)
        self.head = Head(width, vocabulary_size, never=(PAD, self.begin, mask))

    def forward(self, read: Tensor, past: Sequence[KV] | None = None) -> tuple[Tensor, list[KV]]:
        """What comes after each token, given those before it.

        Args:
            read: tokens (B, L), the first of all being `begin`.
            past: caches of what was read before.

        Returns:
            Logits (B, L, V), and the caches with `read` added.
        """
        start = past[0].keys.shape[2] if past else 0
        keys = torch.arange(start + read.shape[1], device=read.device)
        hidden, caches = self.transformer(self.embed(read), keys[start:], causal(keys[start:], keys), past)
        return self.head(hidden), caches

    def log_probability(self, x: Tensor) -> Tensor:
        """log p(x) in nats, (B,). x (B, L)."""
        logits, _ = self(functional.pad(x[:, :-1], (1, 0), value=self.begin))
        return log_likelihoods(logits, x).sum(dim=1)

    def loss(self, x: Tensor, generator: Generator | None = None) -> dict[str, Tensor]:
        """Terms in nats a token; nothing is drawn. x (B, L)."""
        return {"loss": -per_token(self.log_probability(x), x)}

    @torch.no_grad()
    def sample(
        self, prefix: Tensor, length: int, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """x ~ p(x | prefix), one token at a time on top of a cache.

        Args:
            prefix: (B, P) tokens that texts begin with, P from 0 to L, padded where they are shorter.
            length: L.
            temperature: of each token; 0 takes the likeliest.
            generator: of the draws.

        Returns:
            (B, L).
        """
        given = room(prefix, length)
        tokens, past = [torch.full_like(given[:, 0], self.begin)], None
        for place in range(length):
            logits, past = self(tokens[-1][:, None], past)
            drawn = draw(logits[:, 0], temperature, generator)
            tokens.append(torch.where(given[:, place] == PAD, drawn, given[:, place]))
        return cut(torch.stack(tokens[1:], dim=1), self.end)
