"""Pictures as continuous latents and back: z ~ q(z | o), o ~ p(o | z), a latent for every tile of 8 x 8 pixels.

A small variational autoencoder (Kingma & Welling 2014; Rombach et al. 2022) around diffusers' `AutoencoderKL`. It is
fully convolutional, so that one model serves pictures of all sizes, and a clip is read frame by frame. The pixels of a
tile become channels before the first convolution: at full resolution a step took several times as long.
"""

import json
from dataclasses import asdict, dataclass
from math import log, pi
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Generator, Tensor, nn
from torch.nn import functional

from encoders.gaussian import Gaussian
from encoders.tensors import load_tensors, save_tensors
from unienv.aside import write_aside
from unienv.errors import named

TILE = 8  # pixels a side of what one latent stands for

_GROUPS = 8  # of normalised channels
_SPREAD = 5 / 255  # standard deviation of p(o | z): what an eye does not see is worth no nats
_BOUND = 10.0  # of log-variances, so that neither they nor their inverses overflow
_WEIGHTS, _SHAPE = "pixels.safetensors", "pixels.json"


@dataclass
class PixelConfig:
    """Shape of a picture VAE and the weight of its loss."""

    latent: int = 8  # d, numbers a latent
    width: int = 32  # channels of the convolutions
    kl: float = 1.0  # weight of KL(q || N(0, I)); at 1 the loss is -ELBO


class PixelVAE(nn.Module):
    """q(z | o) and p(o | z) = N(o; decode(z), spread^2 I).

    Args:
        config: shape and weight.

    Raises:
        ValueError: a width that the groups of normalised channels do not divide.
    """

    def __init__(self, config: PixelConfig) -> None:
        super().__init__()
        if config.width % _GROUPS:
            raise ValueError(f"width must be a multiple of {_GROUPS}, got {config.width}")
        self.config = config
        self.net = AutoencoderKL(
            in_channels=3 * TILE**2,
            out_channels=3 * TILE**2,
            down_block_types=("DownEncoderBlock2D",),
            up_block_types=("UpDecoderBlock2D",),
            block_out_channels=(config.width,),
            layers_per_block=1,
            latent_channels=config.latent,
            norm_num_groups=_GROUPS,
            mid_block_add_attention=False,
        )

    def posterior(self, pixels: Tensor) -> Gaussian:
        """q(z | o), (B, .., P, d) in float32, of pictures (B, .., H, W, 3) uint8; P = H/8 * W/8 tiles in reading order.

        Raises:
            ValueError: H or W is not a multiple of 8, or a pixel is not three uint8.
        """
        folded = functional.pixel_unshuffle(_as_channels(pixels.flatten(0, -4)), TILE)
        assert self.net.quant_conv is not None
        mean, log_variance = self.net.quant_conv(self.net.encoder(folded)).float().chunk(2, dim=1)
        q = Gaussian(mean, log_variance.clamp(-_BOUND, _BOUND))
        return Gaussian(*(part.flatten(2).transpose(1, 2).unflatten(0, pixels.shape[:-3]) for part in q))

    def decode(self, z: Tensor, grid: tuple[int, int]) -> Tensor:
        """Latents (B, .., P, d) of tiles in a grid (h, w), P = h * w -> pictures (B, .., 8 h, 8 w, 3) in [0, 1]."""
        return self._render(z, grid).clamp(0.0, 1.0)

    def log_likelihood(self, pixels: Tensor, z: Tensor) -> Tensor:
        """log p(o | z) in nats, (B, ..), a density over colours in [0, 1].

        Args:
            pixels: o, (B, .., H, W, 3) uint8.
            z: (B, .., P, d).
        """
        height, width = pixels.shape[-3:-1]
        errors = (pixels.float() / 255 - self._render(z, (height // TILE, width // TILE))) / _SPREAD
        return -0.5 * (errors**2 + log(2 * pi * _SPREAD**2)).sum(dim=(-3, -2, -1))

    def loss(self, pixels: Tensor, generator: Generator | None = None) -> dict[str, Tensor]:
        """The loss and its terms, in nats a tile. pixels (B, .., H, W, 3) uint8.

        Nats, and not squared errors, so that a picture's terms weigh against those of a text, and its latents are as
        sharp as what is drawn asks for and no sharper.

        Returns:
            "distortion": -E_q log p(o | z), below 0 where a density exceeds 1. "rate": KL(q || N(0, I)).
            "loss": distortion + kl * rate.
        """
        q = self.posterior(pixels)
        distortion = -self.log_likelihood(pixels, q.sample(generator)).mean() / q.mean.shape[-2]
        rate = q.divergence().mean()
        return {"distortion": distortion, "rate": rate, "loss": distortion + self.config.kl * rate}

    def _render(self, z: Tensor, grid: tuple[int, int]) -> Tensor:
        """The means of p(o | z), (..., H, W, 3), in no bounds."""
        laid_out = z.flatten(0, -3).transpose(1, 2).unflatten(2, grid)
        folded = self.net.decode(laid_out).sample.float()  # type: ignore[union-attr]
        picture = functional.pixel_shuffle(folded, TILE).permute(0, 2, 3, 1)
        return (0.5 + 0.5 * picture).unflatten(0, z.shape[:-2])


def _as_channels(pixels: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) in [-1, 1]."""
    height, width, channels = pixels.shape[1:]
    if height % TILE or width % TILE or channels != 3 or pixels.dtype != torch.uint8:
        raise ValueError(
            f"expected pictures of H x W x 3 uint8, H and W multiples of {TILE}, got {height} x {width} x {channels} "
            f"{str(pixels.dtype).removeprefix('torch.')}: pad or crop them"
        )
    return pixels.permute(0, 3, 1, 2).float().div(127.5).sub(1.0)


def save_pixels(folder: Path, vae: PixelVAE) -> None:
    """Write a picture VAE into a folder: weights and shape, each aside and then into place."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / _WEIGHTS, vae.state_dict())
    write_aside(folder / _SHAPE, json.dumps(asdict(vae.config)))


def load_pixels(folder: Path) -> PixelVAE:
    """The inverse of `save_pixels`, on the CPU; frozen, for use and not for training. No generator is drawn from.

    Raises:
        ValueError: one line, when a file is missing or damaged.
    """
    missing = [name for name in (_SHAPE, _WEIGHTS) if not (folder / name).exists()]
    if missing:
        raise ValueError(f"there is no picture model in {folder}: {', '.join(missing)} missing")
    weights = load_tensors(folder / _WEIGHTS)
    try:
        config = PixelConfig(**json.loads((folder / _SHAPE).read_text(encoding="utf-8")))
        with torch.random.fork_rng(devices=[]):
            vae = PixelVAE(config)
        vae.load_state_dict(weights)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise ValueError(f"the picture model in {folder} is damaged: {named(error)[:300]}") from None
    return vae.requires_grad_(False).eval()
