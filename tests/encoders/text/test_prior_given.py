import pytest
import torch

from encoders.text.prior import Prior
from encoders.text.sampling import sample

LATENT, CONTEXT = 3, 5


def make(context=CONTEXT, block=2):
    torch.manual_seed(0)
    prior = Prior(LATENT, width=16, num_layers=1, num_heads=2, block=block, context=context)
    torch.manual_seed(1)
    with torch.no_grad():  # gates and outputs are zero at the start
        for name, parameter in prior.named_parameters():
            if "listen" not in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return prior


def inputs(batch=4, length=4):
    generator = torch.Generator().manual_seed(2)
    clean, noised = torch.randn(2, batch, length, LATENT, generator=generator)
    return clean, noised, torch.rand(batch, length, generator=generator), torch.randn(batch, CONTEXT)


def test_a_prior_that_may_be_told_something_and_is_not_is_the_plain_prior():
    clean, noised, t, context = inputs()
    told = make()
    plain = make(context=0).packed(clean, noised, t)
    assert torch.equal(told.packed(clean, noised, t), plain)
    assert not torch.allclose(told.given(context).packed(clean, noised, t), plain)
    assert torch.equal(told.packed(clean, noised, t), plain)  # as if nobody had told it


def test_a_row_hears_its_own_context_only():
    clean, noised, t, context = inputs()
    prior = make()
    before = prior.given(context).packed(clean, noised, t)
    context[1] += 1.0
    after = prior.given(context).packed(clean, noised, t)
    changed = (before != after).flatten(1).any(dim=1)
    assert changed.tolist() == [False, True, False, False]


def test_the_parameters_are_the_same_ones_and_learn_through_the_context():
    clean, noised, t, context = inputs()
    prior = make()
    conditional = prior.given(context.requires_grad_())
    assert [id(p) for p in conditional.parameters()] == [id(p) for p in prior.parameters()]
    assert prior.state_dict().keys() == conditional.state_dict().keys()
    conditional.packed(clean, noised, t).square().sum().backward()
    assert prior.listen.weight.grad.abs().sum() > 0 and context.grad.abs().sum() > 0


def test_a_conditional_density_is_the_one_of_the_velocities_given_the_context():
    """Blocks of one position: the density of two rows told apart is that of each told alone."""
    clean, *_, context = inputs(batch=2, length=2)
    prior = make(block=1)
    both = prior.given(context).log_density(clean, steps=4)
    alone = torch.cat([prior.given(context[i : i + 1]).log_density(clean[i : i + 1], steps=4) for i in range(2)])
    assert torch.allclose(both, alone, atol=1e-5)
    assert not torch.allclose(both, prior.log_density(clean, steps=4), atol=1e-3)


def test_samples_follow_the_context_that_a_prior_was_taught():
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    prior = Prior(LATENT, width=16, num_layers=1, num_heads=2, block=1, context=1)
    optimiser = torch.optim.Adam(prior.parameters(), 1e-2)
    everywhere = torch.ones(64, 1, dtype=torch.bool)
    for _ in range(200):
        side = torch.randint(2, (64, 1), generator=generator) * 2.0 - 1.0
        z0 = 2.0 * side[..., None] + 0.1 * torch.randn(64, 1, LATENT, generator=generator)
        loss = prior.given(side).loss(z0, everywhere, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    side = torch.tensor([[1.0], [-1.0]]).repeat(50, 1)
    drawn = sample(prior.given(side), 100, 1, generator)
    assert (drawn.mean(dim=(1, 2)).sign() == side[:, 0]).float().mean() > 0.95


def test_a_prior_without_a_context_takes_none():
    with pytest.raises(ValueError, match=r"^expected a prior made with context=5, got one that takes no context$"):
        make(context=0).given(torch.zeros(2, 5))
