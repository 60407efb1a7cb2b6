"""Steps of random actions, and a memory of what brought feedback that is rare.

An attempt at a door is one step in fifty. Learned from while it is new and then forgotten, a hundred attempts are
known by heart before their rule is found. So of every kind of feedback the newest steps are kept, however long ago
they were (after the replay of reward prediction by Jaderberg et al. 2017).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from agents.world_model import Codes
from encoders.distinct import Distinct
from encoders.encoder import Prepared, compact, merge, select
from encoders.tensors import flat

_KINDS = 4


class Play(NamedTuple):
    """B steps of random actions.

    Fields:
        observations: prepared for the encoder, (B, ...) by modality.
        actions: (B, n) int64, by part; rewards: (B,); terminated: (B,) bool.
        following: codes (B, P_m) by modality of what each step led to; empty where nobody foresees it.
    """

    observations: Prepared
    actions: Tensor
    rewards: Tensor
    terminated: Tensor
    following: Codes = MappingProxyType({})

    @property
    def kind(self) -> Tensor:
        """(B,) int64, what feedback a step brought: 0 none, 1 an end, 2 a reward, 3 both."""
        return 2 * (self.rewards > 0) + self.terminated.long()

    def select(self, index: Tensor) -> "Play":
        """Steps `index`."""
        following = {name: codes[index] for name, codes in self.following.items()}
        columns = (self.actions[index], self.rewards[index], self.terminated[index])
        return Play(select(self.observations, index), *columns, following)

    def then(self, later: "Play") -> "Play":
        """These steps, and after them `later` ones."""
        following = {name: torch.cat([codes, later.following[name]]) for name, codes in self.following.items()}
        return Play(
            merge([self.observations, later.observations]),
            torch.cat([self.actions, later.actions]),
            torch.cat([self.rewards, later.rewards]),
            torch.cat([self.terminated, later.terminated]),
            following,
        )


class Replay:
    """The newest steps of every kind of feedback.

    Args:
        most: steps kept of a kind.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.kept: Play | None = None

    def add(self, play: Play) -> Play:
        """What is kept, followed by all of `play`; of both, the newest are kept."""
        known = play if self.kept is None else self.kept.then(play)
        kind = known.kind
        newest = [(kind == k).nonzero()[-self.most :, 0] for k in range(_KINDS)]
        kept = known.select(torch.cat(newest).sort().values)
        self.kept = kept._replace(observations=compact(kept.observations))
        return known

    def clear(self) -> None:
        """Keep nothing."""
        self.kept = None

    def tensors(self) -> dict[str, Tensor]:
        """What is kept, by name; nothing where nothing is."""
        return {} if self.kept is None else _named(self.kept)

    def restore(self, tensors: Mapping[str, Tensor], like: Play) -> None:
        """The inverse of `tensors`, onto the device of `like`.

        Args:
            tensors: what was kept, by name.
            like: other steps in the same worlds, which tell its form.

        Raises:
            ValueError: steps of another form.
        """
        if not tensors:
            return self.clear()
        expected = {name: _form(tensor) for name, tensor in _named(like).items()}
        if {name: _form(tensor) for name, tensor in tensors.items()} != expected:
            raise ValueError("steps of play have another form")
        held = {name: tensor.to(like.actions.device) for name, tensor in tensors.items()}
        observations: Prepared = {}
        for name, value in like.observations.items():
            of = f"observations.{name}"
            plain = not isinstance(value, Distinct)
            observations[name] = held[of] if plain else Distinct(held[f"{of}.items"], held[f"{of}.which"])
        following = {name: held[f"following.{name}"] for name in like.following}
        self.kept = Play(observations, held["actions"], held["rewards"], held["terminated"], following)
        self._check()

    def _check(self) -> None:
        """Every step has an action, a reward, .., and every place an item."""
        assert self.kept is not None
        observations, *columns, following = self.kept
        count = len(self.kept.actions)
        for value in (*observations.values(), *columns, *following.values()):
            which = value.which if isinstance(value, Distinct) else value
            if len(which) != count:
                raise ValueError("steps of play are incomplete")
            if isinstance(value, Distinct) and not ((which >= 0) & (which < len(value.items))).all():
                raise ValueError("steps of play show what is not kept")


def _named(play: Play) -> dict[str, Tensor]:
    """All tensors of some steps by name."""
    return {name: tensor for field, value in play._asdict().items() for name, tensor in flat(field, value)}


def _form(tensor: Tensor) -> tuple[torch.dtype, tuple[int, ...]]:
    return tensor.dtype, tuple(tensor.shape[1:])
