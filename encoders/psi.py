"""Psi: the shared latent z~ = Psi(z^text, z^image, z^video), in unified and separable forms.

A form is a partition of modalities into streams. Attention crosses modalities inside a stream and never between
streams, so what a form can express is read off its partition:

    joint   {text, image, video}            one shared state
    late    {text}, {image}, {video}        each its own path; scores are added downstream: the separable class
    text    {text}                          one modality
    image   {image}                         one modality (so too video)
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.positions import grid_positions
from unienv.modality import MODALITIES
from unienv.spelling import check_choice

Partition = tuple[tuple[str, ...], ...]
Grid = tuple[int, int] | None
_GAIN = 2.5
FORMS = ("joint", "late", *MODALITIES)


def partition(form: str, modalities: Iterable[str]) -> Partition:
    """The streams of a form, over the modalities that an environment has.

    Raises:
        ValueError: no such form, or a form of one modality that the environment lacks.
    """
    check_choice("psi", form, FORMS)
    present = tuple(modality for modality in MODALITIES if modality in set(modalities))
    if form == "joint":
        return (present,)
    if form == "late":
        return tuple((modality,) for modality in present)
    if form in present:
        return ((form,),)
    raise ValueError(f"psi={form} needs {form} in the observation; there are only {', '.join(present)}")


class Stream(nn.Module):
    """Latent queries that read the tokens of some modalities by cross-attention: Perceiver (Jaegle et al. 2021).

    Queries start from the mean latents of all modalities of the stream, and pixels are fused with those of the others
    before they are read: what to look for in one modality is known from the others at once.

    Args:
        grids: (h, w) of the tokens of each modality of this stream; None for text, which has no neighbours to mix.
        dim: D.
        num_queries: latents that read.
        num_layers: cross-attention layers.
        num_heads: attention heads.
    """

    def __init__(self, grids: Mapping[str, Grid], dim: int, num_queries: int, num_layers: int, num_heads: int) -> None:
        super().__init__()
        self.modalities = tuple(grids)
        others = (len(grids) - 1) * dim
        self.mixing = nn.ModuleDict({name: Mixing(grid, dim, others) for name, grid in grids.items() if grid})
        self.queries = nn.Parameter(torch.randn(num_queries, dim) * 0.5)
        self.summary = nn.Linear(len(grids) * dim, num_queries * dim)
        self.layers = nn.ModuleList(CrossAttention(dim, num_heads) for _ in range(num_layers))

    def forward(self, latents: Mapping[str, Tensor]) -> Tensor:
        """Latents (B, P_m, D) by modality -> (B, num_queries * D)."""
        means = {name: latents[name].mean(dim=1, dtype=torch.float32) for name in self.modalities}
        means = {name: functional.layer_norm(mean, mean.shape[-1:]) for name, mean in means.items()}
        parts = []
        for name in self.modalities:
            others = [mean for other, mean in means.items() if other != name]
            context = torch.cat(others, dim=1) if others else means[name][:, :0]
            parts.append(self.mixing[name](latents[name], context) if name in self.mixing else latents[name])
        state = self.summary(torch.cat(list(means.values()), dim=1)).unflatten(1, self.queries.shape) + self.queries
        for layer in self.layers:
            state = layer(state, parts)
        return state.flatten(1)


class Mixing(nn.Module):
    """Tokens of a grid: fused with the other modalities (FiLM, Perez et al. 2018), mixed with neighbours, placed.

    The order matters. What a place shows meets the text before it meets its neighbours and before its position is
    added; the other way round agents took several times as many samples to tell objects apart by text.
    """

    def __init__(self, grid: tuple[int, int], dim: int, context: int) -> None:
        super().__init__()
        self.grid = grid
        self.modulate = nn.Linear(context, 2 * dim) if context else None
        self.fuse = nn.Linear(dim, dim)
        self.neighbours = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.project = nn.Linear(dim, dim)
        self.place = nn.Parameter(grid_positions(*grid, dim))
        with torch.no_grad():  # torch's default for a layer amid others; here the product must not drown in its factors
            for layer in (self.modulate, self.fuse, self.neighbours):
                if layer is not None:
                    layer.weight.mul_(_GAIN)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Tokens (B, h * w, D) and context (B, C) of the other modalities, C may be 0 -> (B, h * w, D)."""
        seen = tokens
        if self.modulate is not None:
            scale, shift = self.modulate(context)[:, None].to(tokens.dtype).chunk(2, dim=2)
            seen = torch.addcmul(tokens + shift, tokens, scale)
        fused = tokens + self.fuse(functional.gelu(seen))
        mixed = self.neighbours(fused.transpose(1, 2).unflatten(2, self.grid)).flatten(2).transpose(1, 2)
        return fused + self.project(functional.gelu(mixed)) + self.place.to(fused.dtype)


