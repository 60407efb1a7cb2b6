"""A prior that has learned a language whose law is known: its samples, its density, what guidance makes of it."""

from functools import cache

import pytest
import torch

from encoders.text.prior import Prior
from encoders.text.sampling import sample
from tests.encoders.text import language
from tests.encoders.text.test_prior import seeded


@cache
def trained():
    """A prior that has learned the language."""
    torch.manual_seed(0)
    prior = Prior(language.LATENT, 64, num_layers=2, num_heads=4, block=language.BLOCK)
    generator = seeded(1)

    def draw():
        return language.latents(language.words(128, generator), generator)

    language.train(prior, draw, steps=1000, generator=generator)
    return prior


def transitions(tokens, places):
    """Shares (V, V) of the next word after each, at the given places."""
    counts = torch.zeros(4, 4)
    ones = torch.ones(len(tokens) * len(places))
    now, then = tokens[:, places].flatten(), tokens[:, [place + 1 for place in places]].flatten()
    counts.index_put_((now, then), ones, accumulate=True)
    return counts / counts.sum(dim=1, keepdim=True)


def distance(shares, law):
    """Total variation, over the last dimension."""
    return 0.5 * (shares - law).abs().sum(dim=-1)


def test_samples_of_a_learned_language_have_its_transitions():
    z = sample(trained(), 2000, language.LENGTH, seeded(5), steps=32)
    tokens = language.nearest(z)
    first = distance(torch.bincount(tokens[:, 0], minlength=4) / 2000, language.FIRST)
    within = transitions(tokens, [0, 2, 4])  # both words in one block of two
    across = transitions(tokens, [1, 3])  # from one block to the next
    off = (z - language.CENTRES[tokens]).std()
    assert first < 0.05
    assert distance(within, language.NEXT).max() < 0.1
    assert distance(across, language.NEXT).max() < 0.1
    assert abs(off - language.SPREAD) < 0.06


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("word", range(4))
def test_a_prefix_of_a_learned_language_goes_on_by_its_transitions(size, word):
    """At the border of a block, and inside one: that block is then half clean."""
    generator = seeded(6)
    tokens = torch.full((1000, size), 2)
    tokens[:, -1] = word
    prefix = language.latents(tokens, generator)
    z = sample(trained(), 1000, size + 1, generator, steps=32, prefix=prefix)
    shares = torch.bincount(language.nearest(z)[:, size], minlength=4) / 1000
    assert distance(shares, language.NEXT[word]) < 0.13


def test_guidance_sharpens_what_the_history_says():
    """What the history makes likelier gets likelier still, and a prior pass alone forgets the history."""
    prior, generator = trained(), seeded(8)
    prefix = language.latents(torch.ones(1000, 2, dtype=torch.int64), generator)
    shares = []
    for guidance in (0.0, 1.0, 4.0):
        z = sample(prior, 1000, 4, generator, steps=32, guidance=guidance, prefix=prefix)
        shares.append(torch.bincount(language.nearest(z)[:, 2], minlength=4) / 1000)
    assert distance(shares[0], language.FIRST) < 0.1
    assert shares[2][2:].sum() > shares[1][2:].sum() + 0.05  # 0.6 and 0.3 after this word, 0.1 and 0.1 at the start
    assert shares[2][1] < shares[1][1] - 0.05


def test_few_steps_solve_a_learned_field():
    """Which has features of time that a field in closed form has not."""
    z = language.latents(language.words(20, seeded(9)), seeded(10))
    few, more, many = (trained().log_density(z, seeded(11), steps=steps).sum(dim=1) for steps in (16, 32, 64))
    errors = [(found - many).square().mean().sqrt() for found in (few, more)]
    assert errors[0] < 0.1 and errors[1] < errors[0] / 4  # of fourth order, it would be 16


def test_a_learned_density_of_sequences():
    """Against the forward algorithm; a prior that knew nothing of order would lose what transitions tell."""
    prior, generator = trained(), seeded(7)
    z = language.latents(language.words(300, generator), generator)
    gap = language.log_density(z) - prior.log_density(z, generator, steps=16).sum(dim=1)
    assert -0.1 < gap.mean() < 0.6
