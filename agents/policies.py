"""Who acts: a trained network, chance, or a world's own oracle, behind one interface."""

from typing import Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from torch import Generator, Tensor

from agents.network import Network
from encoders.precision import autocast


class Policy(Protocol):
    """Actions for N worlds; keeps its memory between calls."""

    def act(self, observation: dict[str, Any], start: np.ndarray) -> np.ndarray:
        """Actions (N,) for observations (N, ...); `start` (N,) bool marks first observations of an episode."""
        ...


class NetworkPolicy:
    """a ~ Pi(. | h): samples from a network, as J is defined.

    Args:
        network: trained.
        num_worlds: N.
        generator: of the actions, on the network's device.
        bfloat16: whether matrix products run in bfloat16.
        first_action: number of the action that the network counts as 0.

    Attributes:
        probabilities: (N, K) float32 of the last decision.
    """

    def __init__(
        self, network: Network, num_worlds: int, generator: Generator, bfloat16: bool, first_action: int = 0
    ) -> None:
        self.network, self.generator, self.bfloat16, self.first_action = network, generator, bfloat16, first_action
        self.carry = network.initial_carry(num_worlds)
        self.probabilities = np.empty((num_worlds, 0), np.float32)

    @torch.no_grad()
    def act(self, observation: dict[str, Any], start: np.ndarray) -> np.ndarray:
        """Sampled actions (N,)."""
        device = self.generator.device
        tensors: dict[str, Tensor] = {key: torch.as_tensor(value, device=device) for key, value in observation.items()}
        with autocast(device, self.bfloat16):
            prepared = self.network.encoder.prepare(tensors)
            decision = self.network(prepared, self.carry, torch.as_tensor(start, device=device)[None])
        self.carry = decision.carry
        probabilities = decision.logits.softmax(dim=-1)
        self.probabilities = probabilities.cpu().numpy()
        return torch.multinomial(probabilities, 1, generator=self.generator)[:, 0].cpu().numpy() + self.first_action


class RandomPolicy:
    """Uniform actions: the lower anchor."""

    def __init__(self, space: spaces.Discrete, generator: np.random.Generator) -> None:
        self.space, self.generator = space, generator

    def act(self, observation: dict[str, Any], start: np.ndarray) -> np.ndarray:
        """Uniform actions (N,)."""
        del observation
        return int(self.space.start) + self.generator.integers(int(self.space.n), size=len(start))


class OraclePolicy:
    """The best actions given the full state: the upper anchor. Only worlds of this package have one."""

    def __init__(self, envs: VectorEnv) -> None:
        self.oracle = envs.oracle  # type: ignore[attr-defined]

    def act(self, observation: dict[str, Any], start: np.ndarray) -> np.ndarray:
        """The oracle's actions (N,)."""
        del observation, start
        return np.asarray(self.oracle())
