"""A Gaussian head: latents as distributions q(z | x) = N(mean, diag(exp(log_variance)))."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn


class Gaussian(NamedTuple):
    """Fields: mean and log_variance, both (..., D)."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, generator: Generator | None = None) -> Tensor:
        """A reparameterised draw (..., D)."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def divergence(self) -> Tensor:
        """KL(q || N(0, I)) in nats, (...): >= 0, and 0 iff q is the standard normal."""
        terms = self.mean**2 + self.log_variance.exp() - 1.0 - self.log_variance
        return 0.5 * terms.sum(dim=-1)


class GaussianHead(nn.Module):
    """Features (..., D) -> Gaussian latents (..., D').

    Args:
        dim: D of the features.
        latent: D' of the latents; None for D.
    """

    def __init__(self, dim: int, latent: int | None = None) -> None:
        super().__init__()
        self.project = nn.Linear(dim, 2 * (latent or dim))

    def forward(self, features: Tensor) -> Gaussian:
        """Mean unbounded; log-variance held within [-10, 10] so that neither it nor its inverse overflows."""
        mean, log_variance = self.project(features).chunk(2, dim=-1)
        return Gaussian(mean, log_variance.clamp(-10.0, 10.0))
