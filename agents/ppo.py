"""Proximal policy optimisation (Schulman et al. 2017): ascend J by the clipped surrogate, on minibatches of worlds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from agents.distribution import all_reduce_mean, descend
from agents.foresight import feedback_loss
from agents.gae import generalised_advantages
from agents.network import Network
from agents.rollout import Rollout
from agents.world_model import evolution_loss
from encoders.encoder import select
from encoders.precision import autocast


@dataclass
class PPOConfig:
    """Hyperparameters."""

    worlds: int = 256  # N, over all workers
    play: float = 0.1  # share of the steps spent on random actions first, to learn what feedback they bring
    horizon: int = 16  # T, steps of a rollout
    epochs: int = 1  # passes over a rollout
    minibatches: int = 8  # parts of a pass, each of whole worlds
    lr: float = 2e-3  # Adam's step size, falling linearly to 0 over the run
    gamma: float = 0.95  # discount of J
    lam: float = 0.95  # lambda of the advantages
    clip: float = 0.2  # largest change of a probability ratio that is still rewarded
    entropy: float = 0.02  # weight of the policy's entropy
    value: float = 0.5  # weight of the value loss
    feedback: float = 8.0  # weight of predicting the feedback of the action taken, Eq. (9)
    evolution: float = 0.1  # weight of predicting the next observation, where agent.imagine is a number
    max_grad_norm: float = 2.0  # gradients are scaled down to this norm


def improve(
    network: Network,
    optimiser: torch.optim.Optimizer,
    rollout: Rollout,
    config: PPOConfig,
    generator: Generator,
    bfloat16: bool,
    spread: float | None = None,
) -> dict[str, float]:
    """One PPO update from a rollout; changes network and optimiser in place.

    Args:
        network: the policy that collected the rollout.
        optimiser: over its parameters.
        rollout: (T, N) experience.
        config: hyperparameters.
        generator: CPU generator of the minibatches.
        bfloat16: whether matrix products run in bfloat16.
        spread: what advantages are divided by; None for their own standard deviation.

    Returns:
        Means over the update: policy_loss, value_loss, feedback_loss (nats a step), evolution_loss (nats a step, 0
        where nobody foresees what follows), entropy, kl (of the old from the new policy), clipped (share of ratios
        outside the clip range), grad_norm; explained_variance (of the returns by the values) and spread (what
        advantages were divided by).
    """
    advantages = generalised_advantages(
        rollout.rewards,
        rollout.values,
        rollout.next_values,
        rollout.terminated,
        rollout.truncated,
        config.gamma,
        config.lam,
    )
    returns = advantages + rollout.values
    explained = 1.0 - advantages.var(correction=0) / returns.var(correction=0).clamp(min=1e-8)
    mean, deviation = _moments(advantages)
    spread = deviation if spread is None else spread
    advantages = (advantages - mean) / (spread + 1e-8)
    totals: dict[str, float] = {}
    device = rollout.actions.device
    batches = list(_minibatches(rollout.rewards.shape[1], config, generator))
    for worlds in batches:
        worlds = worlds.to(device)
        with autocast(device, bfloat16):
            losses = _losses(network, rollout, advantages, returns, worlds, config)
        loss = losses["policy_loss"] + config.value * losses["value_loss"] - config.entropy * losses["entropy"]
        loss = loss + config.evolution * losses["evolution_loss"]
        if config.feedback:  # by a gradient of zeros Adam's momentum would go on where nothing is told
            loss = loss + config.feedback * losses["feedback_loss"]
        norm = descend(network, optimiser, loss, config.max_grad_norm)
        for name, value in {**losses, "grad_norm": norm}.items():
            totals[name] = totals.get(name, 0.0) + value.item()
    return {name: total / len(batches) for name, total in totals.items()} | {
        "explained_variance": explained.item(),
        "spread": spread,
    }


def _losses(
    network: Network, rollout: Rollout, advantages: Tensor, returns: Tensor, worlds: Tensor, config: PPOConfig
) -> Mapping[str, Tensor]:
    """Losses and diagnostics over the steps of some worlds (n,)."""
    num_steps, num_worlds = rollout.rewards.shape
    rows = (torch.arange(num_steps, device=worlds.device)[:, None] * num_worlds + worlds).flatten()
    observations = select(rollout.observations, rows)
    decision = network(observations, rollout.carry[worlds], rollout.start[:, worlds])
    actions, old, rewards, terminated, advantage, target = (
        column[:, worlds].flatten(0, 1)
        for column in (rollout.actions, rollout.log_probs, rollout.rewards, rollout.terminated, advantages, returns)
    )
    following = {name: of[rows] for name, of in rollout.following.items()}
    log_probs = network.choices.log_probs(decision.logits)
    change = network.choices.at(log_probs, actions) - old
    ratio = change.exp()
    clipped = ratio.clamp(1.0 - config.clip, 1.0 + config.clip)
    return {
        "policy_loss": -torch.minimum(ratio * advantage, clipped * advantage).mean(),
        "value_loss": 0.5 * (decision.value - target).square().mean(),
        "feedback_loss": feedback_loss(network.choices.at(decision.feedback, actions), rewards, terminated),
        "evolution_loss": evolution_loss(network.evolution, decision, observations, actions, following),
        "entropy": -(log_probs.exp() * log_probs).sum(dim=-1).mean(),
        "kl": (ratio - 1.0 - change).mean().detach(),
        "clipped": (ratio != clipped).float().mean(),
    }


def _minibatches(num_worlds: int, config: PPOConfig, generator: Generator) -> Iterator[Tensor]:
    for _ in range(config.epochs):
        yield from torch.randperm(num_worlds, generator=generator).tensor_split(config.minibatches)


def _moments(advantages: Tensor) -> tuple[float, float]:
    """Mean and standard deviation over the rollouts of all workers, in two passes: squares less a square cancel."""
    mean = all_reduce_mean(advantages.mean())
    return mean.item(), all_reduce_mean((advantages - mean).square().mean()).sqrt().item()
