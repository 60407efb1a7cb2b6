"""State evolution on the shared latent, Eq. (9): what will be observed next, given z~, h and the action.

    joint form     p(o'^m | z~, h, a)      every modality is foreseen from the one shared state
    product form   p_m(o'^m | z^m, h^m, a) every stream foresees its own, Eq. (10)

Which of the two it is follows from the streams of Psi, like all else. Feedback is foreseen by the heads of the network.
A picture is told by the codes of its patches and a text by its words, so that log-losses are nats of the observation;
given the state, places are independent. z~' is Psi of what was foreseen.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from torch import Generator, Tensor, nn
from torch.nn import functional

from agents.choices import Choices
from agents.distribution import DivergedError
from encoders.codebook import Codebook
from encoders.distinct import Distinct, distinct_rows
from encoders.encoder import Prepared
from encoders.psi import Mixing, Partition
from unienv.actions import Actions
from unienv.backend import to_numpy
from unienv.modality import IMAGE, TEXT, VIDEO

Codes = Mapping[str, Tensor]  # by modality: words (B, L) and codes of patches (B, P), int64

_WORLDS, _STEPS, _PATCHES = 64, 128, 1023  # of a survey
_STAY = 8.0  # log odds at first that a place stays what it is: most do


class Evolution(nn.Module):
    """The law of the next observation.

    Args:
        space: Dict of modalities; their texts and images.
        streams: modalities by stream, see `encoders.psi.partition`.
        grids: (h, w) of the places of an image.
        dim: D, of the latents of places.
        width: of the features h of a stream.
        choices: of actions.
        codebook: of the pictures.
    """

    def __init__(
        self,
        space: spaces.Dict,
        streams: Partition,
        grids: Mapping[str, Any],
        dim: int,
        width: int,
        choices: Choices,
        codebook: Codebook,
    ) -> None:
        super().__init__()
        self.codebook, self.choices, self.streams = codebook, choices, streams
        self.grid: tuple[int, int] = grids.get(IMAGE) or (1, 1)
        self.act = nn.Embedding(choices.size, dim)
        self.parts = nn.ModuleDict()
        for name in (name for names in streams for name in names):
            box: Any = space[name]
            text = name == TEXT
            grid, count = ((1, box.shape[0]), int(box.high.max()) + 1) if text else (self.grid, len(codebook))
            self.parts[name] = Part(grid, dim, width + dim, count)

    def forward(
        self, latents: Mapping[str, Tensor], features: Sequence[Tensor], actions: Tensor, codes: Codes
    ) -> Codes:
        """Logits of the next observation.

        Args:
            latents: (B, P_m, D) by modality, before Psi.
            features: (B, width) of each stream, h = U(h, z~).
            actions: (B, n) int64, by part.
            codes: of the present observation.

        Returns:
            By modality, (B, P_m, C_m) float32.
        """
        act = self.act(actions + self.choices.offsets.to(actions.device)).sum(dim=1)
        logits = {}
        for names, state in zip(self.streams, features, strict=True):
            context = torch.cat([state.float(), act.float()], dim=1)
            for name in names:
                logits[name] = self.parts[name](latents[name], context, codes[name])
        return logits

    def codes(self, prepared: Prepared) -> Codes:
        """Prepared observations as codes."""
        told = {}
        for name in self.parts:
            value = prepared[name]
            assert isinstance(value, Distinct)
            told[name] = value.items[value.which].long() if name == TEXT else self.codebook.code(value)
        return told

    def prepared(self, codes: Codes) -> Prepared:
        """Codes as prepared observations: what is foreseen can be encoded like what was seen."""
        return {
            name: distinct_rows(of.to(torch.int32)) if name == TEXT else self.codebook.prepared(of, self.grid)
            for name, of in codes.items()
        }


class Part(nn.Module):
    """The next content of the places of one modality, by the state, by what stands there and by what stands beside it.

    Two mixings: an agent steps onto a place (one) if nothing else bars the way (two).

    Args:
        grid: (h, w) of the places.
        dim: D.
        context: numbers of what holds for all places: state and action.
        count: C, contents.
    """

    def __init__(self, grid: tuple[int, int], dim: int, context: int, count: int) -> None:
        super().__init__()
        self.mixings = nn.ModuleList(Mixing(grid, dim, context) for _ in range(2))
        self.norm, self.read = nn.LayerNorm(dim), nn.Linear(dim, count)
        self.stay = nn.Parameter(torch.tensor(_STAY))
        nn.init.zeros_(self.read.weight)

    def forward(self, tokens: Tensor, context: Tensor, codes: Tensor) -> Tensor:
        """Tokens (B, P, D), context (B, .) and present contents (B, P) -> logits (B, P, C)."""
        for mixing in self.mixings:
            tokens = mixing(tokens, context)
        logits = self.read(self.norm(tokens)).float()
        return logits.scatter_add(2, codes[..., None], self.stay.expand(*codes.shape, 1))


def evolution_losses(logits: Codes, following: Codes) -> dict[str, Tensor]:
    """-log p(o'^m | .) of each row, (B,) nats, by modality.

    Args:
        logits: (B, P_m, C_m).
        following: codes (B, P_m) of what followed.
    """
    return {
        name: functional.cross_entropy(of.flatten(0, 1), following[name].flatten(), reduction="none")
        .unflatten(0, following[name].shape)
        .sum(dim=1)
        for name, of in logits.items()
    }


def evolution_loss(
    evolution: Evolution | None, decision: Any, prepared: Prepared, actions: Tensor, following: Codes
) -> Tensor:
    """Nats a step of foreseeing the next observation, all modalities together; 0 where nobody does.

    Args:
        evolution: of the network, if it has one.
        decision: `agents.network.Decision` on B observations.
        prepared: these observations.
        actions: (B, n) int64, by part.
        following: codes (B, P_m) by modality of what followed.
    """
    if evolution is None or not following:
        return decision.logits.new_zeros(())
    logits = evolution(decision.latents, decision.features, actions, evolution.codes(prepared))
    return torch.stack(list(evolution_losses(logits, following).values())).sum(dim=0).mean()


def draw(logits: Codes, generator: Generator) -> Codes:
    """A next observation of each row, (B, P_m) by modality; DivergedError for logits that are no numbers."""
    drawn = {}
    for name, of in logits.items():
        chances = of.softmax(dim=-1).flatten(0, 1)
        if not chances.isfinite().all():
            raise DivergedError(f"the chances of the next {name} are no numbers any more")
        flat = torch.multinomial(chances, 1, generator=generator)
        drawn[name] = flat.view(of.shape[:2])
    return drawn


def survey(make_envs: Callable[[int], VectorEnv]) -> Codebook:
    """The codebook of what some environments show along random play, with fixed seeds: the same in every process.

    Raises:
        ValueError: one line, for observations that are no text with an image.
    """
    envs = make_envs(_WORLDS)
    assert isinstance(envs.single_observation_space, spaces.Dict)
    names = set(envs.single_observation_space.spaces)
    if VIDEO in names or IMAGE not in names:
        raise ValueError(f"agent.imagine needs observations with an image and no video, got {', '.join(sorted(names))}")
    with closing(envs):
        return Codebook.of(_images(envs), _PATCHES)


def _images(envs: VectorEnv) -> Iterator[Tensor]:
    actions, generator = Actions(envs.single_action_space), np.random.default_rng(0)
    observation, _ = envs.reset(seed=0)
    yield torch.as_tensor(observation[IMAGE]).cpu()
    for _ in range(_STEPS):
        observation, _, terminated, truncated, info = envs.step(actions.sample(generator, _WORLDS))
        yield torch.as_tensor(observation[IMAGE]).cpu()
        over = np.flatnonzero(to_numpy(terminated | truncated)).tolist()
        if over:
            yield last_observations(info, over)[IMAGE].cpu()


def last_observations(info: Mapping[str, Any], slots: Sequence[int]) -> dict[str, Tensor]:
    """The last observations of episodes that ended in these slots: (n, ...) by modality.

    Args:
        info: of a step in SAME_STEP mode.
        slots: n of them, at least one.
    """
    rows = [info["final_obs"][slot] for slot in slots]
    return {name: torch.stack([torch.as_tensor(row[name]) for row in rows]) for name in rows[0]}
