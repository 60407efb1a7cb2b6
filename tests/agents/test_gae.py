import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.gae import generalised_advantages


def by_definition(rewards, values, next_values, terminated, truncated, gamma, lam):
    """Sums of (gamma lambda)^k delta_{t+k} over the rest of each episode, one at a time."""
    steps, worlds = rewards.shape
    advantages = torch.zeros_like(rewards)
    for n in range(worlds):
        for t in range(steps):
            for k in range(t, steps):
                after = 0.0 if terminated[k, n] else next_values[k, n]
                advantages[t, n] += (gamma * lam) ** (k - t) * (rewards[k, n] + gamma * after - values[k, n])
                if terminated[k, n] or truncated[k, n]:
                    break
    return advantages


@given(st.integers(0, 2**32), st.integers(1, 7), st.floats(0, 1), st.floats(0, 1))
def test_the_recursion_is_the_sum(seed, steps, gamma, lam):
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(3, steps, 4, generator=generator, dtype=torch.float64)
    terminated, truncated = torch.rand(2, steps, 4, generator=generator) < 0.25
    given = (*numbers, terminated, truncated & ~terminated, gamma, lam)
    torch.testing.assert_close(generalised_advantages(*given), by_definition(*given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("end, expected", [("neither", 7.5), ("terminated", 1.0), ("truncated", 6.0)])
def test_only_a_truncated_end_is_worth_its_last_observation(end, expected):
    """gamma = lambda = 1/2; r = (2, 4), V = (1, 2), V' = (10, 8): delta = (2 + 5 - 1, 4 + 4 - 2) = (6, 6)."""
    over = torch.tensor([[True], [False]])
    none = torch.zeros(2, 1, dtype=torch.bool)
    advantages = generalised_advantages(
        torch.tensor([[2.0], [4.0]]),
        torch.tensor([[1.0], [2.0]]),
        torch.tensor([[10.0], [8.0]]),
        over if end == "terminated" else none,
        over if end == "truncated" else none,
        0.5,
        0.5,
    )
    # neither: 6 + 6/4; terminated: 2 - 1 + nothing; truncated: 6 + nothing of what belongs to the next episode
    assert advantages.flatten().tolist() == [expected, 6.0]


def test_lambda_one_is_the_return_and_lambda_zero_one_step():
    rewards, values = torch.rand(2, 5, 3, dtype=torch.float64)
    following = torch.cat([values[1:], torch.rand(1, 3, dtype=torch.float64)])
    none = torch.zeros(5, 3, dtype=torch.bool)
    arguments = (rewards, values, following, none, none, 0.9)
    weights = 0.9 ** torch.arange(5, dtype=torch.float64)
    whole = (weights[:, None] * rewards).sum(dim=0) + 0.9**5 * following[-1]
    torch.testing.assert_close(generalised_advantages(*arguments, 1.0)[0] + values[0], whole)
    torch.testing.assert_close(generalised_advantages(*arguments, 0.0), rewards + 0.9 * following - values)
