"""The prior over latents of text, p_psi(z0) = prod_b p_psi(z^(b) | z^(<b)): a block-causal flow.

A sequence z0 (B, L, d) is cut into blocks of n positions (the last may be shorter). One transformer gives each block's
velocity v(z_t^(b), t; z0^(<b)): positions of a block see each other, and the clean blocks before. In training all
blocks are noised at once, each to a time of its own, and packed behind a clean copy, which has time 0 and the same
positions:

             clean blocks   noised blocks
    clean i    j <= i           -
    noised b   j <  b         j = b

Rotary positions tell attention how far apart two positions are, but not where in its block a position stands: equal
latents would move alike, and a first word take on some of the law of the second. So a learned place in the block is
added to each. Nothing says which block it is, except the history.
"""

import copy
import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Self

import torch
from torch import Generator, Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from encoders.text import flow
from encoders.text.blocks import KV, Block
from unienv.spelling import check_choice

STOPS = ("input", "all", "none")
_FASTEST, _SLOWEST = 32.0, 0.1  # radians in [0, 1] of features of time


class Prior(nn.Module):
    """Velocity field of latents, block by block.

    Args:
        latent: d.
        width: of the transformer.
        num_layers: blocks of the transformer.
        num_heads: attention heads.
        block: n, positions that are generated together.
        context: numbers of what a law of latents may be conditioned on, see `given`; 0 for none.
    """

    def __init__(self, latent: int, width: int, num_layers: int, num_heads: int, block: int, context: int = 0) -> None:
        super().__init__()
        self.latent, self.block = latent, block
        self.embed = nn.Linear(latent, width)
        self.place = nn.Parameter(torch.randn(block, width) * 0.5)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.layers = nn.ModuleList(Block(width, num_heads, conditioned=True) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = nn.Linear(width, 2 * width)
        self.velocity = nn.Linear(width, latent)
        for layer in (self.modulate, self.velocity):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.listen = nn.Linear(context, width) if context else None
        self._heard: Tensor | None = None

    def given(self, context: Tensor) -> Self:
        """p_psi(z0 | c): these parameters, not copies of them, with a context c (B, C) for each of B rows.

        Raises:
            ValueError: the prior takes no context.
        """
        if self.listen is None:
            raise ValueError(f"expected a prior made with context={context.shape[1]}, got one that takes no context")
        conditional = copy.copy(self)
        conditional._heard = self.listen(context)[:, None]
        return conditional

    def forward(
        self, z: Tensor, t: Tensor, positions: Tensor, mask: Tensor | None = None, past: Sequence[KV] | None = None
    ) -> tuple[Tensor, list[KV]]:
        """One pass.

        Args:
            z: (B, L, d).
            t: (B, L) in [0, 1], 0 where z is clean.
            positions: (L,) int64.
            mask: (L, past + L) bool, True where a query may see a key; None for everywhere.
            past: a cache a layer of what stands before.

        Returns:
            Velocities (B, L, d), float32, and the cache of what stands before and z.
        """
        condition = self.time(waves(t, self.embed.out_features))
        if self._heard is not None:
            condition = condition + self._heard
        x, caches = self.embed(z) + self.place[positions % self.block], []
        for layer, before in zip(self.layers, past or [None] * len(self.layers), strict=True):
            x, cache = layer(x, positions, mask, before, condition)
            caches.append(cache)
        scale, shift = self.modulate(nn.functional.silu(condition)).chunk(2, dim=-1)
        return self.velocity(self.norm(x) * (1 + scale) + shift).float(), caches

    def packed(self, clean: Tensor, noised: Tensor, t: Tensor) -> Tensor:
        """Velocities of all blocks at once: clean and noised (B, L, d), t (B, L) of the noised -> (B, L, d).

        Of the clean copy the last block is left out: nobody comes after it.
        """
        positions = torch.arange(noised.shape[1], device=noised.device)
        before = self._history(len(positions))
        z = torch.cat([clean[:, :before], noised], dim=1)
        t = torch.cat([torch.zeros_like(t[:, :before]), t], dim=1)
        mask = packed_mask(positions, self.block)
        return self(z, t, torch.cat([positions[:before], positions]), mask)[0][:, before:]

    def loss(
        self, z0: Tensor, modelled: Tensor, generator: Generator, stop: str = "input", boundary: float = 0.05
    ) -> Tensor:
        """Flow matching: the mean of (v - (z1 - z0))^2 over the coordinates of modelled positions.

        Now and then a left part of a block stays clean, at time 0 and without loss, so that the field can also go on
        from a prefix that ends inside a block.

        Args:
            z0: latents (B, L, d).
            modelled: (B, L) bool, False for padding. Padding within a block that has begun is seen by the rest of
                the block; a sampler, which cannot know where an utterance will end, generates it too. So mark whole
                blocks.
            generator: draws times, noise and boundaries.
            stop: what of the gradient into z0 is stopped. "input": it enters by the noised input alone, not by the
                target or by the history; "all": none enters; "none": it enters everywhere.
            boundary: probability that a block begins clean.

        Returns:
            (), >= 0; 0 if nothing is modelled.

        Raises:
            ValueError: no such stop.
        """
        check_choice("stop", stop, STOPS)
        z0 = z0.float()
        held, entering = z0 if stop == "none" else z0.detach(), z0.detach() if stop == "all" else z0
        t = self._each_block(flow.draw_times(self._blocks(z0), flow.shift(self.latent), generator), z0)
        pinned = self._boundaries(z0, boundary, generator)
        z1 = torch.randn(z0.shape, generator=generator, device=z0.device)
        noised = torch.where(pinned[..., None], held, flow.interpolate(entering, z1, t))
        v = self.packed(held, noised, torch.where(pinned, 0.0, t))
        counted = (modelled & ~pinned)[..., None]
        errors = torch.where(counted, v - (z1 - held), 0.0).square()
        return errors.sum() / (counted.sum() * self.latent).clamp(min=1)

    def log_density(self, z0: Tensor, generator: Generator | None = None, steps: int = 32) -> Tensor:
        """log p_psi(z^(b) | z^(<b)) in nats of every block: (B, ceil(L / n)). Their sum is log p_psi(z0).

        The clean history does not depend on what is noised behind it: it is read once, and blocks do not meet. There
        is a gradient in z0 where z0 requires one, see `flow.log_density`.

        Args:
            z0: latents (B, L, d).
            generator: draws the probe of an unbiased estimate; None for the exact divergence, n * d times as costly.
            steps: of the solver.
        """
        z0 = z0.float()
        followed = z0.requires_grad and torch.is_grad_enabled()
        positions = torch.arange(z0.shape[1], device=z0.device)
        before = self._history(len(positions))
        mask = packed_mask(positions, self.block)
        # Fused attention is differentiable once, and a gradient of a divergence is a second.
        attention = sdpa_kernel(SDPBackend.MATH) if followed else nullcontext()
        with attention, torch.set_grad_enabled(followed):
            still = torch.zeros(z0.shape[:2], device=z0.device)
            _, past = self(z0[:, :before], still[:, :before], positions[:before], mask[:before, :before])
            probes = flow.every_probe(z0, self.block) if generator is None else flow.random_probe(z0, generator)
            terms = flow.log_density(
                lambda z, t: self(z, t.expand(z.shape[:2]), positions, mask[before:], past)[0], z0, probes, steps
            )
        blocks = terms.new_zeros(self._blocks(z0))
        return blocks.index_add(1, positions // self.block, terms.sum(dim=-1))

    def _history(self, length: int) -> int:
        """Positions before the last block."""
        return (length - 1) // self.block * self.block

    def _blocks(self, z: Tensor) -> tuple[int, int]:
        """(B, number of blocks)."""
        return z.shape[0], math.ceil(z.shape[1] / self.block)

    def _each_block(self, values: Tensor, z: Tensor) -> Tensor:
        """(B, number of blocks) -> (B, L), a block's value at each of its positions."""
        return values.repeat_interleave(self.block, dim=1)[:, : z.shape[1]]

    def _boundaries(self, z: Tensor, probability: float, generator: Generator) -> Tensor:
        """Positions (B, L) of blocks' left parts, of 1 to n - 1 positions, that stay clean."""
        chance = torch.rand(self._blocks(z), generator=generator, device=z.device)
        sizes = torch.randint(1, max(2, self.block), self._blocks(z), generator=generator, device=z.device)
        sizes = sizes * (chance < probability) * (self.block > 1)
        return torch.arange(z.shape[1], device=z.device) % self.block < self._each_block(sizes, z)


def packed_mask(positions: Tensor, block: int) -> Tensor:
    """Who sees whom in [clean blocks but the last | noised blocks]: (H + L, H + L) bool for positions 0..L-1 (L,)."""
    number = positions // block
    clean = number[number < number[-1]]
    number = torch.cat([clean, number])
    noised = torch.arange(len(number), device=positions.device) >= len(clean)
    history = ~noised & (number + noised[:, None] <= number[:, None])  # a noised block's own clean copy is hidden
    return history | (noised & noised[:, None] & (number == number[:, None]))


def waves(t: Tensor, width: int) -> Tensor:
    """Sines and cosines of t at frequencies from 32 down to 0.1: (...) -> (..., width), float32, width even.

    No faster, so that a solver of a few steps follows what is made of them. With frequencies up to 1000, as diffusion
    models have them, densities of learned fields were wrong by tenths of a nat after 32 steps of fourth order.
    """
    half = width // 2
    frequencies = _FASTEST * (_SLOWEST / _FASTEST) ** (torch.arange(half, device=t.device) / max(1, half - 1))
    phases = t.float()[..., None] * frequencies
    return torch.cat([phases.sin(), phases.cos()], dim=-1)
