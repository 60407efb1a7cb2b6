"""Encode what differs once: instructions repeat within a batch, and so do the patches of drawn images.

A batch is kept as its distinct items and, for each place in it, which item stands there. Encoders run over the items
and gather. What repeats costs one look-up, what does not costs what it did, and results are the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from unienv.rng import mix

PATCH = 8  # pixels a side: a patch row of 3 channels is 24 bytes, three int64 words
_WORDS = PATCH * 3 // 8


class Distinct(NamedTuple):
    """Fields: items (U, ...), the distinct ones; which (B, ...) int64 in [0, U), the item at each place."""

    items: Tensor
    which: Tensor

    def select(self, index: Tensor) -> "Distinct":
        """The same for entries `index` of the batch, with their own items alone where an item is a whole entry.

        A whole utterance is dear to encode. Patches are cheap, and their many places would have to be sorted.
        """
        chosen = Distinct(self.items, self.which[index])
        return chosen.compact() if chosen.which.ndim == 1 else chosen

    def compact(self) -> "Distinct":
        """The same batch without items that stand nowhere in it."""
        used, which = torch.unique(self.which, return_inverse=True)
        return Distinct(self.items[used], which)

    @staticmethod
    def merge(batches: "Sequence[Distinct]") -> "Distinct":
        """Several batches as one, in order."""
        sizes = torch.tensor([len(batch.items) for batch in batches])
        offsets = (sizes.cumsum(0) - sizes).tolist()
        which = torch.cat([batch.which + offset for batch, offset in zip(batches, offsets, strict=True)])
        items = torch.cat([batch.items for batch in batches])
        rows = items.flatten(1)
        _, same = torch.unique(
            rows.view(torch.int64) if rows.dtype == torch.uint8 else rows, dim=0, return_inverse=True
        )
        return Distinct(items[_first(same)], same[which])


def distinct_rows(tokens: Tensor) -> Distinct:
    """Utterances (B, L) as distinct rows (U, L) and which of them (B,)."""
    return Distinct(*torch.unique(tokens, dim=0, return_inverse=True))


def distinct_patches(pixels: Tensor) -> Distinct:
    """Images (B, H, W, 3) uint8 as distinct patches (U, 8, 8, 3) and which of them stand where (B, h, w).

    Of videos (B, F, H, W, 3) a patch is what a place shows in all frames, (U, F, 8, 8, 3), for most places stand still.
    h and w are H / 8 and W / 8 rounded up; a rim of zeros completes the last patches. Patches count as equal when their
    64-bit hashes are: sums of words, each folded, multiplied by an odd number of its own and folded again.
    """
    clips = pixels if pixels.ndim == 5 else pixels[:, None]
    height, width = clips.shape[2:4]
    if height % PATCH or width % PATCH:
        clips = functional.pad(clips, (0, 0, 0, -width % PATCH, 0, -height % PATCH))
    words = clips.contiguous().unflatten(3, (-1, PATCH)).flatten(4).view(torch.int64)  # (B, F, H, w, 3)
    words = words.unflatten(2, (-1, PATCH))  # (B, F, h, 8, w, 3)
    # Shifts fill with the sign, so what they bring in is masked: or else a word and its complement would hash alike.
    folded = (words ^ ((words >> 32) & 0xFFFFFFFF)) * _salts(words.shape[1], words.device)
    hashes = mix((folded ^ ((folded >> 29) & 0x7FFFFFFFF)).sum(dim=(1, 3, 5)))  # (B, h, w)
    _, which = torch.unique(hashes, return_inverse=True)
    first = _first(which)
    patches = words.permute(0, 2, 4, 1, 3, 5)  # (B, h, w, F, 8, 3), a view
    row, place = first // which[0].numel(), first % which[0].numel()
    items = patches[row, place // which.shape[2], place % which.shape[2]]  # (U, F, 8, 3)
    items = items.contiguous().view(torch.uint8).unflatten(3, (PATCH, 3))
    return Distinct(items if pixels.ndim == 5 else items[:, 0], which)


def distinct_images(pixels: Tensor) -> Distinct:
    """Images (B, H, W, 3) uint8 as distinct images (U, H, W, 3) and which of them (B,): those of equal patches."""
    which = distinct_rows(distinct_patches(pixels).which.flatten(1)).which
    return Distinct(pixels[_first(which)], which)


def _first(which: Tensor) -> Tensor:
    """A flat place (U,) at which each item stands."""
    first = torch.empty(int(which.max()) + 1, dtype=torch.int64, device=which.device)
    first[which.flatten()] = torch.arange(which.numel(), device=which.device)
    return first


def _salts(frames: int, device: torch.device) -> Tensor:
    """A different constant for each of a patch's words, so that their order counts: (F, 1, 8, 1, 3) int64."""
    words = frames * PATCH * _WORDS
    return (mix(torch.arange(1, 1 + words, device=device)) | 1).reshape(frames, 1, PATCH, 1, _WORDS)
