"""Experience that never happened: rollouts of the policy in the agent's own world model.

What is foreseen is observed again: o' ~ p(o' | z~, h, a), and Psi makes z~' of it. So imagined rollouts are rollouts
like any other, and the policy improves on them in the same way (after Sutton 1990; Hafner et al. 2020; Micheli et al.
2023).
"""

import torch
from torch import Generator, Tensor

from agents.network import Network
from agents.rollout import Rollout
from agents.world_model import Codes, draw
from encoders.encoder import Prepared, merge, select


@torch.no_grad()
def imagine(
    network: Network,
    real: Rollout,
    prepared: Prepared,
    carry: Tensor,
    start: Tensor,
    num_steps: int,
    generator: Generator,
) -> Rollout:
    """Imagined steps of B worlds.

    A step is worth its expected reward: the foreseen one, of which what exceeds 1 is scaled back as it was on average
    in `real`. Episodes end by the foreseen chance, and others begin with a first observation out of `real`.

    Args:
        network: that knows how the world evolves.
        real: (T, N) experience.
        prepared: observations (B, ...) at which imagination sets out.
        carry: (B, S, hidden), memory before them.
        start: (B,) bool, those that start an episode.
        num_steps: T.
        generator: of actions, ends and observations, on the network's device.

    Raises:
        ValueError: `real` holds rewards below 0, which are not foreseen.
    """
    evolution = network.evolution
    assert evolution is not None
    firsts = real.start.flatten().nonzero()[:, 0]
    codes, begun = evolution.codes(prepared), carry
    pool = evolution.codes(select(real.observations, firsts)) if len(firsts) else codes
    if (lowest := real.rewards.min()) < 0:
        raise ValueError(
            f"agent.imagine: imagined rollouts need rewards from 0 on, and one is {lowest:g}; take 0 or none"
        )
    worth = real.rewards.sum() / real.rewards.clamp(max=1.0).sum() if real.rewards.any() else 1.0
    steps = []
    for _ in range(num_steps):
        prepared = evolution.prepared(codes)
        decision = network(prepared, carry, start[None])
        log_probs = network.choices.log_probs(decision.logits)
        actions = network.choices.sample(log_probs, generator)
        taken = network.choices.at(log_probs, actions)
        rewarded, ends = network.choices.at(decision.feedback, actions).sigmoid().unbind(dim=1)
        over = torch.rand(ends.shape, generator=generator, device=ends.device) < ends
        steps.append((prepared, start, actions, taken, decision.value, rewarded * worth, over))
        following = draw(evolution(decision.latents, decision.features, actions, codes), generator)
        codes, carry, start = _begin(following, pool, over, generator), decision.carry, over
    last = network(evolution.prepared(codes), carry, start[None]).value
    observations, *columns = zip(*steps, strict=True)
    starts, actions, log_probs, values, rewards, terminated = map(torch.stack, columns)
    next_values = torch.cat([values[1:], last[None]])
    never = torch.zeros_like(terminated)
    return Rollout(
        merge(observations), starts, begun, actions, log_probs, values, next_values, rewards, terminated, never
    )


def _begin(codes: Codes, pool: Codes, over: Tensor, generator: Generator) -> Codes:
    """Drawn observations out of a pool where episodes are over."""
    size = len(next(iter(pool.values())))
    rows = torch.randint(size, over.shape, generator=generator, device=over.device)
    return {name: torch.where(over[:, None], pool[name][rows], of) for name, of in codes.items()}
