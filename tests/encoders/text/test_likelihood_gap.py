"""Bounds on the likelihood, and Eq. (6): what is lost below it, against integrals and from draws."""

import math

import pytest
import torch
from torch.distributions import Normal

from encoders.text.elbo import (
    average,
    gap,
    iwae,
    log_weights,
    perplexity,
    refine,
    split_gap,
)
from tests.encoders.text.test_elbo import CASES, Conjugate, agrees, best_of, seeded, toy_of
from tests.encoders.text.toy_language import DATA, LENGTHS, SENTENCES, mean

# --- bounds on the likelihood


def test_iwae_worked_by_hand():
    weights = torch.tensor([[1.0, 2.0], [3.0, 2.0], [4.0, 1.0], [4.0, 7.0]], dtype=torch.float64).log()
    torch.testing.assert_close(iwae(weights, 1), weights)
    torch.testing.assert_close(iwae(weights, 2).exp(), torch.tensor([[2.0, 2.0], [4.0, 4.0]], dtype=torch.float64))
    torch.testing.assert_close(iwae(weights, 4).exp(), torch.tensor([[3.0, 3.0]], dtype=torch.float64))
    torch.testing.assert_close(gap(weights, 2)[1, 0], torch.tensor(0.0, dtype=torch.float64))


@pytest.mark.parametrize("prior", ["normal", "mixture"])
def test_iwae_of_two_draws_is_its_double_integral(prior):
    toy = toy_of(prior, 1)
    log_q = toy.log_posteriors(toy.posterior(SENTENCES))
    weights, mass = toy.log_joint() - log_q, log_q.exp() * toy.cell
    both = torch.logaddexp(weights[:, :, None], weights[:, None]) - math.log(2.0)
    exact = mean((mass[:, :, None] * mass[:, None] * both).sum(dim=(1, 2)))
    found = average(iwae(log_weights(toy, SENTENCES, 8000, seeded()), 2), DATA)
    assert agrees(found, exact)
    assert found.error < 0.005


@pytest.mark.parametrize(("prior", "dim"), CASES)
def test_bounds_rise_with_k_and_stay_below_the_likelihood(prior, dim):
    toy = toy_of(prior, dim)
    weights = log_weights(toy, SENTENCES, 64 * 20, seeded())
    bounds = [iwae(weights, k) for k in (1, 8, 64)]
    means = [bound.mean(dim=0) for bound in bounds]
    assert (means[0] < means[1]).all()
    assert (means[1] < means[2]).all()
    assert (gap(weights, 8) >= 0).all()
    evidence = mean(toy.log_evidence())
    measured = [average(bound, DATA) for bound in bounds]
    assert agrees(measured[0], toy.terms()["elbo"])
    assert all(one.value < evidence + 4.5 * one.error for one in measured)
    perplexities = [perplexity(bound, LENGTHS, DATA) for bound in bounds]
    exact = math.exp(-evidence / mean(LENGTHS))
    assert all(one.value > exact - 4.5 * one.error for one in perplexities)
    assert perplexities[0].value > perplexities[1].value > perplexities[2].value


@pytest.mark.parametrize(("prior", "dim"), CASES)
def test_bounds_reach_the_likelihood_from_posteriors_that_are_wide_enough(prior, dim):
    toy = toy_of(prior, dim)
    own = toy.posterior(SENTENCES)
    wide = own._replace(log_variance=own.log_variance + 2.0)
    bounds = iwae(log_weights(toy, SENTENCES, 512 * 8, seeded(), wide), 512)
    assert average(bounds, DATA).value == pytest.approx(mean(toy.log_evidence()), abs=0.02)


def test_weights_of_the_true_posterior_are_the_likelihood():
    x = torch.tensor([[1, 4, 2], [3, 3, 0]])
    weights = log_weights(Conjugate(0.0, math.log(0.5)), x, 6, seeded())
    evidence = Normal(0.0, math.sqrt(2.0)).log_prob(x.double()).sum(dim=1)
    torch.testing.assert_close(weights, evidence.expand(6, 2))
    assert gap(weights, 6).abs().max() < 1e-12


