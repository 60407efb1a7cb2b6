import math
from functools import cache

import pytest
import torch
from torch.distributions import Independent, Normal

from encoders.gaussian import Gaussian
from encoders.text.elbo import (
    average,
    cross_log_density,
    iwae,
    log_density,
    perplexity,
    split,
)
from tests.encoders.text.toy_language import DATA, SENTENCES, ToyLanguage, mean, sample

CASES = [("normal", 1), ("mixture", 1), ("normal", 2), ("mixture", 2)]
ENTROPY = -mean(DATA.log())


@cache
def toy_of(prior, dim):
    return ToyLanguage(prior, dim)


@cache
def best_of(prior, dim):
    return toy_of(prior, dim).best()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def agrees(measured, exact, errors=4.5):
    return abs(measured.value - exact) < errors * measured.error


class Conjugate:
    """x ~ N(z, I) and z ~ N(0, I), token by token: p(z|x) is N(x / 2, 1 / 2) and p(x) is N(0, 2)."""

    def __init__(self, mean, log_variance):
        self.own = mean, log_variance

    def posterior(self, x):
        mean, log_variance = (torch.full((*x.shape, 1), part, dtype=torch.float64) for part in self.own)
        return Gaussian(x[..., None] / 2.0 + mean, log_variance)

    def log_likelihood(self, x, z):
        return Normal(0.0, 1.0).log_prob(x - z[..., 0]).sum(dim=1)

    def log_prior(self, z):
        return Normal(0.0, 1.0).log_prob(z).flatten(1).sum(dim=1)


class Apart:
    """Three rows, the posteriors of which are equal (`distance` 0) or do not overlap; nothing else is of interest."""

    def __init__(self, distance):
        self.distance = distance

    def posterior(self, x):
        return Gaussian(self.distance * x[..., None].double(), torch.zeros(*x.shape, 1, dtype=torch.float64))

    def log_likelihood(self, x, z):
        return torch.zeros(len(x), dtype=torch.float64)

    log_prior = Conjugate.log_prior


# --- the integrals of the toy


@pytest.mark.parametrize(("prior", "dim"), CASES)
def test_a_finer_grid_changes_nothing(prior, dim):
    coarse, fine = toy_of(prior, dim), ToyLanguage(prior, dim, step=0.05, reach=9.0)
    assert coarse.terms() == pytest.approx(fine.terms(), abs=1e-9)
    torch.testing.assert_close(coarse.log_evidence(), fine.log_evidence(), rtol=0, atol=1e-9)
    own = coarse.posterior(SENTENCES)
    torch.testing.assert_close(coarse.gap(own), fine.gap(own), rtol=0, atol=1e-9)
    assert coarse.log_evidence().exp().sum().item() == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(("prior", "dim"), CASES)
def test_eq_5_holds_exactly(prior, dim):
    terms = toy_of(prior, dim).terms()
    assert terms["elbo"] == pytest.approx(terms["realisation"] - terms["information"] - terms["matching"], abs=1e-9)
    assert terms["rate"] == pytest.approx(terms["information"] + terms["matching"], abs=1e-9)
    assert max(0.1, ENTROPY + terms["realisation"]) < terms["information"] < ENTROPY
    assert terms["matching"] > 0.1


@pytest.mark.parametrize("dim", [1, 2])
def test_the_rate_to_a_normal_prior_is_the_closed_form(dim):
    toy = toy_of("normal", dim)
    assert toy.terms()["rate"] == pytest.approx(mean(toy.posterior(SENTENCES).divergence().sum(dim=1)), abs=1e-9)


@pytest.mark.parametrize(("prior", "dim"), CASES)
def test_eq_6_holds_exactly(prior, dim):
    toy = toy_of(prior, dim)
    own, evidence = toy.posterior(SENTENCES), toy.log_evidence()
    torch.testing.assert_close(evidence, toy.elbo(own) + toy.gap(own), rtol=0, atol=1e-9)
    divergence = mean(DATA.log() - evidence)
    assert divergence > 0.01
    assert -mean(toy.elbo(own)) == pytest.approx(ENTROPY + divergence + mean(toy.gap(own)), abs=1e-9)


