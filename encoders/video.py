"""Clips to latents: what each place shows in all frames, and then, with the places around it, how that moves."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.distinct import Distinct
from encoders.image import ImageEncoder, in_working_precision
from encoders.latent_image import LatentImageEncoder

_PATH_GAIN, _MOTION_GAIN = 1.7, 4.0  # on torch's default scale; then products bend from the start, and motions differ


class VideoEncoder(nn.Module):
    """o^video -> z^video: a latent a place.

    Every frame has weights of its own, so that a place tells before from after, and neighbours are mixed here: what
    moves leaves a place, so that a motion shows only in several places at once.

    Args:
        frame: encoder of frames.
        num_frames: F.
        dim: D.
    """

    def __init__(self, frame: ImageEncoder | LatentImageEncoder, num_frames: int, dim: int) -> None:
        super().__init__()
        self.frame = frame
        self.grid = frame.grid
        self.path = nn.Linear(num_frames * dim, dim)
        self.motion = nn.Conv2d(dim, dim, 3, padding=1)
        self.project = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        with torch.no_grad():
            self.path.weight.mul_(_PATH_GAIN)
            self.motion.weight.mul_(_MOTION_GAIN)

    def prepare(self, video: Tensor) -> Tensor | Distinct:
        """What of a batch of videos is to be encoded, see the encoder of frames: of `tile` the distinct places."""
        return self.frame.prepare(video)

    def forward(self, video: Tensor | Distinct) -> Tensor:
        """Prepared (B, F, ...) -> (B, P, D)."""
        if isinstance(video, Distinct):
            features = self.frame.features(video.items.flatten(0, 1))  # type: ignore[operator]
            shown = features.unflatten(0, video.items.shape[:2])  # (U, F, D)
            paths = functional.embedding(video.which.flatten(1), self.path(shown.flatten(1)))
        else:
            shown = self.frame(video.flatten(0, 1)).unflatten(0, video.shape[:2])  # (B, F, P, D)
            paths = self.path(shown.transpose(1, 2).flatten(2))
        paths = in_working_precision(paths)
        around = self.motion(paths.transpose(1, 2).unflatten(2, self.grid)).flatten(2).transpose(1, 2)
        return self.norm(paths + self.project(functional.gelu(around)))
