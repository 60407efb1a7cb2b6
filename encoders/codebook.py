"""Pictures as codes: which of the known patches of 8 x 8 pixels stands at each place.

Drawn worlds are made of few patches. A law over codes is a law over pictures, exactly: its log-loss is in nats of the
picture, and what is drawn from it can be shown.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from encoders.distinct import PATCH, Distinct, distinct_patches

OTHER = 0  # the code of every patch that is not known
_GREY = 128


class Codebook(nn.Module):
    """C codes: `OTHER`, shown in grey, and the known patches.

    Args:
        patches: (C - 1, 8, 8, 3) uint8, distinct.

    Attributes:
        patches: (C, 8, 8, 3) uint8, what each code shows.
    """

    patches: Tensor

    def __init__(self, patches: Tensor) -> None:
        super().__init__()
        if patches.ndim != 4 or tuple(patches.shape[1:]) != (PATCH, PATCH, 3) or patches.dtype != torch.uint8:
            raise ValueError(f"patches must be (C - 1, 8, 8, 3) uint8, got {tuple(patches.shape)} of {patches.dtype}")
        grey = torch.full((1, PATCH, PATCH, 3), _GREY, dtype=torch.uint8, device=patches.device)
        self.register_buffer("patches", torch.cat([grey, patches]))

    @classmethod
    def of(cls, images: Iterable[Tensor], most: int) -> "Codebook":
        """The patches of some images.

        Args:
            images: batches (B, H, W, 3) uint8.
            most: C - 1; of more patches the most frequent are known.
        """
        found = [distinct_patches(batch) for batch in images]
        merged = Distinct.merge([Distinct(one.items, one.which.flatten(1).flatten()) for one in found])
        count = torch.bincount(merged.which, minlength=len(merged.items))
        return cls(merged.items[count.argsort(descending=True, stable=True)[:most]])

    def __len__(self) -> int:
        """C, the number of codes."""
        return len(self.patches)

    def code(self, image: Distinct) -> Tensor:
        """Prepared images (B, h, w) -> (B, h * w) int64 in [0, C)."""
        known, items = (rows.flatten(1).view(torch.int64) for rows in (self.patches[1:], image.items))
        _, same = torch.unique(torch.cat([known, items]), dim=0, return_inverse=True)
        codes = torch.full((int(same.max()) + 1,), OTHER, device=same.device)
        codes[same[: len(known)]] = torch.arange(1, len(self), device=same.device)
        return codes[same[len(known) :]][image.which.flatten(1)]

    def prepared(self, codes: Tensor, grid: tuple[int, int]) -> Distinct:
        """Codes (B, h * w) -> images as `ImageEncoder.prepare` makes them."""
        return Distinct(self.patches, codes.unflatten(1, grid))

    def draw(self, codes: Tensor, grid: tuple[int, int]) -> Tensor:
        """Codes (B, h * w) -> (B, 8 h, 8 w, 3) uint8."""
        patches = self.patches[codes.unflatten(1, grid)]  # (B, h, w, 8, 8, 3)
        return patches.transpose(2, 3).flatten(3, 4).flatten(1, 2)