@pytest.mark.parametrize(("prior", "dim"), CASES)
def test_the_best_gaussians_leave_a_gap_of_their_family(prior, dim):
    toy, best = toy_of(prior, dim), best_of(prior, dim)
    parts = [part.clone().requires_grad_() for part in best]
    slopes = torch.autograd.grad(toy.elbo(Gaussian(*parts)).sum(), parts)
    assert max(slope.abs().max() for slope in slopes) < 1e-5
    amortisation = toy.elbo(best) - toy.elbo(toy.posterior(SENTENCES))
    assert (amortisation > 0).all()
    assert (toy.gap(best) > 0.001).all()
    torch.testing.assert_close(toy.gap(toy.posterior(SENTENCES)), amortisation + toy.gap(best), rtol=0, atol=1e-9)


# --- densities and averages


def test_log_densities_are_those_of_torch():
    q = Gaussian(*torch.randn(2, 4, 3, 2, generator=seeded(), dtype=torch.float64))
    z = torch.randn(4, 3, 2, generator=seeded(1), dtype=torch.float64)
    normal = Independent(Normal(q.mean, (0.5 * q.log_variance).exp()), 2)
    torch.testing.assert_close(log_density(q, z), normal.log_prob(z))
    torch.testing.assert_close(cross_log_density(q, z), normal.log_prob(z[:, None]))


def test_narrow_posteriors_far_from_zero_lose_nothing_to_rounding():
    means = 100.0 + torch.randn(5, 32, 16, generator=seeded())
    q = Gaussian(means, torch.full_like(means, -10.0))
    z = q.sample(seeded(1))
    torch.testing.assert_close(cross_log_density(q, z).diagonal(), log_density(q, z), rtol=0, atol=1e-6)


def test_an_average_of_rows_worked_by_hand():
    values = torch.tensor([[1.0, 2.0, 6.0], [3.0, 2.0, 4.0]], dtype=torch.float64)  # means of rows 2, 2, 5
    assert average(values) == pytest.approx((3.0, 1.0, 3))


def test_an_average_of_a_language_worked_by_hand():
    values = torch.tensor([[1.0, 0.0], [3.0, 4.0]], dtype=torch.float64)  # variances of means 2 / 2, 8 / 2
    assert average(values, torch.tensor([0.75, 0.25])) == pytest.approx((2.0, math.sqrt(0.5625 + 0.25), 4))


def test_a_perplexity_worked_by_hand():
    values = -math.log(2.0) * torch.tensor([[3.0, 9.0]], dtype=torch.float64)
    assert perplexity(values, torch.tensor([1, 3])) == pytest.approx((8.0, 0.0, 2), abs=1e-6)
    assert perplexity(values, torch.tensor([2, 2])).value == pytest.approx(8.0)
    even = perplexity(values.repeat(2, 1), torch.tensor([1, 1]), torch.tensor([1.0, 0.0]))
    assert even == pytest.approx((8.0, 0.0, 4))


def test_the_error_of_a_perplexity_is_its_spread():
    found = []
    for seed in range(300):
        lengths = torch.randint(1, 9, (50,), generator=seeded(seed))
        noise = torch.randn(1, 50, generator=seeded(1000 + seed), dtype=torch.float64)
        found.append(perplexity(-1.5 * lengths + 0.5 * noise, lengths))
    values, errors = torch.tensor([one.value for one in found]), torch.tensor([one.error for one in found])
    assert values.std() == pytest.approx(errors.mean().item(), rel=0.15)


# --- Eq. (5) from draws


@pytest.mark.parametrize(("prior", "dim"), CASES)
def test_the_split_of_a_whole_language_agrees_with_its_integrals(prior, dim):
    toy = toy_of(prior, dim)
    found, exact = split(toy, SENTENCES, 2000, seeded(), DATA), toy.terms()
    assert found.information.lower == found.information.upper
    for name in ("elbo", "realisation", "rate"):
        assert agrees(getattr(found, name), exact[name])
    for name in ("information", "matching"):
        assert agrees(getattr(found, name).lower, exact[name])
        assert getattr(found, name).lower.error < 0.02


