"""A point of the rate-distortion curve: what the latents of a VAE tell of a text, and what they leave open."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor

from encoders.gaussian import Gaussian
from encoders.text import elbo
from encoders.text.elbo import Measured
from encoders.text.tokens import Tokens
from encoders.text.vae import TextVAE
from experiments.bridge.measure import mean_length, plain, reconstruction

_DRAWS = 4  # of z for each text


@dataclass
class Standard:
    """A VAE as a `LatentText` whose prior is N(0, I), that of stage 1."""

    vae: TextVAE

    def posterior(self, x: Tensor) -> Gaussian:
        """q(z | x)."""
        return self.vae.posterior(x)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z), (B,)."""
        return self.vae.log_likelihood(x, z)

    def log_prior(self, z: Tensor) -> Tensor:
        """log N(z; 0, I), (B,)."""
        nothing = torch.zeros_like(z)
        return elbo.log_density(Gaussian(nothing, nothing), z)


def rate(
    vae: TextVAE, rows: Tensor, probabilities: Tensor | None, generator: Generator, tokens: Tokens
) -> dict[str, Any]:
    """Information, rate and distortion in nats a token, and the accuracy of what comes back.

    Args:
        vae: after stage 1.
        rows: (B, L).
        probabilities: (B,) of a table of texts: then the information is estimated without bias; None for a sample,
            whose information is bounded from both sides.
        generator: of the draws.
        tokens: that rows are written in.

    Returns:
        "information": I_q(X;Z), {"lower", "upper"}; "rate": E KL(q || N(0, I)); "distortion": -E log p(x | z);
        "accuracy": share of tokens that come back.
    """
    device = generator.device
    rows, law = rows.to(device), None if probabilities is None else probabilities.to(device)
    size = mean_length(rows, law)
    parts = elbo.split(Standard(vae), rows, _DRAWS, generator, law)

    def each(nats: Measured, sign: float = 1.0) -> dict[str, Any]:
        return plain(Measured(sign * nats.value / size, nats.error / size, nats.n))

    back = reconstruction(vae, {"here": (rows, law)}, tokens, generator, times=())
    return {
        "information": {side: each(nats) for side, nats in parts.information._asdict().items()},
        "rate": each(parts.rate),
        "distortion": each(parts.realisation, -1.0),
        "accuracy": back["accuracy"]["here"],
    }
