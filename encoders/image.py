"""Pixels to latents: a timm backbone by name, its feature map as tokens of dimension D with their places.

`tile` is the default: patches of 8 x 8 pixels, each through a small residual network of its own. It is the cheapest
backbone that keeps a place for every 8 pixels, and fits a laptop's CPU. Any other name timm knows works as well.
"""

import difflib
import math

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.distinct import PATCH, Distinct, distinct_patches

_GRID = 6  # cells a side that a feature map should keep, so that small objects keep a place of their own
_TILE = {"model_name": "convnext_atto", "patch_size": 8, "depths": (1,) * 4, "dims": (64,) * 4, "kernel_sizes": 1}


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
        self.patchwise = name == "tile" and shape[2] == 3
        self.backbone = _make_backbone(name, shape)
        channels, height, width = _feature_shape(self.backbone, name, shape)
        if self.patchwise:
            height, width = -(-shape[0] // PATCH), -(-shape[1] // PATCH)
        self.num_tokens = height * width
        self.project = nn.Sequential(nn.Linear(channels, dim), nn.LayerNorm(dim))
        self.place = nn.Parameter(grid_positions(height, width, dim))

    def prepare(self, image: Tensor) -> Tensor | Distinct:
        """What of a batch of images is to be encoded: all pixels, or for `tile` the distinct patches."""
        return distinct_patches(image) if self.patchwise else image

    def forward(self, image: Tensor | Distinct) -> Tensor:
        """Prepared images (B, H, W, C), uint8 in [0, 255] -> (B, P, D), a token for each of the P places."""
        if isinstance(image, Distinct):
            items = self._features(image.items)[:, 0]  # (U, D)
            return in_working_precision(functional.embedding(image.which.flatten(1), items) + self.place)
        return in_working_precision(self._features(image) + self.place)

    def _features(self, image: Tensor) -> Tensor:
        pixels = image.permute(0, 3, 1, 2).to(torch.float32).div(127.5).sub(1.0)  # channels stay last in memory
        return self.project(self.backbone(pixels)[-1].flatten(2).transpose(1, 2))


def in_working_precision(tokens: Tensor) -> Tensor:
    """Cast once to autocast's type, rather than at each of the many products that read the tokens."""
    device = tokens.device.type
    return tokens.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else tokens


def grid_positions(height: int, width: int, dim: int) -> Tensor:
    """Sines and cosines of row and column: (height * width, dim), where learning the places starts from.

    Frequencies run from half a turn over the grid upwards, so that near places are alike and no two are equal.
    """
    quarter = math.ceil(dim / 4)
    waves = []
    for length, axis in ((height, 0), (width, 1)):
        turns = torch.linspace(0.5, max(0.5, length / 4), quarter) * math.tau
        phase = torch.arange(length)[:, None] / length * turns  # (length, quarter)
        wave = torch.cat([phase.sin(), phase.cos()], dim=1)  # (length, 2 * quarter)
        waves.append(wave[:, None, :].expand(-1, width, -1) if axis == 0 else wave[None].expand(height, -1, -1))
    return torch.cat(waves, dim=2).reshape(height * width, -1)[:, :dim].contiguous()


def _make_backbone(name: str, shape: tuple[int, ...]) -> nn.Module:
    if name == "tile":
        return timm.create_model(**_TILE, ls_init_value=None, features_only=True, out_indices=(0,))
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1, cutoff=0.0)[0]
        raise ValueError(f"timm knows no image model {name!r}; did you mean {near!r}?")
    for size in ({"img_size": shape[:2]}, {}):  # transformers need the size, convolutional nets refuse it
        try:
            whole = timm.create_model(name, pretrained=False, features_only=True, **size)
            reductions = whole.feature_info.reduction()
            break
        except (TypeError, RuntimeError, AssertionError):
            continue
    else:
        raise ValueError(f"timm's {name!r} gives no feature map for images of {shape[0]} x {shape[1]} pixels")
    wanted = min(shape[:2]) / _GRID
    index = max((i for i, reduction in enumerate(reductions) if reduction <= wanted), default=0)
    return timm.create_model(name, pretrained=False, features_only=True, out_indices=(index,), **size)


@torch.no_grad()
def _feature_shape(backbone: nn.Module, name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    height, width, channels = shape
    training = backbone.training
    parameter = next(backbone.parameters())
    try:
        features = backbone.eval()(torch.zeros(1, channels, height, width, device=parameter.device))[-1]
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"timm's {name!r} can't take images of {height} x {width} x {channels}: {error}") from error
    backbone.train(training)
    return features.shape[1], features.shape[2], features.shape[3]