@pytest.mark.parametrize("language", [True, False])
def test_estimates_of_a_split_add_up(language):
    law, x = (DATA, SENTENCES) if language else (None, sample(40, seeded()))
    found = split(toy_of("mixture", 2), x, 3, seeded(), law)
    assert found.elbo.value == pytest.approx(found.realisation.value - found.rate.value)
    for information, matching in (found.information, found.matching[::-1]), (found.information[::-1], found.matching):
        assert information[0].value + matching[0].value == pytest.approx(found.rate.value)
    assert found.information.lower.value <= found.information.upper.value


def test_a_sample_bounds_information_and_matching_from_both_sides():
    toy, repeats, generator = toy_of("normal", 2), 300, seeded()
    exact = toy.terms()
    found = [split(toy, sample(6, generator), 1, generator) for _ in range(repeats)]
    for name in ("information", "matching"):
        lower, upper = (torch.tensor([getattr(one, name)[side].value for one in found]) for side in (0, 1))
        assert lower.mean() + 4.5 * lower.std() / repeats**0.5 < exact[name]
        assert upper.mean() - 4.5 * upper.std() / repeats**0.5 > exact[name]


def test_errors_of_a_sample_are_the_spread_of_its_estimates():
    toy, generator = toy_of("mixture", 1), seeded()
    exact = toy.terms()
    found = [split(toy, sample(200, generator), 2, generator) for _ in range(200)]
    for name in ("elbo", "realisation", "rate", "information", "matching"):
        parts = [getattr(one, name) for one in found]
        parts = [part.lower if name in ("information", "matching") else part for part in parts]
        values, errors = (torch.tensor([getattr(part, field) for part in parts]) for field in ("value", "error"))
        assert values.std() == pytest.approx(errors.mean().item(), rel=0.2)
        assert values.mean() == pytest.approx(exact[name], abs=0.02)


def test_posteriors_that_do_not_overlap_tell_all_rows_apart():
    x, law = torch.tensor([[1], [2], [3]]), torch.tensor([0.5, 0.25, 0.25])
    found = split(Apart(1000.0), x, 2, seeded(), law)
    assert found.information.lower.value == pytest.approx(1.5 * math.log(2.0))
    bounds = split(Apart(1000.0), x, 2, seeded()).information
    assert bounds.lower == pytest.approx((math.log(3.0), 0.0, 3))  # the cap
    assert bounds.upper.value > 1e5


def test_equal_posteriors_tell_nothing():
    x = torch.tensor([[1], [2], [3]])
    for law in (None, torch.tensor([0.5, 0.25, 0.25])):
        found = split(Apart(0.0), x, 2, seeded(), law)
        assert [bound.value for bound in (*found.information, *found.matching)] == pytest.approx([0.0] * 4, abs=1e-12)


# --- mistakes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: iwae(torch.zeros(6, 2), 4), "k must divide the number of draws, 6, got k=4"),
        (lambda: average(torch.zeros(3, 1)), "needs at least 2 of them, got 1"),
        (lambda: average(torch.zeros(1, 2), torch.tensor([0.5, 0.5])), "needs at least 2 of them, got 1"),
        (lambda: average(torch.zeros(2, 2), torch.tensor([0.5, 0.6])), r"sum to 1, got \(2,\) that sum to 1.1"),
        (lambda: average(torch.zeros(2, 3), torch.tensor([0.5, 0.5])), r"\(3,\) like the rows"),
        (lambda: perplexity(torch.zeros(2, 2), torch.tensor([1, 0])), r"lengths must be >= 1, .* got \[1, 0\]"),
        (lambda: split(toy_of("normal", 1), SENTENCES[:1], 4), "needs at least 2 of them, got 1"),
    ],
)
def test_mistakes_are_answered_in_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()
