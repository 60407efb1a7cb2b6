"""PPO in one file after the manner of CleanRL: one loop of plain tensors, in float32, on this package's `VectorEnv`.

Schulman et al. 2017, with the details that Huang et al. 2022 ("The 37 implementation details of PPO") found to matter:
shuffled minibatches of single steps, advantages normalised in each, Adam's eps of 1e-5, gradients of bounded norm. A
truncated episode counts as ended, as there.
"""

from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor
from torch.distributions import Categorical
from torch.nn import functional

from agents.gae import generalised_advantages
from encoders.size import count_parameters
from experiments.benchmark.judge import Judge
from experiments.benchmark.peers import settings
from experiments.benchmark.peers.reader import ActorCritic, width_of
from unienv.adapt import make_vector


def train(world: str, seed: int, parameters: int, judge: Judge) -> int:
    """Train until the judge says stop; returns the number of parameters."""
    envs = make_vector(world, settings.WORLDS)
    space, actions = envs.single_observation_space, envs.single_action_space
    assert isinstance(space, spaces.Dict) and isinstance(actions, spaces.Discrete)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ActorCritic(space, int(actions.n), width_of(space, int(actions.n), parameters))
        optimiser = torch.optim.Adam(network.parameters(), lr=settings.LR, eps=1e-5)
        judge.begin()
        observation, steps = _tensors(envs.reset(seed=seed)[0]), 0
        while True:
            rollout: list[tuple[Any, ...]] = []
            for _ in range(settings.HORIZON):
                with torch.no_grad():
                    logits, value = network(observation)
                action = Categorical(logits=logits).sample()
                after, reward, terminated, truncated, info = envs.step(action.numpy())
                over, steps = terminated | truncated, steps + settings.WORLDS
                taken = functional.log_softmax(logits, dim=1).gather(1, action[:, None])[:, 0]
                rollout.append(
                    (observation, action, taken, value, torch.as_tensor(reward).float(), torch.as_tensor(over))
                )
                observation = _tensors(after)
                wins = info["final_info"]["success"][over] if over.any() else ()
                if judge.over(wins, steps):
                    return count_parameters(network)
            with torch.no_grad():
                last = network(observation)[1]
            _improve(network, optimiser, rollout, last)


def _improve(
    network: ActorCritic, optimiser: torch.optim.Optimizer, rollout: list[tuple[Any, ...]], last: Tensor
) -> None:
    observations, *columns = zip(*rollout, strict=True)
    actions, old, values, rewards, over = (torch.stack(column) for column in columns)
    following = torch.cat([values[1:], last[None]])
    advantages = generalised_advantages(
        rewards, values, following, over, torch.zeros_like(over), settings.GAMMA, settings.LAMBDA
    )
    returns = (advantages + values).flatten()
    advantages, actions, old = advantages.flatten(), actions.flatten(), old.flatten()
    seen = {key: torch.cat([observation[key] for observation in observations]) for key in observations[0]}
    for _ in range(settings.EPOCHS):
        for rows in torch.randperm(len(actions)).split(settings.MINIBATCH):
            logits, value = network({key: column[rows] for key, column in seen.items()})
            law = Categorical(logits=logits)
            ratio = (law.log_prob(actions[rows]) - old[rows]).exp()
            gain = advantages[rows]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
            surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - settings.CLIP, 1 + settings.CLIP) * gain).mean()
            error = 0.5 * (value - returns[rows]).square().mean()
            loss = settings.VALUE * error - surrogate - settings.ENTROPY * law.entropy().mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), settings.MAX_GRAD_NORM)
            optimiser.step()


def _tensors(observation: dict[str, Any]) -> dict[str, Tensor]:
    return {key: torch.as_tensor(value).clone() for key, value in observation.items()}
