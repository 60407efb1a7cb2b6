"""Who acts: a trained network, chance, or a world's own oracle, behind one interface."""

from typing import Any, Protocol

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Generator, Tensor

from agents.network import Network
from encoders.precision import autocast
from unienv.actions import Actions
from unienv.world import Action


class Policy(Protocol):
    """Actions for N worlds; keeps its memory between calls."""

    def act(self, observation: dict[str, Any], start: np.ndarray) -> Action:
        """Actions of N worlds for observations (N, ...); `start` (N,) bool marks first observations of an episode."""
        ...


class NetworkPolicy:
    """a ~ Pi(. | h): samples from a network, as J is defined.

    Args:
        network: trained.
        num_worlds: N.
        generator: of the actions, on the network's device.
        bfloat16: whether matrix products run in bfloat16.
        actions: of the worlds' action space.

    Attributes:
        probabilities: (N, k) float32, of the k choices of all parts at the last decision, see `agents.choices`.
    """

    def __init__(
        self, network: Network, num_worlds: int, generator: Generator, bfloat16: bool, actions: Actions
    ) -> None:
        self.network, self.generator, self.bfloat16, self.actions = network, generator, bfloat16, actions
        self.carry = network.initial_carry(num_worlds)
        self.probabilities = np.empty((num_worlds, 0), np.float32)

    @torch.no_grad()
    def act(self, observation: dict[str, Any], start: np.ndarray) -> Action:
        """Sampled actions."""
        device = self.generator.device
        tensors: dict[str, Tensor] = {key: torch.as_tensor(value, device=device) for key, value in observation.items()}
        with autocast(device, self.bfloat16):
            prepared = self.network.encoder.prepare(tensors)
            decision = self.network(prepared, self.carry, torch.as_tensor(start, device=device)[None])
        self.carry = decision.carry
        log_probs = self.network.choices.log_probs(decision.logits)
        self.probabilities = log_probs.exp().cpu().numpy()
        return self.actions.join(self.network.choices.sample(log_probs, self.generator).cpu().numpy())


class RandomPolicy:
    """Uniform actions: the lower anchor."""

    def __init__(self, actions: Actions, generator: np.random.Generator) -> None:
        self.actions, self.generator = actions, generator

    def act(self, observation: dict[str, Any], start: np.ndarray) -> Action:
        """Uniform actions."""
        del observation
        return self.actions.sample(self.generator, len(start))


class OraclePolicy:
    """The best actions given the full state: the upper anchor. Only worlds of this package have one."""

    def __init__(self, envs: VectorEnv) -> None:
        self.oracle = envs.oracle  # type: ignore[attr-defined]

    def act(self, observation: dict[str, Any], start: np.ndarray) -> Action:
        """The oracle's actions."""
        del observation, start
        return self.oracle()
