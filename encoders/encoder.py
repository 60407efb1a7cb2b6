"""Observation to latents: one encoder for each modality of an observation space."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast

import torch
from gymnasium import spaces
from torch import Tensor, nn

from encoders.distinct import Distinct, distinct_rows
from encoders.image import ImageEncoder
from encoders.latent_image import LatentImageEncoder
from encoders.psi import Grid
from encoders.text.reader import LatentTextEncoder
from encoders.text.utterance import TextEncoder
from encoders.video import VideoEncoder
from unienv.modality import IMAGE, TEXT

Prepared = dict[str, Tensor | Distinct]


class Encoder(nn.Module):
    """o -> (z^text, z^image, z^video), each (B, P_m, D).

    Args:
        space: Dict of modalities, see `unienv.modality`.
        modalities: those to encode; others have no parameters here.
        image: timm model of images and of video frames.
        dim: D.
        num_heads: attention heads.
        frozen: models that were trained before, by modality, of whose latents only a map is trained here: a `Reader` of
            text, a `PixelVAE` of image, another of video.
    """

    def __init__(
        self,
        space: spaces.Dict,
        modalities: Iterable[str],
        image: str,
        dim: int,
        num_heads: int,
        frozen: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        parts: dict[str, nn.Module] = {}
        for modality in modalities:
            box, known = cast(spaces.Box, space[modality]), frozen.get(modality)
            if modality == TEXT and known:
                parts[TEXT] = LatentTextEncoder(known, box.shape[0], dim)
            elif modality == TEXT:
                parts[TEXT] = TextEncoder(int(box.high.max()) + 1, box.shape[0], dim, num_heads=num_heads)
            else:
                shape = box.shape[-3:]
                frame = LatentImageEncoder(known, shape, dim) if known else ImageEncoder(image, shape, dim)
                parts[modality] = frame if modality == IMAGE else VideoEncoder(frame, box.shape[0], dim)
        self.parts = nn.ModuleDict(parts)
        self.grids: dict[str, Grid] = {modality: part.grid for modality, part in parts.items()}  # type: ignore[misc]

    def prepare(self, observation: Mapping[str, Tensor]) -> Prepared:
        """What differs in a batch, found once though the batch may be encoded many times; see each part."""
        prepared: Prepared = {}
        for modality, part in self.parts.items():
            if modality == TEXT:
                prepared[TEXT] = distinct_rows(observation[TEXT])
            else:
                prepared[modality] = part.prepare(observation[modality])  # type: ignore[operator]
        return prepared

    def forward(self, prepared: Prepared) -> dict[str, Tensor]:
        """Prepared observations by modality -> latents (B, P_m, D) by modality."""
        return {modality: part(prepared[modality]) for modality, part in self.parts.items()}


def merge(batches: Sequence[Prepared]) -> Prepared:
    """Several prepared batches as one, in order."""
    merged: Prepared = {}
    for modality, first in batches[0].items():
        parts = [batch[modality] for batch in batches]
        merged[modality] = Distinct.merge(parts) if isinstance(first, Distinct) else torch.cat(parts)  # type: ignore[arg-type]
    return merged


def select(prepared: Prepared, index: Tensor) -> Prepared:
    """Entries `index` of a prepared batch."""
    return {
        modality: value.select(index) if isinstance(value, Distinct) else value[index]
        for modality, value in prepared.items()
    }


def compact(prepared: Prepared) -> Prepared:
    """The same batch without items that stand nowhere in it."""
    return {modality: value.compact() if isinstance(value, Distinct) else value for modality, value in prepared.items()}