# --- Eq. (6) from draws


def test_refining_finds_a_true_posterior():
    x = torch.tensor([[1, 4, 2], [3, 3, 0]])
    q = refine(Conjugate(0.7, 1.0), x, steps=400, generator=seeded())
    torch.testing.assert_close(q.mean, x[..., None] / 2.0, rtol=0, atol=1e-2, check_dtype=False)
    torch.testing.assert_close(q.log_variance, torch.full_like(q.mean, math.log(0.5)), rtol=0, atol=2e-2)


def test_refining_leaves_a_true_posterior_as_it_is():
    model, x = Conjugate(0.0, math.log(0.5)), torch.tensor([[1, 4, 2]])
    for part, own in zip(refine(model, x, steps=50, generator=seeded()), model.posterior(x), strict=True):
        torch.testing.assert_close(part, own, rtol=0, atol=1e-6)


def test_refining_follows_its_generator_and_touches_no_parameter():
    class Learned(Conjugate):
        weight = torch.nn.Parameter(torch.ones(()))

        def log_likelihood(self, x, z):
            return super().log_likelihood(x, self.weight * z)

    model, x = Learned(0.5, 0.0), torch.tensor([[1, 2]])
    with torch.no_grad():
        one, same, other = (refine(model, x, steps=5, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.mean, same.mean)
    assert not torch.equal(one.mean, other.mean)
    assert model.weight.grad is None
    assert not one.mean.requires_grad


@pytest.mark.parametrize("term", ["log_prior", "log_likelihood"])
def test_refining_refuses_a_model_cut_off_from_its_latents(term):
    model = Conjugate(0.5, 0.0)
    whole, weight = getattr(model, term), torch.nn.Parameter(torch.ones(()))
    for cut in (lambda *args: whole(*args).detach(), lambda *args: weight * whole(*args).detach()):
        setattr(model, term, cut)
        with pytest.raises(ValueError, match=f"{term} must have a gradient in z"):
            refine(model, torch.tensor([[1, 2]]), steps=1, generator=seeded())


@pytest.mark.parametrize(("prior", "dim"), CASES)
def test_refining_comes_close_to_the_best_gaussians(prior, dim):
    toy = toy_of(prior, dim)
    lacks = toy.gap(refine(toy, SENTENCES, generator=seeded())) - toy.gap(best_of(prior, dim))
    assert lacks.min() > -1e-9
    assert mean(lacks) < 0.01


def gap_of(model, x, k, groups, probabilities=None):
    generator = seeded()
    before = log_weights(model, x, k * groups, generator)
    after = log_weights(model, x, k * groups, generator, refine(model, x, generator=generator))
    return split_gap(before, after, k, probabilities)


def test_weights_of_two_shapes_are_told_in_one_line():
    with pytest.raises(ValueError, match=r"^log weights must be of equal shape, got \(4, 3\) and \(8, 3\)$"):
        split_gap(torch.zeros(4, 3), torch.zeros(8, 3), 4)


@pytest.mark.parametrize(("prior", "dim"), CASES)
def test_the_parts_of_the_gap_agree_with_their_integrals(prior, dim):
    toy = toy_of(prior, dim)
    family = mean(toy.gap(best_of(prior, dim)))
    total = mean(toy.gap(toy.posterior(SENTENCES)))
    found = gap_of(toy, SENTENCES, 256, 20, DATA)
    assert found.total.value == pytest.approx(found.amortisation.value + found.family.value)
    assert found.total.value < total + 4.5 * found.total.error
    assert found.amortisation.value < total - family + 4.5 * found.amortisation.error
    assert found.total.value == pytest.approx(total, abs=0.04)
    assert found.amortisation.value == pytest.approx(total - family, abs=0.03)
    assert 0 < found.family.value < family + 0.01 + 4.5 * found.family.error
    assert found.k == 256


def test_the_gap_of_a_true_posterior_is_zero():
    found = gap_of(Conjugate(0.0, math.log(0.5)), torch.tensor([[1, 2], [3, 0]]), 4, 2)
    assert [part.value for part in found[:3]] == pytest.approx([0.0] * 3, abs=1e-6)
