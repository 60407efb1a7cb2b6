"""Predicting feedback from the shared latent, Eq. (9): will this action be rewarded, will it end the episode?

Returns are rare and noisy, feedback is there at every step. So an agent first plays, acting at random, and learns to
foresee what its actions bring; only then does it learn to act. An agent that acts at once settles for what it can tell
apart by then, such as the nearest object, and may stay there.
"""

from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional

from agents.distribution import descend
from agents.network import Network
from agents.world_model import Codes, evolution_loss
from encoders.encoder import Prepared, select
from encoders.precision import autocast


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


def feedback_loss(log_odds: Tensor, rewards: Tensor, terminated: Tensor) -> Tensor:
    """Nats a step of predicting, for the action taken, whether it is rewarded and whether it ends the episode.

    Args:
        log_odds: (B, 2), of the action taken.
        rewards: (B,); positive ones are rewards.
        terminated: (B,) bool.
    """
    told = torch.stack([rewards > 0, terminated], dim=1).float()
    return functional.binary_cross_entropy_with_logits(log_odds, told, reduction="none").sum(dim=1).mean()


def foresee(
    network: Network,
    optimiser: torch.optim.Optimizer,
    play: Play,
    updates: int,
    weight: float,
    max_grad_norm: float,
    generator: Generator,
    bfloat16: bool,
) -> dict[str, float]:
    """Learn from play; changes network and optimiser in place.

    Every kind of feedback has the same share of a minibatch, however rare it is (after the skewed sampling of reward
    prediction by Jaderberg et al. 2017). Memory starts empty at every step: what it adds is learned later.

    Args:
        network: whose feedback is to come true.
        optimiser: over its parameters.
        play: B steps.
        updates: on B / (2 updates) drawn steps each.
        weight: of foreseeing the next observation, beside feedback.
        max_grad_norm: gradients are scaled down to this norm.
        generator: CPU generator of the draws.
        bfloat16: whether matrix products run in bfloat16.

    Returns:
        Means over the updates, in nats a step of the balanced draws: feedback_loss and evolution_loss; and grad_norm.
    """
    device = play.actions.device
    kind = (2 * (play.rewards > 0) + play.terminated.long()).cpu()
    shares = (1.0 / torch.bincount(kind).double())[kind].cumsum(dim=0)
    size = max(1, len(kind) // (2 * updates))
    totals = {"feedback_loss": 0.0, "evolution_loss": 0.0, "grad_norm": 0.0}
    for _ in range(updates):
        chance = torch.rand(size, dtype=torch.float64, generator=generator) * shares[-1]
        rows = torch.searchsorted(shares, chance).clamp(max=len(kind) - 1).to(device)
        with autocast(device, bfloat16):
            observations = select(play.observations, rows)
            decision = network(observations, network.initial_carry(size))
            log_odds = network.choices.at(decision.feedback, play.actions[rows])
            feedback = feedback_loss(log_odds, play.rewards[rows], play.terminated[rows])
            following = {name: of[rows] for name, of in play.following.items()}
            evolution = evolution_loss(network.evolution, decision, observations, play.actions[rows], following)
        norm = descend(network, optimiser, feedback + weight * evolution, max_grad_norm)
        totals["feedback_loss"] += feedback.item()
        totals["evolution_loss"] += evolution.item()
        totals["grad_norm"] += norm.item()
    return {name: total / updates for name, total in totals.items()}
