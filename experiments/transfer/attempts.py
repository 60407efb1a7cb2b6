"""Does an agent foresee which key opens the door? Asked of attempts that random actions make, beside what it does."""

from collections.abc import Iterator

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor
from torch.nn import functional

from agents.network import Network
from agents.policies import RandomPolicy
from unienv.actions import Actions

_ROWS = 1024  # attempts that are judged at once


def judge(network: Network, envs: VectorEnv, count: int, seed: int) -> dict[str, float]:
    """How well a network foresees which attempts succeed; those that do and those that don't count one half each.

    Args:
        network: on the CPU; its memory is empty at every attempt.
        envs: N worlds `manual` in SAME_STEP mode on numpy; reset here.
        count: of attempts.
        seed: of worlds and actions.

    Returns:
        foreseen: share of attempts whose end is foreseen, 1/2 by chance. nats: -log p of that end; ln 2 = 0.693 for one
        that knows nothing and says so, more for one that is sure and wrong.
    """
    told = [_foretell(network, *rows) for rows in _attempts(envs, count, seed)]
    log_odds, won = (torch.cat(part) for part in zip(*told, strict=True))
    right, nats = ((log_odds > 0) == won).float(), functional.softplus(torch.where(won, -log_odds, log_odds))
    foreseen, loss = ((x[won].mean() + x[~won].mean()).item() / 2 for x in (right, nats))
    return {"foreseen": foreseen, "nats": loss}


def _attempts(envs: VectorEnv, count: int, seed: int) -> Iterator[tuple[dict[str, Tensor], Tensor, Tensor]]:
    """Steps of random actions that open a door or jam it: what was seen before, the actions (B, 1), success (B,)."""
    policy = RandomPolicy(Actions(envs.single_action_space), np.random.default_rng(seed))
    before, _ = envs.reset(seed=seed)
    steps, found, start = [], 0, np.ones(envs.num_envs, bool)
    while found < count:
        actions = np.asarray(policy.act(before, start))
        after, reward, terminated, _, _ = envs.step(actions)
        steps.append([x[terminated] for x in (*before.values(), actions, reward)])
        before, found = after, found + int(terminated.sum())
    columns = [torch.as_tensor(np.concatenate(x)[:count]).split(_ROWS) for x in zip(*steps, strict=True)]
    for *observed, actions, rewards in zip(*columns, strict=True):
        yield dict(zip(before, observed, strict=True)), actions[:, None], rewards > 0


@torch.no_grad()
def _foretell(network: Network, observation: dict[str, Tensor], actions: Tensor, won: Tensor) -> tuple[Tensor, Tensor]:
    """Log odds (B,) that attempts succeed, and whether they did."""
    decision = network(network.encoder.prepare(observation), network.initial_carry(len(won)))
    return network.choices.at(decision.feedback, actions)[:, 0], won
