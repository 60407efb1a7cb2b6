"""Predicting feedback from the shared latent, Eq. (9): how will this action be rewarded, will it end the episode?

Returns are rare and noisy, feedback is there at every step. So an agent first plays, acting at random, and learns to
foresee what its actions bring; only then does it learn to act. An agent that acts at once settles for what it can tell
apart by then, such as the nearest object, and may stay there.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional

from agents.distribution import descend
from agents.network import Network
from agents.play import Play
from agents.world_model import evolution_loss
from encoders.precision import autocast


def feedback_loss(log_odds: Tensor, rewards: Tensor, terminated: Tensor) -> Tensor:
    """Nats a step of predicting, for the action taken, how it is rewarded and whether it ends the episode.

    Args:
        log_odds: (B, 2), of the action taken. Best, those of the expected reward, and of an end.
        rewards: (B,), of which the share in [0, 1] is foreseen.
        terminated: (B,) bool.
    """
    told = torch.stack([rewards.clamp(0.0, 1.0), terminated.to(rewards.dtype)], dim=1)
    return functional.binary_cross_entropy_with_logits(log_odds, told, reduction="none").sum(dim=1).mean()


def foresee(
    network: Network,
    optimiser: torch.optim.Optimizer,
    play: Play,
    updates: int,
    rows: int,
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
        updates: steps of the optimiser.
        rows: of play that an update draws, with replacement.
        weight: of foreseeing the next observation, beside feedback.
        max_grad_norm: gradients are scaled down to this norm.
        generator: CPU generator of the draws.
        bfloat16: whether matrix products run in bfloat16.

    Returns:
        Means over the updates, in nats a step of the balanced draws: feedback_loss and evolution_loss; and grad_norm.
    """
    device = play.actions.device
    kind = play.kind.cpu()
    shares = (1.0 / torch.bincount(kind).double())[kind].cumsum(dim=0)
    totals = {"feedback_loss": 0.0, "evolution_loss": 0.0, "grad_norm": 0.0}
    for _ in range(updates):
        chance = torch.rand(rows, dtype=torch.float64, generator=generator) * shares[-1]
        drawn = torch.searchsorted(shares, chance).clamp(max=len(kind) - 1).to(device)
        with autocast(device, bfloat16):
            steps = play.select(drawn)
            decision = network(steps.observations, network.initial_carry(rows))
            log_odds = network.choices.at(decision.feedback, steps.actions)
            feedback = feedback_loss(log_odds, steps.rewards, steps.terminated)
            evolution = evolution_loss(network.evolution, decision, steps.observations, steps.actions, steps.following)
        norm = descend(network, optimiser, feedback + weight * evolution, max_grad_norm)
        totals["feedback_loss"] += feedback.item()
        totals["evolution_loss"] += evolution.item()
        totals["grad_norm"] += norm.item()
    return {name: total / updates for name, total in totals.items()}
