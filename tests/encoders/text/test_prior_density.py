import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from encoders.text import flow
from encoders.text.prior import Prior
from tests.encoders.text import language
from tests.encoders.text.test_prior import LATENT, inputs, make, seeded


def test_the_density_of_a_still_prior_is_normal():
    """v = 0: data are the noise, block by block, the shorter last one too."""
    prior, (z0, _, _) = Prior(LATENT, 32, 1, 2, 2), inputs(5, 2)
    normal = Normal(0.0, 1.0).log_prob(z0).sum(dim=2)
    expected = torch.stack([normal[:, 0:2].sum(dim=1), normal[:, 2:4].sum(dim=1), normal[:, 4]], dim=1)
    torch.testing.assert_close(prior.log_density(z0), expected)
    torch.testing.assert_close(prior.log_density(z0, seeded()), expected)


@pytest.mark.parametrize("length, block", [(5, 2), (4, 1)])
def test_block_densities_are_those_of_the_ode_of_each_block(length, block):
    """Against a solve of each block alone, behind a cache, with the whole of its Jacobian."""
    prior, (z0, _, _) = make(block), inputs(length, block)
    found, past = prior.log_density(z0, steps=8), None
    for b, positions in enumerate(torch.arange(length).split(block)):
        part = z0[:, positions]

        def field(z, t, positions=positions, past=past):
            return prior(z, t.expand(z.shape[:2]), positions, past=past)[0]

        alone = flow.log_density(field, part, flow.every_probe(part, block), steps=8).sum(dim=(1, 2))
        torch.testing.assert_close(found[:, b], alone, rtol=1e-4, atol=1e-4)
        with torch.no_grad():
            _, past = prior(part, torch.zeros(part.shape[:2]), positions, past=past)


def test_a_random_probe_estimates_the_exact_density():
    prior, (z0, _, _) = make(), inputs(4, 2, batch=1)
    exact = prior.log_density(z0, steps=8)
    many = prior.log_density(z0.expand(500, 4, LATENT), seeded(), steps=8)
    assert (many.std(dim=0) > 0).all()
    assert ((many.mean(dim=0) - exact[0]).abs() < 5 * many.std(dim=0) / 500**0.5 + 1e-3).all()


def test_densities_leave_no_gradients():
    prior, (z0, _, _) = make(), inputs(4, 2)
    assert not prior.log_density(z0, steps=2).requires_grad
    assert all(parameter.grad is None for parameter in prior.parameters())


def test_a_learned_density_is_that_of_a_mixture_in_the_plane():
    centres = torch.tensor([[1.0, 0.5], [-1.0, 0.5], [0.0, -1.0]])
    mixture = MixtureSameFamily(
        Categorical(torch.tensor([0.5, 0.3, 0.2])), Independent(Normal(centres, torch.tensor(0.35)), 1)
    )

    def draw(batch, generator):
        which = torch.multinomial(mixture.mixture_distribution.probs, batch, replacement=True, generator=generator)
        return (centres[which] + 0.35 * torch.randn(batch, 2, generator=generator))[:, None]

    torch.manual_seed(0)
    prior = Prior(2, 64, num_layers=2, num_heads=2, block=1)
    generator = seeded(1)
    language.train(prior, lambda: draw(256, generator), steps=600, generator=generator)
    z = draw(500, seeded(2))
    gap = mixture.log_prob(z[:, 0]) - prior.log_density(z)[:, 0]  # nats; its mean is KL(p || p_psi) >= 0
    assert -0.05 < gap.mean() < 0.1
    assert gap.abs().mean() < 0.3
