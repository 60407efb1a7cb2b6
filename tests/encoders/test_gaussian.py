import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from encoders.gaussian import Gaussian, GaussianHead


def some(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Gaussian(*torch.randn(2, *shape, generator=generator, dtype=torch.float64))


def test_the_divergence_is_the_closed_form():
    q = some(5, 7, 3)
    normal = Independent(Normal(q.mean, (0.5 * q.log_variance).exp()), 1)
    prior = Independent(Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean)), 1)
    assert q.divergence().shape == (5, 7)
    torch.testing.assert_close(q.divergence(), kl_divergence(normal, prior))
    assert (q.divergence() > 0).all()


def test_the_divergence_is_the_expected_log_ratio():
    q, draws = some(2), 200_000
    many = Gaussian(q.mean.expand(draws, 2), q.log_variance.expand(draws, 2))
    z = many.sample(torch.Generator().manual_seed(1))
    log_q = Normal(q.mean, (0.5 * q.log_variance).exp()).log_prob(z).sum(dim=1)
    ratio = log_q - Normal(0.0, 1.0).log_prob(z).sum(dim=1)
    assert abs(ratio.mean() - q.divergence()) < 4 * ratio.std() / draws**0.5


def test_the_divergence_is_zero_at_the_standard_normal_alone():
    q = Gaussian(torch.zeros(3, 4), torch.zeros(3, 4))
    assert torch.equal(q.divergence(), torch.zeros(3))
    assert (q._replace(mean=torch.full((3, 4), 0.1)).divergence() > 0).all()
    assert (q._replace(log_variance=torch.full((3, 4), -0.1)).divergence() > 0).all()


def test_samples_have_the_moments():
    q, draws = some(3), 200_000
    z = Gaussian(q.mean.expand(draws, 3), q.log_variance.expand(draws, 3)).sample(torch.Generator().manual_seed(2))
    spread = (0.5 * q.log_variance).exp()
    assert ((z.mean(dim=0) - q.mean).abs() < 5 * spread / draws**0.5).all()
    torch.testing.assert_close(z.var(dim=0), q.log_variance.exp(), rtol=0.02, atol=0.0)


def test_samples_follow_their_generator():
    q = some(4, 3)
    one, same, other = (q.sample(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.isclose(one, other).any()


def test_gradients_reach_mean_and_variance_through_a_sample():
    mean, log_variance = (part.requires_grad_() for part in some(6))
    z = Gaussian(mean, log_variance).sample(torch.Generator().manual_seed(3))
    z.sum().backward()
    torch.testing.assert_close(mean.grad, torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(log_variance.grad, 0.5 * (z - mean).detach())


@pytest.mark.parametrize("latent", [None, 3])
def test_a_head_projects_to_latents(latent):
    q = GaussianHead(5, latent)(torch.randn(2, 7, 5))
    assert q.mean.shape == q.log_variance.shape == (2, 7, latent or 5)


def test_neither_a_variance_nor_its_inverse_overflows():
    q = GaussianHead(4)(torch.randn(64, 4) * 1e6)
    assert q.log_variance.abs().max() == 10.0
    assert q.mean.abs().max() > 1e5
    assert q.divergence().isfinite().all()
