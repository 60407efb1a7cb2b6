import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy.stats import binomtest, chisquare

from agents.network import make_network
from agents.policies import NetworkPolicy, OraclePolicy, RandomPolicy
from tests.agents.tiny import small
from unienv.actions import Actions
from unienv.adapt import make_vector

STARTS = np.ones(4, bool)


@pytest.fixture(scope="module")
def envs():
    return make_vector("match", 4)


def network_for(envs, **shape):
    torch.manual_seed(0)
    return make_network(envs.single_observation_space, envs.single_action_space, small(**shape))


def policy_for(network, worlds=4, seed=0):
    return NetworkPolicy(network, worlds, torch.Generator().manual_seed(seed), False, Actions(spaces.Discrete(2)))


def test_a_random_policy_is_uniform():
    actions = RandomPolicy(Actions(spaces.Discrete(5)), np.random.default_rng(0)).act({}, np.zeros(20_000, bool))
    assert actions.shape == (20_000,)
    assert chisquare(np.bincount(actions, minlength=5)).pvalue > 1e-3


def test_the_oracle_never_fails_at_match():
    envs = make_vector("match", 64)
    observation, _ = envs.reset(seed=0)
    policy = OraclePolicy(envs)
    for _ in range(3):
        observation, reward, *_ = envs.step(policy.act(observation, np.ones(64, bool)))
        assert (reward == 1.0).all()


def test_actions_are_drawn_from_the_probabilities(envs):
    network = network_for(envs)
    with torch.no_grad():
        network.heads[0].policy.bias += torch.tensor([0.0, 1.0])
    observation, _ = envs.reset(seed=0)
    policy = policy_for(network, worlds=8000)
    actions = policy.act({key: value.repeat(2000, axis=0) for key, value in observation.items()}, np.ones(8000, bool))
    assert policy.probabilities.shape == (8000, 2)
    assert np.allclose(policy.probabilities.sum(axis=1), 1.0)
    assert (abs(policy.probabilities[:, 1] - 1 / (1 + np.exp(-1))) < 0.05).all()
    for yes, probability in zip(actions.reshape(4, 2000), policy.probabilities[::2000, 1].tolist(), strict=True):
        assert binomtest(int(yes.sum()), 2000, probability).pvalue > 1e-4


def test_actions_follow_the_generator(envs):
    network, (observation, _) = network_for(envs), envs.reset(seed=0)
    one, same, other = (policy_for(network, seed=seed) for seed in (1, 1, 2))
    draws = [[p.act(observation, STARTS).tolist() for _ in range(8)] for p in (one, same, other)]
    assert draws[0] == draws[1] != draws[2]


def test_memory_lasts_until_the_start_of_an_episode(envs):
    network, (observation, _) = network_for(envs, memory="gru"), envs.reset(seed=0)
    policy = policy_for(network)
    policy.act(observation, STARTS)
    first = policy.probabilities
    policy.act(observation, np.array([True, False, True, False]))
    again = policy.probabilities
    assert np.array_equal(again[[0, 2]], first[[0, 2]])
    assert (again[[1, 3]] != first[[1, 3]]).all()
    policy.act(observation, STARTS)
    assert np.array_equal(policy.probabilities, first)
