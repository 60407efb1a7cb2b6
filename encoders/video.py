"""Frames to latents: every frame by the image encoder, then attention along time at each place."""

from torch import Tensor, nn
from torch.nn import functional

from encoders.distinct import Distinct, distinct_patches
from encoders.image import ImageEncoder, in_working_precision


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
        self.temporal = nn.Sequential(nn.Linear(shape[0] * dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def prepare(self, video: Tensor) -> Tensor | Distinct:
        """What of a batch of videos is to be encoded: all pixels, or for `tile` the distinct places."""
        return distinct_patches(video) if self.frame.patchwise else video

    def forward(self, video: Tensor | Distinct) -> Tensor:
        """Prepared (B, F, H, W, C) uint8 -> (B, P, D)."""
        if isinstance(video, Distinct):
            places = self._follow(self.frame.features(video.items.flatten(0, 1)).unflatten(0, video.items.shape[:2]))
            return in_working_precision(functional.embedding(video.which.flatten(1), places))
        tokens = self.frame(video.flatten(0, 1)).unflatten(0, video.shape[:2])  # (B, F, P, D)
        return self._follow(tokens.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(video), -1))

    def _follow(self, paths: Tensor) -> Tensor:
        """What a place shows in each frame (U, F, D) -> the last, knowing the others (U, D)."""
        return self.temporal(paths.flatten(1))
