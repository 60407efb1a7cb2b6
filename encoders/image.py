"""Pixels to latents: a timm backbone by name, or the patch encoder `tile`; a token of dimension D a place.

`tile` is the default: the cheapest encoder that keeps a place for every 8 pixels. Any name that timm knows works as
well, and is the choice for photographs.
"""

import contextlib
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.distinct import PATCH, Distinct, distinct_patches
from unienv.spelling import nearest

_GRID = 6  # cells a side that a feature map should keep, so that small objects keep a place of their own
_GROUP = 16  # channels that are normalised together
_BANDWIDTH, _WAVES = 0.4, 256


class TileFeatures(nn.Module):
    """Patches of 8 x 8 pixels, each on its own, by learned Fourier features: sin(W x + b), projected and normalised.

    Patches of drawn worlds differ in few pixels. Random waves of this bandwidth make their features nearly orthogonal,
    so that what is drawn in them is told apart from the start; with a convolutional stem it took agents several times
    as many samples. After Tancik et al. 2020 and, in reinforcement learning, Li & Pathak 2021.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.waves = nn.Linear(PATCH * PATCH * 3, _WAVES)
        nn.init.normal_(self.waves.weight, std=_BANDWIDTH)
        nn.init.uniform_(self.waves.bias, 0.0, math.tau)
        self.project = nn.Sequential(nn.Linear(_WAVES, dim), nn.LayerNorm(dim))

    def forward(self, patches: Tensor) -> Tensor:
        """(U, 8, 8, 3) uint8 -> (U, D). In float32: phases of several turns do not survive bfloat16."""
        with torch.autocast(patches.device.type, enabled=False):
            pixels = patches.flatten(1).to(torch.float32).div(127.5).sub(1.0)
            return self.project(self.waves(pixels).sin())


class BackboneFeatures(nn.Module):
    """The feature map of a timm model, projected and normalised.

    A picture's features are its own: they depend neither on the rest of the batch nor on chance, or what acts would be
    another policy than what is trained. So batches are not normalised over, and nothing is dropped.
    """

    def __init__(self, name: str, shape: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.backbone = _make_backbone(name, shape)
        _normalise_each(self.backbone)
        self.train()
        height, width, channels = _feature_shape(self, name, shape)
        self.grid = (height, width)
        self.project = nn.Sequential(nn.Linear(channels, dim), nn.LayerNorm(dim))

    def forward(self, image: Tensor) -> Tensor:
        """(B, H, W, C) uint8 -> (B, P, D)."""
        pixels = image.permute(0, 3, 1, 2).to(torch.float32).div(127.5).sub(1.0)  # channels stay last in memory
        return self.project(self.feature_map(pixels).flatten(1, 2))

    def feature_map(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, h, w, c)."""
        features = self.backbone(pixels)[-1]
        return features if getattr(self.backbone, "output_fmt", None) == "NHWC" else features.permute(0, 2, 3, 1)

    def train(self, mode: bool = True) -> "BackboneFeatures":
        """As `nn.Module.train`; layers of the backbone that act by chance in training never do."""
        super().train(mode)
        self.backbone.eval()
        return self


class ImageEncoder(nn.Module):
    """o^image -> z^image.

    Args:
        name: `tile` or a timm model.
        shape: (H, W, C) of the images.
        dim: D.

    Raises:
        ValueError: timm knows no such model (the nearest name is given), or it can't take images of this size.
    """

    def __init__(self, name: str, shape: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.patchwise = name == "tile"
        if self.patchwise:
            self.features: nn.Module = TileFeatures(dim)
            self.grid = (-(-shape[0] // PATCH), -(-shape[1] // PATCH))
        else:
            self.features = BackboneFeatures(name, shape, dim)
            self.grid = self.features.grid

    def prepare(self, image: Tensor) -> Tensor | Distinct:
        """What of a batch of images, or of videos, is to be encoded: all pixels, or for `tile` the distinct patches."""
        return distinct_patches(image) if self.patchwise else image

    def forward(self, image: Tensor | Distinct) -> Tensor:
        """Prepared images (B, H, W, C), uint8 in [0, 255] -> (B, P, D): what each of the P places shows, not where."""
        if isinstance(image, Distinct):
            return in_working_precision(functional.embedding(image.which.flatten(1), self.features(image.items)))
        return in_working_precision(self.features(image))


def in_working_precision(tokens: Tensor) -> Tensor:
    """Tokens cast once to autocast's type, rather than at each of the many products that read the tokens."""
    device = tokens.device.type
    return tokens.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else tokens


def _make_backbone(name: str, shape: tuple[int, ...]) -> nn.Module:
    import timm  # a second or two, for which agents that take `tile` should not wait

    if not timm.is_model(name):
        near = nearest(name, ["tile", "latent", *timm.list_models()])
        raise ValueError(f"timm knows no image model {name!r}; did you mean {near!r}?")
    whole, options = _try_sizes(name, shape)
    wanted = min(shape[:2]) / _GRID
    reductions = whole.feature_info.reduction()
    index = max((i for i, reduction in enumerate(reductions) if reduction <= wanted), default=0)
    return timm.create_model(name, pretrained=False, features_only=True, out_indices=(index,), **options)


def _try_sizes(name: str, shape: tuple[int, ...]) -> tuple[Any, dict[str, Any]]:
    """A model with all its feature maps: transformers need the images' size, convolutional nets refuse it."""
    import timm

    choices: list[dict[str, Any]] = [{"img_size": shape[:2]}, {}]
    for options in choices:
        with contextlib.suppress(TypeError, RuntimeError, AssertionError):
            return timm.create_model(name, pretrained=False, features_only=True, **options), options
    raise ValueError(f"timm's {name!r} gives no feature map for images of {shape[0]} x {shape[1]} pixels")


def _normalise_each(module: nn.Module) -> None:
    """Put group normalisation in the place of batch normalisation."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            channels = child.num_features
            norm = nn.GroupNorm(math.gcd(channels, max(1, channels // _GROUP)), channels, child.eps)
            act = getattr(child, "act", None)  # which timm fuses with it
            setattr(module, name, norm if act is None else nn.Sequential(norm, act))
        else:
            _normalise_each(child)


@torch.no_grad()
def _feature_shape(features: BackboneFeatures, name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    height, width, channels = shape
    try:
        found = features.feature_map(torch.zeros(1, channels, height, width)).shape
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"timm's {name!r} can't take images of {height} x {width} x {channels}: {error}") from error
    return found[1], found[2], found[3]
