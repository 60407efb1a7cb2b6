"""Latents from noise, block by block: z1 ~ N(0, I) is carried from t = 1 to 0 by the prior's velocity.

A finished block is read once more at time 0, into a cache that all later blocks see. Guidance (Ho and Salimans 2022)
goes beyond the velocity given the history, away from the one without:

    v = v_u + s (v_c - v_u)

v_u is the same pass over the block alone, without a cache and at positions that restart at 0. In training every first
block was just that, so v_u is the velocity of first blocks, p_psi(z^(1)), and no condition ever had to be dropped; and
in the first block v_c = v_u, whatever s.
"""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Generator, Tensor

from encoders.text.blocks import KV
from encoders.text.prior import Prior


@torch.no_grad()
def sample(
    prior: Prior,
    batch: int,
    length: int,
    generator: Generator,
    steps: int = 16,
    guidance: float = 1.0,
    prefix: Tensor | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Latents z0 ~ p_psi, after a prefix if there is one.

    Args:
        prior: the velocity field.
        batch: B.
        length: L, the prefix included.
        generator: draws the noise, on the device of the prior.
        steps: of Euler's method, a block.
        guidance: s; 1 samples the prior itself, above that the history counts for more.
        prefix: clean latents (B, P, d), P <= L, which come out as they are.
        known: (B, P) bool, True on each row's own prefix and False to the right of it; None for all of P.

    Returns:
        (B, L, d), float32.

    Raises:
        ValueError: the prefix does not fit.
    """
    z = torch.zeros(batch, length, prior.latent, device=generator.device)
    pinned = torch.zeros(batch, length, dtype=torch.bool, device=generator.device)
    if prefix is not None:
        if prefix.shape[0] != batch or prefix.shape[1] > length or prefix.shape[2] != prior.latent:
            expected = f"({batch}, at most {length}, {prior.latent})"
            raise ValueError(f"prefix must have the shape {expected}, got {tuple(prefix.shape)}")
        z[:, : prefix.shape[1]] = prefix
        pinned[:, : prefix.shape[1]] = True if known is None else known
    history = None
    for start in range(0, length, prior.block):
        here = slice(start, start + prior.block)
        positions = torch.arange(length, device=z.device)[here]
        if not pinned[:, here].all():
            z[:, here] = denoise(prior, z[:, here], pinned[:, here], positions, history, generator, steps, guidance)
        if start + prior.block < length:
            still = torch.zeros(batch, len(positions), device=z.device)
            _, history = prior(z[:, here], still, positions, past=history)
    return z


def denoise(
    prior: Prior,
    clean: Tensor,
    pinned: Tensor,
    positions: Tensor,
    history: Sequence[KV] | None,
    generator: Generator,
    steps: int,
    guidance: float,
) -> Tensor:
    """One block (B, n, d): clean where pinned (B, n), at time 0 and put back after every step; generated elsewhere."""
    scheduler: Any = FlowMatchEulerDiscreteScheduler()  # annotated with FloatTensor, which to a checker no Tensor is
    # Times are given because the scheduler's own end at 1 / 1000 and then take a last, very short step.
    scheduler.set_timesteps(sigmas=[k / steps for k in range(steps, 0, -1)], device=clean.device)
    noise = torch.randn(clean.shape, generator=generator, device=clean.device)
    z = torch.where(pinned[..., None], clean, noise)
    for moment in scheduler.timesteps:
        t = torch.where(pinned, 0.0, moment / 1000)
        v = guided(prior, z, t, positions, history, guidance)
        stepped = scheduler.step(v, moment, z, return_dict=False)[0]
        z = torch.where(pinned[..., None], clean, stepped)
    return z


def guided(
    prior: Prior, z: Tensor, t: Tensor, positions: Tensor, history: Sequence[KV] | None, guidance: float
) -> Tensor:
    """v_u + s (v_c - v_u), (B, n, d)."""
    with_history, _ = prior(z, t, positions, past=history)
    if history is None or guidance == 1.0:
        return with_history
    alone, _ = prior(z, t, positions - positions[0])
    return torch.lerp(alone, with_history, guidance)
