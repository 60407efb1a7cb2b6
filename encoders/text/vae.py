"""Text as continuous latents and back, Eq. (11): z ~ q(z | x), x ~ p(x | z). The first stage of Eq. (4).

Encoder and decoder are causal, so that how a sentence goes on changes nothing of what stands before; the decoder sees
latents only, p(x | z) = prod_i p(x_i | z_<=i), so that all that is to be said has to be in z.
"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from encoders.gaussian import Gaussian, GaussianHead
from encoders.text.blocks import Transformer, causal
from encoders.text.rows import Head, cut, draw, log_likelihoods, per_token, special
from unienv.modality import PAD


@dataclass
class VAEConfig:
    """Shape of a text VAE and weights of its loss."""

    width: int = 128  # of the residual streams
    layers: int = 2  # blocks of the encoder, and of the decoder
    heads: int = 4  # attention heads
    latent: int = 16  # d, numbers a latent
    patch: int = 1  # tokens a latent
    kl: float = 1e-3  # weight of KL(q || N(0, I))
    mask_weight: float = 0.5  # weight of the recovery of hidden tokens
    mask_ratio: float = 0.2  # share of tokens that is hidden for it


class TextVAE(nn.Module):
    """q(z | x) and p(x | z).

    Means have mean 0 and variance 1 over the d numbers of a latent, so that the variance of q alone says how sharp a
    latent is. Where there is nothing but padding, q is N(0, I): such a latent is worth 0 nats, and nobody reads it.

    Args:
        vocabulary_size: V, special ids included, see `encoders.text.rows`.
        config: shape and weights.

    Raises:
        ValueError: latents of fewer than 3 numbers.
    """

    def __init__(self, vocabulary_size: int, config: VAEConfig) -> None:
        super().__init__()
        if config.latent < 3:
            raise ValueError(f"latent must be at least 3, as normalised means lose 2 dimensions, got {config.latent}")
        width, patch = config.width, config.patch
        begin, self.end, self.mask = special(vocabulary_size)
        self.config = config
        self.embed = nn.Embedding(vocabulary_size, width)
        self.gather = nn.Linear(patch * width, width)
        self.encoder = Transformer(width, config.layers, config.heads)
        self.gaussian = GaussianHead(width, config.latent)
        self.open = nn.Linear(config.latent, width)
        self.decoder = Transformer(width, config.layers, config.heads)
        self.spread = nn.Linear(width, patch * width)
        self.head = Head(width, vocabulary_size, never=(PAD, begin, self.mask))

    def modelled(self, x: Tensor) -> Tensor:
        """Which latents stand for any token, (B, L / patch) bool. x (B, L)."""
        return (x != PAD).unflatten(1, (-1, self.config.patch)).any(dim=2)

    def posterior(self, x: Tensor) -> Gaussian:
        """q(z | x), (B, L / patch, d) in float32, of tokens (B, L); z_i depends on tokens up to its own.

        Raises:
            ValueError: L is not a multiple of the patch.
        """
        patch = self.config.patch
        if x.shape[1] % patch:
            raise ValueError(f"rows must be a multiple of patch={patch} tokens long, got {x.shape[1]}: pad them")
        embedded = self.embed(x).unflatten(1, (-1, patch)).flatten(2)
        mean, log_variance = self.gaussian(_causally(self.encoder, self.gather(embedded)))
        mean = functional.layer_norm(mean.float(), mean.shape[-1:])
        padding = ~self.modelled(x)[..., None]
        return Gaussian(mean.masked_fill(padding, 0.0), log_variance.float().masked_fill(padding, 0.0))

    def decode(self, z: Tensor) -> Tensor:
        """Latents (B, L / patch, d) -> logits of p(x_i | z_<=i), (B, L, V)."""
        hidden = self.spread(_causally(self.decoder, self.open(z)))
        return self.head(hidden.unflatten(2, (self.config.patch, -1)).flatten(1, 2))

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) in nats, (B,). x (B, L), z (B, L / patch, d)."""
        return log_likelihoods(self.decode(z), x).sum(dim=1)

    @torch.no_grad()
    def sample(self, z: Tensor, temperature: float = 1.0, generator: Generator | None = None) -> Tensor:
        """x ~ p(x | z), (B, L); temperature 0 takes the likeliest. z (B, L / patch, d)."""
        return cut(draw(self.decode(z), temperature, generator), self.end)

    def loss(self, x: Tensor, generator: Generator | None = None) -> dict[str, Tensor]:
        """The loss of stage 1 and its terms, see `read`. x (B, L)."""
        return self.read(x, generator)[0]

    def read(self, x: Tensor, generator: Generator | None = None) -> tuple[dict[str, Tensor], Gaussian]:
        """The loss of stage 1 and its terms, in nats a token, and q(z | x), read once for both. x (B, L).

        Returns:
            "distortion": -E_q log p(x | z). "rate": KL(q || N(0, I)). "recovery": -log p of hidden tokens, per hidden
            token, through latents of a copy of the text with some tokens hidden. "loss": distortion + kl * rate +
            mask_weight * recovery. And the posterior, (B, L / patch, d).
        """
        config = self.config
        hide = (torch.rand(x.shape, generator=generator, device=x.device) < config.mask_ratio) & (x != PAD)
        q = self.posterior(torch.cat([x, x.masked_fill(hide, self.mask)]))
        clean, recovered = log_likelihoods(self.decode(q.sample(generator)), x.repeat(2, 1)).chunk(2)
        terms = {
            "distortion": -per_token(clean, x),
            "rate": per_token(q.divergence()[: len(x)], x),
            "recovery": -(recovered * hide).sum() / hide.sum().clamp(min=1),
        }
        terms["loss"] = terms["distortion"] + config.kl * terms["rate"] + config.mask_weight * terms["recovery"]
        return terms, Gaussian(*(part[: len(x)] for part in q))


def _causally(transformer: Transformer, x: Tensor) -> Tensor:
    positions = torch.arange(x.shape[1], device=x.device)
    return transformer(x, positions, causal(positions, positions))[0]
