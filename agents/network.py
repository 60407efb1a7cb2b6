"""The agent: h_t = U(h_{t-1}, o_t), a_t ~ Pi(. | h_t), and the value of h_t.

Carry in, carry out: the network holds no state of its own. Each stream of Psi has its own memory and its own heads;
logits, values and predicted feedback of the streams are added. With one stream that is an ordinary network; with a
stream a modality it is exactly the separable class pi(a | o) ~ exp sum_m f_m(o^m, a).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn

from agents.bridge import load_bridge
from agents.choices import Choices
from agents.world_model import Evolution
from encoders.codebook import Codebook
from encoders.encoder import Encoder, Prepared
from encoders.psi import Psi, partition
from encoders.size import count_parameters
from unienv.actions import Actions
from unienv.modality import MODALITIES, Vocabulary, check_box
from unienv.spelling import check_choice

MEMORIES = ("none", "gru")
_EQUAL = 0.01  # of the joint form's size, that another form may have more


@dataclass
class AgentConfig:
    """Shape of the agent."""

    psi: str = "joint"  # form of the shared latent: joint, late, text, image or video
    text: str = "tokens"  # how text is read: tokens (word embeddings) or latent (the encoder of a bridge)
    image: str = "tile"  # timm model of images and video frames, or latent (the encoder of a bridge)
    bridge: str | None = None  # run folder of a study=bridge, where something is latent
    memory: str = "none"  # h: none (the present observation) or gru
    imagine: int | None = None  # imagined rollouts a real one; 0 only learns how the world evolves, none not even that
    dim: int = 64  # D, of every latent
    queries: int = 4  # latents that read the modalities, a stream
    layers: int = 1  # readings, shared out among the streams
    heads: int = 4  # attention heads
    hidden: int = 256  # width of the joint form's heads; other forms get the width that makes the sizes equal


class Decision(NamedTuple):
    """What the network makes of B observations.

    Fields:
        logits: (B, k), of the k choices of all parts of an action, see `agents.choices`.
        value: (B,).
        feedback: (B, 2, k), log odds of the reward of an action and that it ends the episode, added up over its parts.
        carry: (B, S, hidden) for S streams; hidden = 0 without memory.
        latents: (B, P_m, D) by modality, what Psi read; features: (B, width) of each stream, h. For `Evolution`.
    """

    logits: Tensor
    value: Tensor
    feedback: Tensor
    carry: Tensor
    latents: Mapping[str, Tensor] = MappingProxyType({})
    features: Sequence[Tensor] = ()


class Network(nn.Module):
    """Encoders, Psi, memory and heads.

    Args:
        observation_space: Dict of modalities.
        action_space: see `unienv.actions`.
        config: shape; `hidden` is taken as it is, see `make_network` for equal sizes.
        frozen: models of a bridge by modality, see `agents.bridge`.
        codebook: of the pictures; None for an agent that does not learn how the world evolves.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space,
        config: AgentConfig,
        frozen: Mapping[str, Any] = MappingProxyType({}),
        codebook: Codebook | None = None,
    ) -> None:
        super().__init__()
        streams = partition(config.psi, observation_space.spaces)
        width = max(1, config.hidden // len(streams))
        used = [modality for names in streams for modality in names]
        self.encoder = Encoder(observation_space, used, config.image, config.dim, config.heads, frozen)
        self.psi = Psi(streams, self.encoder.grids, config.dim, config.queries, config.layers, config.heads)
        self.choices = Choices(Actions(action_space).nvec)
        self.heads = nn.ModuleList(Head(self.psi.size, width, self.choices.size, config.memory) for _ in streams)
        self.evolution = None
        if codebook is not None:
            grids = self.encoder.grids
            self.evolution = Evolution(observation_space, streams, grids, config.dim, width, self.choices, codebook)

    def initial_carry(self, batch: int) -> Tensor:
        """h_0: (B, S, hidden) zeros."""
        head = self.heads[0]
        return torch.zeros(batch, len(self.heads), head.carry_size, device=next(self.parameters()).device)  # type: ignore[call-overload]

    def forward(self, prepared: Prepared, carry: Tensor, start: Tensor | None = None) -> Decision:
        """One step, or T steps unrolled.

        Args:
            prepared: observations (B, ...) by modality after `encoder.prepare`, time-major (T * B, ...) for an unroll.
            carry: (B, S, hidden), h before the first step.
            start: (T, B) bool, steps at which an episode starts and the memory is cleared; None for one step that
                continues every episode.
        """
        latents = self.encoder(prepared)
        heads = zip(self.heads, self.psi(latents), strict=True)
        outputs = [head(z, carry[:, s], start) for s, (head, z) in enumerate(heads)]
        *outputs, features = zip(*outputs, strict=True)
        logits, values, feedback, carries = (torch.stack(part).float() for part in outputs)
        logits, values, feedback = (part.sum(dim=0) for part in (logits, values, feedback))
        return Decision(logits, values, feedback, carries.transpose(0, 1), latents, features)


class Head(nn.Module):
    """One stream's memory, logits, value and predicted feedback."""

    def __init__(self, size: int, width: int, num_choices: int, memory: str) -> None:
        super().__init__()
        check_choice("agent.memory", memory, MEMORIES)
        self.trunk = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, width), nn.GELU())
        self.cell = nn.GRUCell(width, width) if memory == "gru" else None
        self.carry_size = width if self.cell else 0
        self.policy, self.value = nn.Linear(width, num_choices), nn.Linear(width, 1)
        self.feedback = nn.Linear(width, 2 * num_choices)
        nn.init.orthogonal_(self.policy.weight, 0.01)
        nn.init.zeros_(self.policy.bias)
        nn.init.zeros_(self.value.weight)  # nothing is expected yet: a guess would be as large as play's features
        nn.init.zeros_(self.value.bias)

    def forward(self, z: Tensor, carry: Tensor, start: Tensor | None) -> tuple[Tensor, ...]:
        """Z (T * B, size), carry (B, width), start (T, B) -> logits (T * B, K), value (T * B,), feedback, carry, h."""
        features = self.trunk(z)
        if self.cell is not None:
            features, carry = self._unroll(features, carry, start)
        feedback = self.feedback(features).unflatten(1, (2, -1))
        return self.policy(features), self.value(features)[:, 0], feedback, carry, features

    def _unroll(self, features: Tensor, carry: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
        assert self.cell is not None
        outputs = []
        for t, step in enumerate(features.unflatten(0, (-1, carry.shape[0]))):
            if start is not None:
                carry = carry * ~start[t][:, None]
            carry = self.cell(step, carry)
            outputs.append(carry)
        return torch.cat(outputs), carry


def make_network(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    config: AgentConfig,
    vocabulary: Vocabulary | None = None,
    codebook: Codebook | None = None,
) -> Network:
    """A network whose number of parameters equals the joint form's, whatever `config.psi` is.

    The width of the heads is chosen to that end, so that a comparison of forms is one of equal sizes.

    Args:
        observation_space: Dict of modalities.
        action_space: see `unienv.actions`.
        config: shape.
        vocabulary: words of the text; needed where a bridge reads it.
        codebook: see `Network`.

    Raises:
        ValueError: unknown form, image model or memory; an observation that is no Dict, or pixels of other than three
            channels; an action space that is none of those in `unienv.actions`; a bridge that is missing or does not
            know the words; heads so narrow that no other form is as small.
    """
    if not isinstance(observation_space, spaces.Dict):
        raise ValueError(f"expected a Dict of modalities to observe, got {observation_space}")
    for modality in MODALITIES:
        if modality in observation_space.spaces:
            check_box(modality, observation_space[modality], "the environment")
    if codebook is not None and config.image != "tile":
        raise ValueError(f"agent.imagine foresees patches: it needs agent.image=tile, got {config.image}")
    if codebook is not None and config.text == "latent":
        raise ValueError("agent.imagine foresees words: it needs agent.text=tokens, got latent")
    frozen = load_bridge(config.text, config.image, config.bridge, vocabulary)
    build = partial(Network, observation_space, action_space, frozen=frozen, codebook=codebook)
    if config.psi == "joint":
        return build(config)

    @cache
    def size(form: str, hidden: int) -> int:
        shape = AgentConfig(**{**vars(config), "psi": form, "hidden": hidden})
        with torch.random.fork_rng(devices=[]):
            return count_parameters(build(shape))

    target = size("joint", config.hidden)
    low, high = 1, config.hidden
    while size(config.psi, high) <= target:
        low, high = high, 2 * high
    while high - low > 1:  # the widest heads that stay within the joint form's size
        middle = (low + high) // 2
        low, high = (middle, high) if size(config.psi, middle) <= target else (low, middle)
    if (least := size(config.psi, low)) > target * (1 + _EQUAL):
        raise ValueError(
            f"agent.psi={config.psi} has at least {least:,} parameters where joint has {target:,}, and forms are of "
            f"equal size; take a larger agent.hidden than {config.hidden}"
        )
    return build(AgentConfig(**{**vars(config), "hidden": low}))
