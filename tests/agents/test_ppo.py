import math

import pytest
import torch

from agents.network import make_network
from agents.ppo import PPOConfig, improve
from agents.rollout import Collector
from tests.agents.tiny import make_learner, small
from unienv.adapt import make_vector

NOTHING = {"entropy": 0.0, "value": 0.0, "feedback": 0.0}


def begin(worlds=16, steps=2, **shape):
    """A network and its rollout on match, in which every step ends an episode, with rewards and values of 0."""
    envs = make_vector("match", worlds)
    torch.manual_seed(0)
    network = make_network(envs.single_observation_space, envs.single_action_space, small(**shape))
    rollout, _ = Collector(envs, network, torch.Generator().manual_seed(0), 0).collect(steps)
    zeros = torch.zeros_like(rollout.rewards)
    return network, rollout._replace(rewards=zeros, values=zeros, next_values=zeros)


def run(network, rollout, times=1, **ppo):
    config = PPOConfig(**{"epochs": 1, "minibatches": 1, "lr": 3e-3, **NOTHING, **ppo})
    optimiser = torch.optim.Adam(network.parameters(), lr=config.lr)
    generator = torch.Generator().manual_seed(0)
    for _ in range(times):
        told = improve(network, optimiser, rollout, config, generator, bfloat16=False)
    return told


@torch.no_grad()
def log_probs(network, rollout):
    decision = network(rollout.observations, rollout.carry, rollout.start)
    return decision.logits.log_softmax(dim=-1).view(*rollout.rewards.shape, -1)


def taken(rollout):
    """(T, N): the only part of the actions."""
    return rollout.actions[..., 0]


def weights(network):
    return torch.cat([parameter.detach().flatten().clone() for parameter in network.parameters()])


@pytest.mark.parametrize("good", [0, 1])
def test_the_better_action_becomes_likelier(good):
    network, rollout = begin()
    before = log_probs(network, rollout)[..., good]
    run(network, rollout._replace(rewards=(taken(rollout) == good).float()))
    after = log_probs(network, rollout)[..., good]
    assert (after > before).all()


@pytest.mark.parametrize("beyond, moves", [(True, False), (False, True)])
def test_a_change_beyond_the_clip_is_not_rewarded_but_is_taken_back(beyond, moves):
    """Ratios of 2 and 1/2: along the advantage's sign there is nothing left to gain, against it there is."""
    network, rollout = begin()
    rollout = rollout._replace(rewards=taken(rollout).float())
    sign = (2.0 * taken(rollout) - 1.0) * (1.0 if beyond else -1.0)
    rollout = rollout._replace(log_probs=rollout.log_probs - sign * torch.log(torch.tensor(2.0)))
    before = weights(network)
    told = run(network, rollout, clip=0.2)
    assert told["clipped"] == 1.0
    assert bool((weights(network) != before).any()) == moves
    assert (told["grad_norm"] > 0) == moves


@pytest.mark.parametrize("clip", [0.05, 0.2])
def test_policies_stay_about_as_near_as_the_clip_says(clip):
    network, rollout = begin()
    rollout = rollout._replace(rewards=taken(rollout).float())
    run(network, rollout, times=80, lr=2e-4, clip=clip)
    change = (log_probs(network, rollout).gather(2, rollout.actions)[..., 0] - rollout.log_probs).exp()
    assert 0.5 * clip < (change - 1).abs().mean() < 2 * clip


def test_what_is_told_of_a_first_step_is_exact():
    network, rollout = begin()
    ratio = 1.1
    rollout = rollout._replace(
        rewards=taken(rollout).float(), log_probs=rollout.log_probs - torch.log(torch.tensor(ratio))
    )
    told = run(network, rollout, clip=0.2)
    p = log_probs(begin()[0], rollout)
    assert told["entropy"] == pytest.approx(float(-(p.exp() * p).sum(dim=2).mean()), rel=1e-5)
    assert told["kl"] == pytest.approx(ratio - 1 - torch.log(torch.tensor(ratio)).item(), rel=1e-3)
    assert told["clipped"] == 0.0
    assert told["policy_loss"] == pytest.approx(0.0, abs=1e-5)  # advantages have mean zero


@pytest.mark.parametrize("memory", ["none", "gru"])
def test_the_policy_that_acted_is_at_no_distance_from_itself(memory):
    """In the middle of episodes too, where memory is carried from one rollout into the next."""
    envs = make_vector("goto", 8, size=4, horizon=9)
    torch.manual_seed(0)
    network = make_network(envs.single_observation_space, envs.single_action_space, small(memory=memory))
    torch.nn.init.normal_(network.heads[0].policy.weight, std=3.0)
    collector = Collector(envs, network, torch.Generator().manual_seed(0), 0)
    for _ in range(2):
        rollout, _ = collector.collect(5)
    told = run(network, rollout)
    assert abs(told["kl"]) < 1e-6 and told["clipped"] == 0.0


