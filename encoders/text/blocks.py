"""One transformer block for all models of text: pre-normalised, rotary positions, a cache of what was read before.

What distinguishes the models is who may see whom, and that is a mask of positions:

    autoregressive, VAE     causal                  j <= i
    flow prior              `prior.packed_mask`     a noised block sees itself and the clean ones before it
    masked diffusion        None                    everyone sees everyone
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

_BASE = 10_000.0


class KV(NamedTuple):
    """What later queries read. Fields: keys, after rotation, and values, both (B, h, L, w)."""

    keys: Tensor
    values: Tensor


def causal(queries: Tensor, keys: Tensor) -> Tensor:
    """Who may see whom: key j is not after query i.

    Positions rather than lengths are given, so that a part of a sequence, read on top of a cache, gets its own rows.

    Args:
        queries: positions (Lq,).
        keys: positions (Lk,), those of a cache included.

    Returns:
        (Lq, Lk) bool.
    """
    return keys[None, :] <= queries[:, None]


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021): pairs of coordinates turn by position times a frequency, in float32.

    Args:
        x: (B, h, L, w), w even.
        positions: (L,).
    """
    half = x.shape[-1] // 2
    frequencies = _BASE ** -(torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angles = positions[:, None].to(torch.float32) * frequencies  # (L, w / 2)
    cos, sin = angles.cos(), angles.sin()
    left, right = x.to(torch.float32).chunk(2, dim=-1)
    return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1).to(x.dtype)


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions.

    Args:
        width: of the residual stream.
        num_heads: h; width / h is an even number.

    Raises:
        ValueError: the heads do not share the width out evenly.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        if num_heads < 1 or width % (2 * num_heads):
            raise ValueError(f"width must be a multiple of 2 * num_heads, got width {width} and {num_heads} heads")
        self.num_heads = num_heads
        self.ask = nn.Linear(width, 3 * width)
        self.answer = nn.Linear(width, width)

    def forward(
        self, x: Tensor, positions: Tensor, mask: Tensor | None = None, past: KV | None = None
    ) -> tuple[Tensor, KV]:
        """x (B, L, width) at positions (L,), mask (L, past + L) -> (B, L, width) and the cache, old and new."""
        queries, keys, values = self.ask(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys = rotate(queries, positions), rotate(keys, positions)
        if past is not None:
            keys, values = torch.cat([past.keys, keys], dim=2), torch.cat([past.values, values], dim=2)
        seen = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        return self.answer(seen.transpose(1, 2).flatten(2)), KV(keys, values)


class Block(nn.Module):
    """Attention, then a network at each position, both residual.

    A conditioned block is scaled, shifted and gated by a condition at each position (AdaLN-zero, Peebles and Xie 2023);
    gates start at 0, so that the block starts as the identity.

    Args:
        width: of the residual stream.
        num_heads: h; width / h is an even number.
        conditioned: whether `forward` is given a condition.
    """

    def __init__(self, width: int, num_heads: int, conditioned: bool = False) -> None:
        super().__init__()
        self.attend_norm = nn.LayerNorm(width, elementwise_affine=not conditioned)
        self.attend = Attention(width, num_heads)
        self.think_norm = nn.LayerNorm(width, elementwise_affine=not conditioned)
        self.think = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulate = nn.Linear(width, 6 * width) if conditioned else None
        if self.modulate is not None:
            nn.init.zeros_(self.modulate.weight)
            nn.init.zeros_(self.modulate.bias)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        mask: Tensor | None = None,
        past: KV | None = None,
        condition: Tensor | None = None,
    ) -> tuple[Tensor, KV]:
        """One pass.

        Args:
            x: (B, L, width).
            positions: (L,) int64, of x alone.
            mask: (L, past + L) bool, True where query may see key; None for everywhere.
            past: cache of what stood before x.
            condition: (B, L, width), or (B, 1, width) for one of all positions; with a conditioned block only.

        Returns:
            (B, L, width), and the cache of what stood before and x.

        Raises:
            ValueError: a conditioned block without a condition.
        """
        if self.modulate is None:
            seen, cache = self.attend(self.attend_norm(x), positions, mask, past)
            x = x + seen
            return x + self.think(self.think_norm(x)), cache
        if condition is None:
            raise ValueError("a conditioned block expects a condition (B, L, width), got None")
        parts = self.modulate(functional.silu(condition)).chunk(6, dim=-1)
        scale, shift, gate, think_scale, think_shift, think_gate = parts
        seen, cache = self.attend(self.attend_norm(x) * (1 + scale) + shift, positions, mask, past)
        x = x + gate * seen
        return x + think_gate * self.think(self.think_norm(x) * (1 + think_scale) + think_shift), cache


class Transformer(nn.Module):
    """Blocks without a condition, and a norm at the end.

    Args:
        width: of the residual stream.
        num_layers: blocks.
        num_heads: attention heads.
    """

    def __init__(self, width: int, num_layers: int, num_heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, x: Tensor, positions: Tensor, mask: Tensor | None = None, past: Sequence[KV] | None = None
    ) -> tuple[Tensor, list[KV]]:
        """x (B, L, width) -> (B, L, width), and a cache a block; arguments as those of `Block`."""
        caches = []
        for block, before in zip(self.blocks, past or [None] * len(self.blocks), strict=True):
            x, cache = block(x, positions, mask, before)
            caches.append(cache)
        return self.norm(x), caches
