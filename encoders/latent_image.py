"""Pictures into Psi: z^image ~ q(z | o), by the q of a picture VAE that was trained before and stays as it is."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.distinct import PATCH, distinct_images
from encoders.image import in_working_precision
from encoders.precision import autocast, has_bfloat16

if TYPE_CHECKING:  # it imports diffusers: a second or two, for which agents that need none of it should not wait
    from encoders.pixels import PixelVAE


class LatentImageEncoder(nn.Module):
    """o^image -> z^image: means of a frozen q(z | o), a latent for each tile of 8 x 8 pixels, projected and normalised.

    Convolutions cost much and never change what they say: they run in `prepare`, once for an observation however often
    that is learned from, and only on distinct pictures.

    Args:
        pixels: q; frozen here.
        shape: (H, W, 3) of the pictures.
        dim: D.
    """

    def __init__(self, pixels: "PixelVAE", shape: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.pixels = pixels.requires_grad_(False).eval()
        self.grid = (-(-shape[0] // PATCH), -(-shape[1] // PATCH))
        self.project = nn.Sequential(nn.Linear(pixels.config.latent, dim), nn.LayerNorm(dim))

    def train(self, mode: bool = True) -> "LatentImageEncoder":
        """What is frozen stays in evaluation."""
        super().train(mode)
        self.pixels.eval()
        return self

    @torch.no_grad()
    def prepare(self, image: Tensor) -> Tensor:
        """Pictures (..., H, W, 3) uint8, a rim of zeros completing the last tiles -> means (..., P, d) in float32.

        In the precision of the device, whoever asks: a run that is continued prepares its first batch outside of it.
        """
        height, width = image.shape[-3:-1]
        whole = functional.pad(image, (0, 0, 0, -width % PATCH, 0, -height % PATCH))
        pictures = distinct_images(whole.flatten(0, -4))
        with autocast(image.device, has_bfloat16(image.device)):
            means = self.pixels.posterior(pictures.items).mean
        return means[pictures.which].unflatten(0, image.shape[:-3])

    def forward(self, latents: Tensor) -> Tensor:
        """Prepared (B, P, d) -> (B, P, D)."""
        return in_working_precision(self.project(latents))
