"""Frames to latents: every frame by the image encoder, then attention along time at each place."""

import torch
from torch import Tensor, nn

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

    def forward(self, video: Tensor) -> Tensor:
        """(B, F, H, W, C) uint8 -> (B, P, D)."""
        batch, frames = video.shape[:2]
        frames_of = self.frame.prepare(video.flatten(0, 1))
        tokens = self.frame(frames_of).unflatten(0, (batch, frames))  # (B, F, P, D)
        paths = tokens.transpose(1, 2).flatten(0, 1) + self.time  # (B * P, F, D)
        return self.temporal(paths)[:, -1].unflatten(0, (batch, -1))
