"""Clips to latents: what each place shows in all frames, and then, with the places around it, how that moves."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.distinct import Distinct, distinct_patches
from encoders.image import ImageEncoder, in_working_precision

_PATH_GAIN, _MOTION_GAIN = 1.7, 4.0  # on torch's default scale; then products bend from the start, and motions differ


class VideoEncoder(nn.Module):
    """o^video -> z^video: a latent a place.

    Every frame has weights of its own, so that a place tells before from after, and neighbours are mixed here: what
    moves leaves a place, so that a motion shows only in several places at once.

    Args:
        name: timm model of the frames, see `ImageEncoder`.
        shape: (F, H, W, C).
        dim: D.
    """

    def __init__(self, name: str, shape: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.frame = ImageEncoder(name, shape[1:], dim)
        self.grid = self.frame.grid
        self.path = nn.Linear(shape[0] * dim, dim)
        self.motion = nn.Conv2d(dim, dim, 3, padding=1)
        self.project = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        with torch.no_grad():
            self.path.weight.mul_(_PATH_GAIN)
            self.motion.weight.mul_(_MOTION_GAIN)

    def prepare(self, video: Tensor) -> Tensor | Distinct:
        """What of a batch of videos is to be encoded: all pixels, or for `tile` the distinct places."""
        return distinct_patches(video) if self.frame.patchwise else video

    def forward(self, video: Tensor | Distinct) -> Tensor:
        """Prepared (B, F, H, W, C) uint8 -> (B, P, D)."""
        if isinstance(video, Distinct):
            shown = self.frame.features(video.items.flatten(0, 1)).unflatten(0, video.items.shape[:2])  # (U, F, D)
            paths = functional.embedding(video.which.flatten(1), self.path(shown.flatten(1)))
        else:
            shown = self.frame(video.flatten(0, 1)).unflatten(0, video.shape[:2])  # (B, F, P, D)
            paths = self.path(shown.transpose(1, 2).flatten(2))
        paths = in_working_precision(paths)
        around = self.motion(paths.transpose(1, 2).unflatten(2, self.grid)).flatten(2).transpose(1, 2)
        return self.norm(paths + self.project(functional.gelu(around)))
