"""Frames to latents: every frame by the image encoder, then attention along time at each place."""

import torch
from torch import Tensor, nn

from encoders.distinct import Distinct
from encoders.image import ImageEncoder


class VideoEncoder(nn.Module):
    """o^video -> z^video: the last frame's places, each knowing what happened there before.

    Args:
        name: timm model of the frames, see `ImageEncoder`.
        shape: (F, H, W, C).
        dim: D.
        num_heads: attention heads along time.
    """

    def __init__(self, name: str, shape: tuple[int, ...], dim: int, num_heads: int = 4) -> None:
        super().__init__()
        self.frame = ImageEncoder(name, shape[1:], dim)
        self.grid = self.frame.grid
        self.time = nn.Parameter(torch.randn(shape[0], dim) * 0.5)
        self.temporal = nn.TransformerEncoderLayer(
            dim, num_heads, 2 * dim, dropout=0.0, batch_first=True, norm_first=True
        )

    def prepare(self, video: Tensor) -> Tensor | Distinct:
        """What of a batch of videos is to be encoded, see `ImageEncoder.prepare`."""
        frames = self.frame.prepare(video.flatten(0, 1))
        if not isinstance(frames, Distinct):
            return video
        return Distinct(frames.items, frames.which.unflatten(0, video.shape[:2]))

    def forward(self, video: Tensor | Distinct) -> Tensor:
        """Prepared (B, F, H, W, C) uint8 -> (B, P, D)."""
        if isinstance(video, Distinct):
            shape, frames = video.which.shape[:2], Distinct(video.items, video.which.flatten(0, 1))
        else:
            shape, frames = video.shape[:2], video.flatten(0, 1)
        tokens = self.frame(frames).unflatten(0, shape)  # (B, F, P, D)
        paths = tokens.transpose(1, 2).flatten(0, 1) + self.time  # (B * P, F, D)
        return self.temporal(paths)[:, -1].unflatten(0, (shape[0], -1))
