"""Generalised advantage estimation (Schulman et al. 2016), with truncation and termination apart."""

import torch
from torch import Tensor


def generalised_advantages(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    lam: float,
) -> Tensor:
    """Advantages of T steps in N worlds.

    delta_t = r_t + gamma (1 - terminated_t) V(o'_t) - V(o_t), summed with weights (gamma lambda)^k up to the episode's
    end. A terminated episode is worth nothing afterwards; a truncated one is worth the value of its last observation.

    Args:
        rewards: (T, N).
        values: (T, N), V(o_t).
        next_values: (T, N), V of the observation that o_t led to in the same episode: the last one where it ended.
        terminated: (T, N) bool.
        truncated: (T, N) bool.
        gamma: discount in [0, 1].
        lam: lambda in [0, 1]: 0 is one-step, 1 is Monte Carlo.

    Returns:
        (T, N).
    """
    deltas = rewards + gamma * next_values * ~terminated - values
    keep = gamma * lam * ~(terminated | truncated)
    advantages = torch.empty_like(deltas)
    following = torch.zeros_like(deltas[0])
    for t in reversed(range(len(deltas))):
        following = deltas[t] + keep[t] * following
        advantages[t] = following
    return advantages
