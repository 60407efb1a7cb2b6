"""What a trained agent makes of its modalities: J with one of them shuffled, and J of its nearest sum of scores.

Both are measured as the agent itself is, on the same unseen worlds and with the same draws of actions, so that all
three figures compare. They are of the policy that was trained, not of what could be trained: without a modality, or in
the separable class, another policy may do better.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents.learner import Learner
from agents.network import Network
from agents.objective import objective
from agents.policies import NetworkPolicy, Policy
from encoders.encoder import Prepared, select
from encoders.precision import autocast
from experiments.config import RunConfig
from experiments.evaluate import SLOTS, UNSEEN, unseen
from experiments.train import make_envs
from unienv.modality import check_modalities
from unienv.world import Action

_CROWD = 32  # worlds over which the additive projection averages


def diagnose(config: RunConfig, learner: Learner, episodes: int = 500) -> dict[str, Any]:
    """J of the learner's policy whole, with each modality shuffled, and projected onto sums of per-modality scores.

    Returns:
        whole: J, that of `experiments.evaluate` where it measures as many episodes; shuffle: J by modality, see
        `ShuffledPolicy`; emap: J, see `AdditivePolicy`, or None for a policy with memory, whose scores are of all it
        saw; episodes: how many each figure is the mean of.
    """
    envs, others = (make_envs(config.env, min(SLOTS, episodes), torch.device("cpu")) for _ in range(2))
    measure = partial(objective, envs, gamma=config.ppo.gamma, episodes=episodes, seed=unseen(config.seed))
    seed = UNSEEN + unseen(config.seed)  # of the worlds that lend observations
    policy = partial(learner.policy, envs.num_envs, seed=config.seed)  # always with the same draws
    whole = measure(policy())
    modalities = check_modalities(envs.single_observation_space, str(config.env["id"]))
    shuffled = {name: measure(ShuffledPolicy(policy(), name, others, seed)).J for name in modalities}
    others.close()
    emap = None
    if config.agent.memory == "none":
        crowd = make_envs(config.env, _CROWD, torch.device("cpu"))
        players = learner.policy(_CROWD, seed=seed)  # with other draws than the policy, which they must not follow
        emap = measure(AdditivePolicy(policy(), crowd, players, seed)).J
        crowd.close()
    envs.close()
    return {"shuffle": shuffled, "emap": emap, "whole": whole.J, "episodes": whole.episodes}


class ShuffledPolicy:
    """A policy that is shown one modality from other worlds: what J loses is what it made of that modality.

    `unienv.wrappers.ShuffleModality` for N worlds at once: the others start anew with every episode and take the same
    actions, so that each modality keeps its own course in time, and given the actions the two are independent. Where
    an other episode ends early, the next one shows at once, not its end. To permute a batch would be the same in worlds
    of one step; in longer ones the text would be another at every step, which no episode shows.

    Args:
        policy: acts.
        modality: the one that is lent.
        others: N worlds in SAME_STEP mode on numpy; reset here.
        seed: of the others.
    """

    def __init__(self, policy: Policy, modality: str, others: VectorEnv, seed: int) -> None:
        self.policy, self.modality, self.others = policy, modality, others
        self.lent, _ = others.reset(seed=seed)
        self.fresh = np.ones(others.num_envs, bool)

    def act(self, observation: dict[str, Any], start: np.ndarray) -> Action:
        """The policy's actions."""
        late = start & ~self.fresh
        if late.any():
            self.lent, _ = self.others.reset(options={"reset_mask": late})
        action = self.policy.act({**observation, self.modality: self.lent[self.modality]}, start)
        self.lent, _, terminated, truncated, _ = self.others.step(action)
        self.fresh = terminated | truncated
        return action


class AdditivePolicy:
    """A policy without what its modalities say only together: EMAP (Hessel and Lee 2020) of its logits.

    At every step the logits f are averaged over R other worlds in which the policy itself plays, step by step beside:

        f_add(o, a) = sum_m E f(o^m, o'^-m, a) - (M - 1) E f(o', a)

    where the modalities of o' are drawn independently: each is of another world. Given o' that is a sum of one score a
    modality, so f_add lies in the separable class pi ~ exp sum_m f_m(o^m, a), and is f where f lies there already. The
    others' draws do not depend on o: in worlds of one step J is bounded by that of the best late fusion. To average
    over the batch's own worlds would let o in through the pair (i, i), and break that bound by terms of 1 / N.

    Logits are known up to a function c(o) that all actions share. The projection is linear and treats actions alike, so
    that c comes out as a function that all actions share again: logits, log-probabilities and centred logits give the
    same policy. Actions with parts are projected part by part, which is the same since their logits stand side by side.

    It is the least-squares projection, estimated from R draws. J of it is no measure of how well a sum could do.

    Args:
        policy: without memory; its network is projected, its generator draws the actions.
        others: R worlds in SAME_STEP mode on numpy; reset here.
        players: the same policy in them.
        seed: of the others.
    """

    def __init__(self, policy: NetworkPolicy, others: VectorEnv, players: NetworkPolicy, seed: int) -> None:
        self.policy, self.others, self.players = policy, others, players
        self.seen, _ = others.reset(seed=seed)
        self.start = np.ones(others.num_envs, bool)

    @torch.no_grad()
    def act(self, observation: dict[str, Any], start: np.ndarray) -> Action:
        """Sampled actions; the other worlds go one step on."""
        network, generator = self.policy.network, self.policy.generator
        both = {name: np.concatenate([value, self.seen[name]]) for name, value in observation.items()}
        tensors = {name: torch.as_tensor(value, device=generator.device) for name, value in both.items()}
        with autocast(generator.device, self.policy.bfloat16):
            logits = additive_logits(network, network.encoder.prepare(tensors), len(start), self.others.num_envs)
        self.seen, _, terminated, truncated, _ = self.others.step(self.players.act(self.seen, self.start))
        self.start = terminated | truncated
        sampled = network.choices.sample(network.choices.log_probs(logits), generator)
        return self.policy.actions.join(sampled.cpu().numpy())


def additive_logits(network: Network, prepared: Prepared, num_worlds: int, num_others: int) -> Tensor:
    """The additive projection of a network's logits, see `AdditivePolicy`.

    Args:
        network: without memory.
        prepared: observations of N worlds and, behind them, of R others.
        num_worlds: N.
        num_others: R.

    Returns:
        (N, k).
    """
    carry = network.initial_carry(num_worlds * num_others)

    def logits(rows: dict[str, Tensor]) -> Tensor:
        mixed = {name: select({name: value}, rows[name])[name] for name, value in prepared.items()}
        return network(mixed, carry[: len(next(iter(rows.values())))]).logits

    drawn = torch.arange(num_others, device=carry.device)
    others = {name: num_worlds + drawn.roll(shift) for shift, name in enumerate(prepared)}  # no two of one world
    own = torch.arange(num_worlds, device=carry.device).repeat_interleave(num_others)
    projected = (1 - len(others)) * logits(others).mean(dim=0)
    for modality in others:
        rows = {name: own if name == modality else other.repeat(num_worlds) for name, other in others.items()}
        projected = projected + logits(rows).unflatten(0, (num_worlds, num_others)).mean(dim=1)
    return projected
