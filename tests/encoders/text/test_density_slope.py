"""Slopes of densities of flows in z, and what needs them: posteriors refined under a learned prior, Eq. (6)."""

from functools import cache

import pytest
import torch
from torch import Tensor

from encoders.text import elbo, flow
from encoders.text.fit import fit
from encoders.text.prior import Prior
from tests.encoders.text import toy
from tests.encoders.text.test_flow import correlated, linear_field
from tests.encoders.text.test_latent import batches, law, make, seeded


@cache
def trained():
    """A small model that has begun to learn."""
    model = make()
    fit(model.vae.loss, model.vae.parameters(), batches(), steps=100, lr=3e-3, generator=seeded(1))
    fit(model.stage2_loss, model.parameters(), batches(), steps=100, lr=3e-3, generator=seeded(2))
    return model


def test_the_slope_of_a_normal_is_its_score():
    covariance = correlated(6, seed=1)
    z = torch.randn(8, 3, 2, generator=seeded(2), dtype=torch.float64).requires_grad_()
    terms = flow.log_density(linear_field(covariance), z, flow.every_probe(z.detach(), 3))
    slope = torch.autograd.grad(terms.sum(), z)[0]
    score = -torch.linalg.solve(covariance, z.detach().flatten(1).T).T
    torch.testing.assert_close(slope.flatten(1), score, rtol=0, atol=1e-3)


def test_slopes_are_followed_through_a_bent_field():
    """Its divergence depends on z, and on z0 as on a history, which is no part of the divergence."""
    z0 = torch.randn(2, 3, 2, generator=seeded(), dtype=torch.float64).requires_grad_()

    def terms(z0: Tensor) -> Tensor:
        def field(z: Tensor, t: Tensor) -> Tensor:
            return torch.sin(z * (1 + t) + z0.flip(1)) + z.roll(1, 2) ** 2 / 3

        return flow.log_density(field, z0, flow.every_probe(z0.detach(), 3), steps=4)

    assert torch.autograd.gradcheck(terms, z0)
    torch.testing.assert_close(terms(z0).detach(), terms(z0.detach()))


@pytest.fixture
def double(monkeypatch):
    """The trained model with all that it computes in single precision, whatever its weights, in double precision."""
    model = trained().double()
    model.solver_steps = 4
    with monkeypatch.context() as patch:
        patch.setattr(torch, "float32", torch.float64)
        patch.setattr(Tensor, "float", Tensor.double)
        yield model
    model.float()
    model.probe, model.solver_steps = None, 32


@pytest.mark.parametrize("estimated", [False, True])
def test_the_slope_of_a_learned_prior_is_that_of_its_differences(double, estimated):
    """Along some directions, blocks and their histories among them; with a probe too, where it stays the same."""

    def value(z: Tensor) -> Tensor:
        double.probe = seeded(3) if estimated else None
        return double.log_prior(z)

    z = double.posterior(toy.draw(3, seeded())).sample(seeded(1)).detach().requires_grad_()
    slope = torch.autograd.grad(value(z).sum(), z)[0]
    assert slope.dtype == torch.float64
    for seed in range(3):
        direction = torch.randn(z.shape, generator=seeded(seed), dtype=torch.float64)
        if seed == 0:
            direction[:, 4:] = 0.0  # the first block alone, which is the history of the second
        with torch.no_grad():
            ahead, behind = (value(z + step * direction) for step in (1e-5, -1e-5))
        torch.testing.assert_close((slope * direction).sum(dim=(1, 2)), (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-5)


def test_values_are_the_same_with_and_without_a_slope():
    model = trained()
    z = model.posterior(toy.draw(5, seeded())).sample(seeded(1)).detach()
    without = model.prior.log_density(z, seeded(2), steps=4)
    followed = model.prior.log_density(z.clone().requires_grad_(), seeded(2), steps=4)
    assert followed.requires_grad
    assert not without.requires_grad
    torch.testing.assert_close(followed.detach(), without, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert torch.equal(model.prior.log_density(z.clone().requires_grad_(), seeded(2), steps=4), without)


def test_the_gap_of_a_learned_model_is_amortisation_and_family():
    model, (x, _) = trained(), toy.language()
    model.probe, model.solver_steps = seeded(8), 4
    weights = [parameter.clone() for parameter in model.parameters()]
    chosen = torch.multinomial(law(), 12, replacement=True, generator=seeded(9))
    rows, drawn = x[chosen], seeded(7)
    before = elbo.log_weights(model, rows, 8, drawn)
    after = elbo.log_weights(model, rows, 8, drawn, elbo.refine(model, rows, 15, generator=drawn))
    gap = elbo.split_gap(before, after, k=4)
    model.probe, model.solver_steps = None, 32
    print(f"\ntotal {gap.total}, amortisation {gap.amortisation}, family {gap.family}")
    assert gap.total.value == pytest.approx(gap.amortisation.value + gap.family.value, abs=1e-6)
    assert gap.amortisation.value > -3 * gap.amortisation.error
    assert gap.family.value > -3 * gap.family.error
    assert gap.total.value > 2 * gap.total.error
    assert all(map(torch.equal, weights, model.parameters()))


def test_a_still_prior_lets_posteriors_find_the_normal():
    """Nothing said about x: the fitted posterior is the prior, N(0, I), a flow that stands still."""

    class Silent:
        prior = Prior(3, 8, 1, 2, 2)

        def posterior(self, x):
            return elbo.Gaussian(torch.ones(len(x), 3, 3), torch.full((len(x), 3, 3), -1.0))

        def log_likelihood(self, x, z):
            return 0.0 * z.sum(dim=(1, 2))

        def log_prior(self, z):
            return self.prior.log_density(z, steps=1).sum(dim=1)

    torch.manual_seed(0)
    found = elbo.refine(Silent(), torch.zeros(1, 3, dtype=torch.int64), steps=60, draws=4, generator=seeded())
    torch.testing.assert_close(found.mean, torch.zeros(1, 3, 3), rtol=0, atol=0.15)
    torch.testing.assert_close(found.log_variance, torch.zeros(1, 3, 3), rtol=0, atol=0.15)