class CrossAttention(nn.Module):
    """One reading: queries attend to tokens, then think on their own; pre-normalised, residual."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.attend_norm, self.think_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.ask, self.answer = nn.Linear(dim, dim), nn.Linear(dim, dim)
        scale = dim**-0.5
        self.keys = nn.Parameter(torch.randn(num_heads, dim // num_heads, dim) * scale)
        self.values = nn.Parameter(torch.randn(num_heads, dim // num_heads, dim) * scale)
        self.think = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, state: Tensor, parts: list[Tensor]) -> Tensor:
        """Queries (B, Q, D) and tokens (B, P_m, D) of each modality -> (B, Q, D)."""
        state = state + self._attend(self.attend_norm(state), parts)
        return state + self.think(self.think_norm(state))

    def _attend(self, state: Tensor, parts: list[Tensor]) -> Tensor:
        """Multi-head attention with few queries: keys and values of the many tokens are never formed.

        q . (K x) = (K^T q) . x and sum_p w_p V x_p = V sum_p w_p x_p, which costs Q instead of D products a token.
        """
        heads, width, _ = self.keys.shape
        asked = self.ask(state).unflatten(2, (heads, width))  # (B, Q, h, d)
        looks = torch.einsum("bqhd,hdc->bqhc", asked, self.keys).flatten(1, 2)  # (B, Q * h, D)
        scores = torch.cat([torch.bmm(looks, part.transpose(1, 2)) for part in parts], dim=2)  # (B, Q * h, P)
        weights = scores.mul(width**-0.5).softmax(dim=-1).split([part.shape[1] for part in parts], dim=2)
        read = [torch.bmm(weight.to(part.dtype), part) for weight, part in zip(weights, parts, strict=True)]
        seen = torch.stack(read).sum(dim=0)
        return self.answer(torch.einsum("bqhc,hdc->bqhd", seen.unflatten(1, (-1, heads)), self.values).flatten(2))


class Psi(nn.Module):
    """z~ of all streams.

    Args:
        streams: modalities by stream, see `partition`.
        grids: (h, w) of each modality's tokens, None for text.
        dim: D.
        num_queries: latents a stream.
        num_layers: readings in all, shared out among the streams, at least one each.
        num_heads: attention heads.
    """

    def __init__(
        self,
        streams: Partition,
        grids: Mapping[str, Grid],
        dim: int,
        num_queries: int,
        num_layers: int,
        num_heads: int,
    ) -> None:
        super().__init__()
        depth = max(1, num_layers // len(streams))
        self.streams = nn.ModuleList(
            Stream({name: grids[name] for name in names}, dim, num_queries, depth, num_heads) for names in streams
        )
        self.size = num_queries * dim

    def forward(self, latents: Mapping[str, Tensor]) -> list[Tensor]:
        """Latents (B, P_m, D) by modality -> one z~ (B, num_queries * D) a stream."""
        return [stream(latents) for stream in self.streams]
