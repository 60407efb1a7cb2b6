import numpy as np
import pytest
from gymnasium import spaces
from scipy.stats import binomtest, chisquare

from agents.objective import objective
from agents.policies import OraclePolicy, RandomPolicy
from tests.agents.tiny import STAIRS, Coins
from unienv.actions import Actions
from unienv.adapt import make_vector


class Fixed:
    """Always one action; remembers which observations were said to start an episode."""

    def __init__(self, action):
        self.action, self.starts = action, []

    def act(self, observation, start):
        self.starts.append((start.copy(), np.asarray(observation["text"]).reshape(len(start), -1)[:, 0].copy()))
        return np.full(len(start), self.action)


def toss(p, gamma, episodes, seed):
    return objective(Coins(p), Fixed(0), gamma, episodes, seed)


@pytest.mark.parametrize("p, gamma", [(0.5, 0.9), (0.2, 0.97), (0.8, 0.0), (0.3, 1.0)])
def test_the_interval_covers_the_closed_form_as_often_as_it_says(p, gamma):
    """J = sum_t gamma^(t-1) (1-p)^(t-1) p, and success = p; the skew of few discounted returns is what t allows."""
    truth = p / (1 - gamma * (1 - p))
    found = [toss([p] * 20, gamma, 200, seed) for seed in range(150)]
    success = sum(one.success_low <= p <= one.success_high for one in found)
    assert binomtest(success, 150, 0.95).pvalue > 1e-3
    if gamma < 1.0:  # where every return is 1, and so is J
        covered = sum(one.J_low <= truth <= one.J_high for one in found)
        assert binomtest(covered, 150, 0.95).pvalue > 1e-3
    error = np.mean([one.J for one in found]) - truth
    assert abs(error) <= 4 * np.std([one.J for one in found]) / 150**0.5 + 1e-12


def test_lengths_and_returns_are_the_geometric_laws():
    found = toss([0.25] * 50, 1.0, 20_000, seed=0)
    assert found.J == found.J_low == found.J_high == 1.0
    assert abs(found.length - 4.0) < 4 * 12**0.5 / 20_000**0.5  # variance (1-p)/p^2
    assert (found.episodes, found.gamma) == (20_000, 1.0)


def test_slots_contribute_equally_however_long_their_episodes_are():
    """Half the slots end at once and succeed, half take 20 steps on average: counting first ends would say 0.95."""
    found = toss([1.0, 0.05] * 25, 1.0, 2000, seed=0)
    assert abs(found.success - (1 + 0.05) / 2) < 0.02
    assert abs(found.length - (1 + 20) / 2) < 1.5


@pytest.mark.parametrize("slots, asked, episodes", [(4, 10, 12), (7, 7, 7), (3, 2, 3), (1, 5, 5)])
def test_episodes_are_rounded_up_to_whole_slots(slots, asked, episodes):
    assert toss([0.5] * slots, 0.9, asked, seed=0).episodes == episodes


def test_chance_and_oracle_on_match():
    envs = make_vector("match", 32)
    chance = objective(envs, RandomPolicy(Actions(spaces.Discrete(2)), np.random.default_rng(0)), 0.97, 2000, seed=0)
    assert chance.success_low < 0.5 < chance.success_high
    assert chance.success == chance.J and chance.length == 1.0
    assert chance.success_high - chance.success_low == pytest.approx(2 * 1.96 * (0.25 / 2016) ** 0.5, rel=0.02)
    best = objective(envs, OraclePolicy(envs), 0.97, 100, seed=0)
    assert (best.J, best.J_low, best.J_high, best.success, best.success_high) == (1.0, 1.0, 1.0, 1.0, 1.0)
    assert 0.95 < best.success_low < 1.0


def test_adapted_environments_are_measured_too():
    policy = Fixed(0)
    found = objective(make_vector(STAIRS, 3), policy, 0.5, 6, seed=0)
    assert (found.J, found.success, found.length, found.episodes) == (0.0, 0.0, 3.0, 6)
    found = objective(make_vector(STAIRS, 3), Fixed(1), 0.5, 6, seed=0)
    assert (found.J, found.success, found.length) == (1.0, 1.0, 1.0)
    for start, word in policy.starts:
        assert (start == (word == 0)).all()


def test_the_discount_counts_from_the_first_step():
    """Rewards 0, 0, 0 and the like would not tell: here one reward of 1 comes at step t, worth gamma^(t-1)."""
    found = toss([0.5] * 10, 0.0, 40_000, seed=1)
    assert abs(found.J - 0.5) < 0.01


def test_an_episode_that_does_not_end_is_told(monkeypatch):
    monkeypatch.setattr("agents.objective.LONGEST", 300)
    with pytest.raises(ValueError, match=r"has not ended after 300 steps; give the environment a limit, such as env\."):
        toss([0.5, 0.0], 0.9, 4, seed=0)


def test_a_seed_is_one_set_of_worlds():
    envs = make_vector("match", 8)
    one, same, other = (
        objective(envs, RandomPolicy(Actions(spaces.Discrete(2)), np.random.default_rng(0)), 0.9, 400, seed)
        for seed in (3, 3, 4)
    )
    assert one == same != other


@pytest.mark.parametrize("gamma, episodes", [(1.1, 10), (-0.1, 10), (0.5, 1), (float("nan"), 10)])
def test_mistakes_are_told(gamma, episodes):
    with pytest.raises(ValueError, match="expected gamma in"):
        toss([0.5], gamma, episodes, seed=0)


def test_coins_are_fair():
    """Of the helper that the tests above rest on."""
    envs = Coins([0.5] * 4000)
    envs.reset(seed=0)
    heads = envs.step(None)[2]
    assert chisquare(np.bincount(heads.astype(int), minlength=2)).pvalue > 1e-3
