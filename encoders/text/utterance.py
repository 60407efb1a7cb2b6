"""Tokens to latents: word embeddings, learned places and a small transformer; every distinct utterance once a batch."""

import torch
from torch import Tensor, nn

from encoders.distinct import Distinct
from encoders.image import in_working_precision
from unienv.modality import PAD


class TextEncoder(nn.Module):
    """o^text -> z^text.

    Args:
        vocabulary_size: V, padding included.
        length: L, tokens of an utterance.
        dim: D.
        num_layers: transformer layers.
        num_heads: attention heads; D is a multiple of it.
    """

    def __init__(self, vocabulary_size: int, length: int, dim: int, num_layers: int = 1, num_heads: int = 4) -> None:
        super().__init__()
        self.grid = None
        self.embed = nn.Embedding(vocabulary_size, dim)
        self.place = nn.Parameter(torch.randn(length, dim) * 0.5)
        layer = nn.TransformerEncoderLayer(dim, num_heads, 2 * dim, dropout=0.0, batch_first=True, norm_first=True)
        self.transformer = nn.TransformerEncoder(layer, num_layers, nn.LayerNorm(dim), enable_nested_tensor=False)

    def forward(self, utterances: Distinct) -> Tensor:
        """Distinct utterances (U, L) and which of them (B,) -> (B, L, D)."""
        padding = utterances.items == PAD
        padding[:, 0] = False  # an empty utterance attends to its own first place rather than to nothing
        embedded = self.embed(utterances.items) + self.place
        latents = self.transformer(embedded, src_key_padding_mask=padding)  # (U, L, D)
        return in_working_precision(latents[utterances.which])
