"""All modalities from one state, Eqs. (11) and (12): z~ = Psi(z^text, z^image, z^video), and each of them back from z~.

Latents of one kind go in and come out. With the frozen q(z | x) of text and q(z | o) of pixels

    z^m = mean of q(z | o^m)             z~ = Psi(z^text, z^image, ..)  (Q D numbers)
    z_hat^m = Reader_m(z~)               x ~ p(x | z_hat^text),  o ~ p(o | z_hat^image)

and only Psi and the readers learn, so that what comes back of each modality says what z~ holds of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from encoders.gaussian import Gaussian
from encoders.pixels import TILE, PixelVAE
from encoders.positions import grid_positions
from encoders.psi import CrossAttention, Grid, Psi, partition
from encoders.text.rows import per_token
from encoders.text.vae import TextVAE
from unienv.modality import TEXT, VIDEO


@dataclass
class UnifiedConfig:
    """Shape of Psi and of the readers."""

    dim: int = 64  # D
    queries: int = 1  # Q, latents of z~: in 600 steps 8 of them came to 20 dB of a picture, 1 to 26
    layers: int = 2  # readings of Psi, and of each reader
    heads: int = 4  # attention heads


class Unified(nn.Module):
    """Psi over frozen latents, and a reader a modality.

    Args:
        text: q(z | x) and p(x | z); frozen from here on.
        pixels: the same of pictures; frozen from here on.
        length: L, tokens of a text.
        shapes: of the pixels, by modality: image (H, W, 3), video (F, H, W, 3).
        config: shape of what is learned.
    """

    def __init__(
        self,
        text: TextVAE,
        pixels: PixelVAE,
        length: int,
        shapes: Mapping[str, tuple[int, ...]],
        config: UnifiedConfig,
    ) -> None:
        super().__init__()
        self.text, self.pixels = text.requires_grad_(False).eval(), pixels.requires_grad_(False).eval()
        self.grids: dict[str, Grid] = {TEXT: None}
        sizes = {TEXT: text.config.latent}
        for name, (*frames, height, width, _) in shapes.items():
            self.grids[name] = (height // TILE, width // TILE)
            sizes[name] = pixels.config.latent * (frames[0] if frames else 1)
        self.config = config
        dim, places = config.dim, torch.randn(length // text.config.patch, config.dim) * 0.5
        self.enter = nn.ModuleDict({name: nn.Linear(size, dim) for name, size in sizes.items()})
        self.place = nn.Parameter(places)  # pixels get theirs in Psi
        self.psi = Psi(partition("joint", sizes), self.grids, dim, config.queries, config.layers, config.heads)
        self.readers = nn.ModuleDict(
            {
                name: Reader(grid_positions(*grid, dim) if grid else places.clone(), sizes[name], config)
                for name, grid in self.grids.items()
            }
        )

    def posteriors(self, observation: Mapping[str, Tensor]) -> dict[str, Gaussian]:
        """q(z | o^m) by modality, (B, P_m, d_m); a place of a video holds the latents of all its frames, d_m = F d.

        Args:
            observation: "text" (B, L) tokens, and pixels by modality (B, .., H, W, 3) uint8.
        """
        found = {TEXT: self.text.posterior(observation[TEXT])}
        for name in self.grids.keys() - {TEXT}:
            q = self.pixels.posterior(observation[name])
            found[name] = Gaussian(*(_by_place(part) for part in q)) if q.mean.ndim == 4 else q
        return found

    def forward(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Observations, see `posteriors` -> z~, (B, Q * D)."""
        return self._join(self.posteriors(observation))

    def read(self, state: Tensor) -> dict[str, Tensor]:
        """z~ (B, Q * D) -> z_hat (B, P_m, d_m) by modality."""
        latents = state.unflatten(1, (self.config.queries, self.config.dim))
        read = {name: reader(latents) for name, reader in self.readers.items()}
        return read | {TEXT: functional.layer_norm(read[TEXT], read[TEXT].shape[-1:])}  # as the means of q(z | x) are

    @torch.no_grad()
    def decode(self, state: Tensor) -> dict[str, Tensor]:
        """z~ (B, Q * D) -> the likeliest tokens (B, L), and pixels (B, .., H, W, 3) in [0, 1] by modality."""
        decoded = {}
        for name, z in self.read(state).items():
            grid, d = self.grids[name], self.pixels.config.latent
            if grid is None:
                decoded[name] = self.text.sample(z, temperature=0.0)
            else:
                frames = z.unflatten(2, (-1, d)).transpose(1, 2) if name == VIDEO else z
                decoded[name] = self.pixels.decode(frames, grid)
        return decoded

    def loss(self, observation: Mapping[str, Tensor], generator: Generator | None = None) -> dict[str, Tensor]:
        """What is lost on the way through z~, in nats; nothing is drawn.

        Returns:
            "text": -log p(x | z_hat), nats a token. Of pixels, by modality: KL(q(z | o) || N(z_hat, variance of q)),
            nats a place: an error weighs as much as q is sharp. "loss": text, and of pixels d/2 log KL, which is what
            -log N(z; z_hat, s^2 variance of q) becomes for the best scale s: without one, KLs that begin at thousands
            of nats would leave nothing to the text.
        """
        with torch.no_grad():
            posteriors = self.posteriors(observation)
        terms, losses = {}, []
        for name, z in self.read(self._join(posteriors)).items():
            if name == TEXT:
                x = observation[TEXT]
                terms[name] = -per_token(self.text.log_likelihood(x, z), x)
                losses.append(terms[name])
            else:
                mean, log_variance = posteriors[name]
                terms[name] = 0.5 * ((z - mean) ** 2 * (-log_variance).exp()).sum(dim=2).mean()
                losses.append(0.5 * z.shape[2] * terms[name].log())
        return terms | {"loss": torch.stack(losses).sum()}

    def _join(self, posteriors: Mapping[str, Gaussian]) -> Tensor:
        entered = {name: self.enter[name](q.mean) for name, q in posteriors.items()}
        (state,) = self.psi(entered | {TEXT: entered[TEXT] + self.place})
        return state


class Reader(nn.Module):
    """z~ to the latents of one modality: a query a place, which reads the Q latents of z~ by cross-attention.

    Args:
        places: (P, D), where learning the places starts from.
        size: numbers of a latent of the modality.
        config: readings and heads.
    """

    def __init__(self, places: Tensor, size: int, config: UnifiedConfig) -> None:
        super().__init__()
        self.places = nn.Parameter(places)
        self.layers = nn.ModuleList(CrossAttention(config.dim, config.heads) for _ in range(config.layers))
        self.norm, self.project = nn.LayerNorm(config.dim), nn.Linear(config.dim, size)

    def forward(self, latents: Tensor) -> Tensor:
        """z~ as (B, Q, D) -> (B, P, size) in float32."""
        state = self.places.expand(len(latents), -1, -1)
        for layer in self.layers:
            state = layer(state, [latents])
        return self.project(self.norm(state)).float()


def _by_place(frames: Tensor) -> Tensor:
    """(B, F, P, d) -> (B, P, F * d)."""
    return frames.transpose(1, 2).flatten(2)