@pytest.mark.parametrize("weight, sign", [(1.0, 1), (0.0, 0)])
def test_entropy_is_ascended(weight, sign):
    network, rollout = begin()
    with torch.no_grad():
        network.heads[0].policy.bias += torch.tensor([2.0, 0.0])
    before, old = log_probs(network, rollout), weights(network)
    run(network, rollout, entropy=weight, times=5)
    after = log_probs(network, rollout)
    change = -(after.exp() * after).sum(dim=2) + (before.exp() * before).sum(dim=2)
    assert (change.sign() == sign).all()
    assert torch.equal(weights(network), old) == (sign == 0)


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_values_descend_to_returns_and_truncation_adds_what_was_to_come(end):
    network, rollout = begin(steps=1)
    over = torch.ones_like(rollout.terminated)
    rollout = rollout._replace(terminated=over & False, truncated=over & False)._replace(**{end: over})
    rollout = rollout._replace(rewards=taken(rollout).float(), next_values=torch.full_like(rollout.values, 10.0))
    target = taken(rollout).float() + (0.5 * 10.0 if end == "truncated" else 0.0)
    value = network(rollout.observations, rollout.carry, rollout.start).value.detach()
    told = run(network, rollout, value=1.0, gamma=0.5)
    assert told["value_loss"] == pytest.approx(0.5 * float((value - target).square().mean()), rel=1e-5)
    told = run(network, rollout, value=1.0, gamma=0.5, lr=1e-2, times=100, max_grad_norm=10.0)
    assert told["value_loss"] < 0.5 * float(target.var()) + 0.05  # no worse than the mean of the returns
    after = network(rollout.observations, rollout.carry, rollout.start).value.detach()
    assert abs(float(after.mean() - target.mean())) < 0.3


def test_explained_variance_is_one_for_true_values_and_zero_for_none():
    network, rollout = begin()
    rewards = taken(rollout).float()
    assert run(network, rollout._replace(rewards=rewards))["explained_variance"] == pytest.approx(0.0, abs=1e-6)
    true = rollout._replace(rewards=rewards, values=rewards)
    assert run(network, true)["explained_variance"] == pytest.approx(1.0)


@pytest.mark.parametrize("mean", [0.7, 1e4])
def test_advantages_that_are_far_from_zero_keep_their_spread(mean):
    network, rollout = begin(worlds=64)
    rewards = mean + 2.0 * taken(rollout)
    told = run(network, rollout._replace(rewards=rewards))
    assert told["spread"] == pytest.approx(float(rewards.double().std(correction=0)), rel=1e-3)


def test_one_step_of_one_world_is_enough():
    network, rollout = begin(worlds=1, steps=1)
    told = run(network, rollout)
    assert told["spread"] == 0.0 and all(math.isfinite(value) for value in told.values())


def test_feedback_learns_what_an_action_earns_and_ends():
    """Action 1 is rewarded, and action 0 ends the episode: of the other action, told nothing, nothing is learned."""
    network, rollout = begin(worlds=32)
    rollout = rollout._replace(rewards=taken(rollout).float(), terminated=taken(rollout) == 0)
    told = run(network, rollout, times=100, feedback=1.0, lr=1e-2, max_grad_norm=10.0)
    assert told["feedback_loss"] < 0.02
    log_odds = network(rollout.observations, rollout.carry, rollout.start).feedback  # (B, 2, K)
    assert (log_odds[:, 0, 1] > 3).all() and (log_odds[:, 0, 0] < -3).all()
    assert (log_odds[:, 1, 0] > 3).all() and (log_odds[:, 1, 1] < -3).all()


def test_gradients_are_scaled_down_to_their_largest_norm():
    network, rollout = begin()
    rollout = rollout._replace(rewards=1e3 * taken(rollout).float())
    plain = torch.optim.SGD(network.parameters(), lr=1.0)
    before = weights(network)
    config = PPOConfig(**{**NOTHING, "epochs": 1, "minibatches": 1, "value": 1.0, "max_grad_norm": 0.25})
    told = improve(network, plain, rollout, config, torch.Generator(), bfloat16=False)
    assert told["grad_norm"] > 0.25
    assert float((weights(network) - before).norm()) == pytest.approx(0.25, rel=1e-3)


def test_minibatches_are_whole_worlds_with_their_memory():
    """With plain gradient steps, one pass in parts moves as far as the sum of the parts' gradients, to first order."""
    rate = 1e-3
    moved = []
    for parts in (1, 4):
        network, rollout = begin(memory="gru", steps=3)
        rollout = rollout._replace(rewards=taken(rollout).float())
        before = weights(network)
        plain = torch.optim.SGD(network.parameters(), lr=rate / parts)
        config = PPOConfig(**{**NOTHING, "epochs": 1, "minibatches": parts, "value": 1.0, "max_grad_norm": 1e9})
        improve(network, plain, rollout, config, torch.Generator().manual_seed(0), bfloat16=False)
        moved.append(weights(network) - before)
    torch.testing.assert_close(moved[1], moved[0], rtol=0.05, atol=0.02 * float(moved[0].abs().max()))


def test_the_cues_of_one_modality_are_learned_in_seconds():
    learner = make_learner(parameters={"kind": "text"}, worlds=32, lr=1e-2, epochs=4, total_steps=12_000)
    successes = [learner.update()["success"] for _ in range(45)]
    assert sum(successes[:3]) / 3 < 0.75
    assert sum(successes[-10:]) / 10 > 0.9
