import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from encoders.text import flow


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian_field(spread):
    """The velocity of N(0, spread^2), of which the path's marginal is N(0, (1 - t)^2 spread^2 + t^2)."""
    return lambda z, t: z * (t - (1 - t) * spread**2) / ((1 - t) ** 2 * spread**2 + t**2)


def linear_field(covariance):
    """The velocity of N(0, C) over whole sequences (B, L * d): (t I - (1 - t) C) ((1 - t)^2 C + t^2 I)^-1 z."""
    eye = torch.eye(len(covariance), dtype=covariance.dtype)

    def field(z, t):
        marginal = (1 - t) ** 2 * covariance + t**2 * eye
        return (z.flatten(1) @ torch.linalg.solve(marginal, t * eye - (1 - t) * covariance)).view_as(z)

    return field


@pytest.mark.parametrize("latent, location", [(16, 1.0), (64, 1.6931), (128, 2.0397), (4, 0.3069)])
def test_wider_latents_are_trained_with_more_noise(latent, location):
    assert flow.shift(latent) == pytest.approx(location, abs=1e-4)


def test_times_are_logit_normal():
    times = flow.draw_times((200, 500), 0.7, seeded())
    logits = times.logit().flatten()
    assert ((times > 0) & (times < 1)).all()
    assert logits.mean() == pytest.approx(0.7, abs=0.02)
    assert logits.std() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(times, flow.draw_times((200, 500), 0.7, seeded()))


def test_the_path_leads_from_data_to_noise():
    z0, z1 = torch.randn(2, 3, 5, 4, generator=seeded())
    t = torch.tensor([[0.0, 1.0, 0.25, 0.5, 0.75]]).expand(3, 5)
    z = flow.interpolate(z0, z1, t)
    torch.testing.assert_close(z[:, 0], z0[:, 0])
    torch.testing.assert_close(z[:, 1], z1[:, 1])
    torch.testing.assert_close(z[:, 2], 0.75 * z0[:, 2] + 0.25 * z1[:, 2])


@pytest.mark.parametrize("spread, error", [(1.0, 1e-5), (0.5, 1e-5), (0.1, 1e-4), (0.05, 5e-4), (2.0, 1e-5)])
def test_density_of_a_gaussian(spread, error):
    z = spread * torch.randn(64, 3, 2, generator=seeded(), dtype=torch.float64)
    terms = flow.log_density(gaussian_field(spread), z, flow.every_probe(z, 1))
    torch.testing.assert_close(terms.sum(dim=2), Normal(0.0, spread).log_prob(z).sum(dim=2), rtol=0, atol=error)


@pytest.mark.parametrize("spread, error", [(1.0, 1e-4), (0.1, 5e-4)])
def test_single_precision_will_do(spread, error):
    z = spread * torch.randn(64, 3, 2, generator=seeded())
    terms = flow.log_density(gaussian_field(spread), z, flow.every_probe(z, 1))
    torch.testing.assert_close(terms.sum(dim=2), Normal(0.0, spread).log_prob(z).sum(dim=2), rtol=0, atol=error)


def test_the_solver_is_of_fourth_order():
    z = 0.2 * torch.randn(64, 1, 2, generator=seeded(), dtype=torch.float64)
    exact = Normal(0.0, 0.2).log_prob(z)
    errors = [
        (flow.log_density(gaussian_field(0.2), z, flow.every_probe(z, 1), steps) - exact).abs().max()
        for steps in (8, 16, 32)
    ]
    assert errors[0] / errors[1] > 12
    assert errors[1] / errors[2] > 12


def correlated(size, seed):
    root = torch.randn(size, size, generator=seeded(seed), dtype=torch.float64)
    return root @ root.T / size + 0.2 * torch.eye(size, dtype=torch.float64)


def test_density_of_coordinates_that_meet():
    covariance = correlated(6, seed=1)
    normal = MultivariateNormal(torch.zeros(6, dtype=torch.float64), covariance)
    z = torch.randn(32, 6, generator=seeded(2), dtype=torch.float64) @ torch.linalg.cholesky(covariance).T
    z = z.view(32, 3, 2)
    terms = flow.log_density(linear_field(covariance), z, flow.every_probe(z, 3))
    torch.testing.assert_close(terms.sum(dim=(1, 2)), normal.log_prob(z.flatten(1)), rtol=0, atol=1e-4)


def test_blocks_that_do_not_meet_are_told_apart_by_one_solve():
    """Two blocks of two positions, each correlated within: a probe reaches into both at once."""
    covariances = correlated(4, seed=3), correlated(4, seed=4)
    z = torch.randn(32, 4, 2, generator=seeded(5), dtype=torch.float64)
    probes = flow.every_probe(z, block=2)
    assert probes.shape == (4, 32, 4, 2)
    terms = flow.log_density(linear_field(torch.block_diag(*covariances)), z, probes, steps=64)
    for block, covariance in enumerate(covariances):
        part = slice(2 * block, 2 * block + 2)
        exact = MultivariateNormal(torch.zeros(4, dtype=torch.float64), covariance).log_prob(z[:, part].flatten(1))
        torch.testing.assert_close(terms[:, part].sum(dim=(1, 2)), exact, rtol=0, atol=1e-3)


def test_a_random_probe_is_unbiased():
    covariance = correlated(6, seed=1)
    normal = MultivariateNormal(torch.zeros(6, dtype=torch.float64), covariance)
    one = torch.randn(1, 3, 2, generator=seeded(2), dtype=torch.float64)
    z = one.expand(4000, 3, 2)
    found = flow.log_density(linear_field(covariance), z, flow.random_probe(z, seeded(3)), steps=16).sum(dim=(1, 2))
    assert found.std() > 0.1  # it is an estimate ...
    assert abs(found.mean() - normal.log_prob(one.flatten())) < 4 * found.std() / math.sqrt(4000)  # ... of this


def test_probes_are_signs():
    probe = flow.random_probe(torch.zeros(50, 4, 2), seeded())
    assert probe.shape == (1, 50, 4, 2)
    assert torch.equal(probe.abs(), torch.ones_like(probe))
    assert abs(probe.mean()) < 0.2


@pytest.mark.parametrize("length, block", [(1, 1), (4, 2), (5, 2), (3, 8)])
def test_every_coordinate_is_probed_once(length, block):
    z = torch.zeros(2, length, 3)
    probes = flow.every_probe(z, block)
    assert probes.shape == (min(block, length) * 3, *z.shape)
    assert torch.equal(probes.sum(dim=0), torch.ones_like(z))
    for probe in probes[:, 0]:  # none has two coordinates of one block
        assert all(int(part.sum()) <= 1 for part in probe.split(block))


def test_densities_need_no_gradient_and_leave_none():
    z = torch.randn(4, 1, 2, generator=seeded()).requires_grad_()
    with torch.no_grad():
        terms = flow.log_density(gaussian_field(1.0), z, flow.every_probe(z, 1), steps=4)
    assert not terms.requires_grad
    assert z.grad is None
