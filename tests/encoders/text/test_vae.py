"""The text VAE: who depends on whom, what padding is worth, and texts that come back from noisy latents."""

import itertools

import pytest
import torch

from encoders.precision import autocast
from encoders.text.vae import TextVAE, VAEConfig
from tests.encoders.text import toy

SMALL = {"width": 32, "layers": 2, "heads": 4, "latent": 8}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def trained():
    model = TextVAE(toy.SIZE, VAEConfig(width=64))
    toy.train(model, 200)
    return model


@pytest.mark.parametrize("patch", [1, 2])
def test_a_token_changes_no_latent_before_it(patch):
    model = TextVAE(toy.SIZE, VAEConfig(**SMALL, patch=patch))
    x = torch.randint(1, toy.SIZE - 3, (4, 8), generator=seeded())
    for place in range(8):
        changed = x.clone()
        changed[:, place] = x[:, place] % (toy.SIZE - 4) + 1
        before, after = model.posterior(x), model.posterior(changed)
        latent = place // patch
        assert torch.equal(before.mean[:, :latent], after.mean[:, :latent])
        assert torch.equal(before.log_variance[:, :latent], after.log_variance[:, :latent])
        assert (before.mean[:, latent:] != after.mean[:, latent:]).any(dim=2).all()


@pytest.mark.parametrize("patch", [1, 2])
def test_a_latent_changes_no_token_before_it(patch):
    model = TextVAE(toy.SIZE, VAEConfig(**SMALL, patch=patch))
    z = torch.randn(2, 8 // patch, 8, generator=seeded())
    changed = z.clone()
    changed[:, 2] += 1.0
    before, after = model.decode(z), model.decode(changed)
    assert before.shape == (2, 8, toy.SIZE)
    assert torch.equal(before[:, : 2 * patch], after[:, : 2 * patch])
    assert (before[:, 2 * patch :] != after[:, 2 * patch :]).any(dim=2).all()


def test_means_are_normalised_and_padding_is_standard_normal():
    model, (x, _) = TextVAE(toy.SIZE, VAEConfig(**SMALL, patch=2)), toy.language()
    q, modelled = model.posterior(x), model.modelled(x)
    assert modelled.tolist() == [[bool(row[2 * place]) for place in range(4)] for row in x]
    torch.testing.assert_close(q.mean[modelled].mean(dim=1), torch.zeros(int(modelled.sum())), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        q.mean[modelled].square().mean(dim=1), torch.ones(int(modelled.sum())), atol=2e-3, rtol=0
    )
    assert (q.mean[~modelled] == 0).all() and (q.log_variance[~modelled] == 0).all()
    assert (q.divergence()[~modelled] == 0).all()


def test_more_padding_is_worth_nothing():
    model, (x, _) = TextVAE(toy.SIZE, VAEConfig(**SMALL)), toy.language()
    longer = torch.nn.functional.pad(x, (0, 4))
    short, long = model.posterior(x), model.posterior(longer)
    torch.testing.assert_close(long.mean[:, :8], short.mean)
    z = long.sample(seeded())
    torch.testing.assert_close(model.log_likelihood(longer, z), model.log_likelihood(x, z[:, :8]))
    torch.testing.assert_close(long.divergence().sum(), short.divergence().sum())


def test_likelihoods_of_all_texts_add_up_to_one():
    model = TextVAE(7, VAEConfig(**SMALL))  # ids 1..3 and the end, 5; 4 and 6 are never said
    z = torch.randn(1, 3, 8, generator=seeded())
    rows = torch.tensor([row for row in itertools.product((1, 2, 3, 5), repeat=3)])
    probabilities = model.log_likelihood(rows, z.expand(len(rows), -1, -1)).exp()
    torch.testing.assert_close(probabilities.sum(), torch.tensor(1.0))


def test_the_loss_is_the_sum_of_its_terms():
    model, x = TextVAE(toy.SIZE, VAEConfig(**SMALL, kl=0.1, mask_weight=0.3)), toy.draw(16, seeded())
    terms = model.loss(x, seeded())
    expected = terms["distortion"] + 0.1 * terms["rate"] + 0.3 * terms["recovery"]
    torch.testing.assert_close(terms["loss"], expected)
    assert all(torch.equal(value, model.loss(x, seeded())[name]) for name, value in terms.items())
    tokens = (x != 0).sum()
    torch.testing.assert_close(terms["rate"], model.posterior(x).divergence().sum() / tokens)


def test_nothing_hidden_is_nothing_to_recover():
    model, x = TextVAE(toy.SIZE, VAEConfig(**SMALL, mask_ratio=0.0)), toy.draw(16, seeded())
    assert model.loss(x, seeded())["recovery"] == 0


def test_losses_are_float32_under_autocast():
    model, x = TextVAE(toy.SIZE, VAEConfig(**SMALL)), toy.draw(16, seeded())
    with autocast(torch.device("cpu"), enabled=True):
        q, terms = model.posterior(x), model.loss(x, seeded())
    assert {q.mean.dtype, q.log_variance.dtype, *(term.dtype for term in terms.values())} == {torch.float32}


def accuracy(model: TextVAE, t: float, num: int = 500) -> float:
    """Share of tokens said again from z_t = (1 - t) z + t noise, z ~ q(z | x)."""
    x, generator = toy.draw(num, seeded(1)), seeded(2)
    z = model.posterior(x).sample(generator)
    noised = (1 - t) * z + t * torch.randn(z.shape, generator=generator)
    return float((model.decode(noised).argmax(dim=2) == x)[x != 0].float().mean())


@torch.no_grad()
def test_texts_come_back_from_latents_and_fade_with_noise(trained):
    accuracies = [accuracy(trained, t / 10) for t in range(11)]
    assert accuracies[0] > 0.995
    assert accuracies[2] > 0.98  # around each latent there is room that says the same
    assert all(after <= before + 0.01 for before, after in itertools.pairwise(accuracies))
    assert max(before - after for before, after in itertools.pairwise(accuracies)) < 0.3  # no cliff
    assert accuracies[10] < 0.4


@torch.no_grad()
def test_samples_of_latents_are_the_texts(trained):
    x = toy.draw(500, seeded(1))
    z = trained.posterior(x).sample(seeded(2))
    assert (trained.sample(z, temperature=0.0) == x).all(dim=1).float().mean() > 0.98
    assert (trained.sample(z, generator=seeded(3)) == x).all(dim=1).float().mean() > 0.9


@torch.no_grad()
def test_hidden_tokens_are_recovered_as_well_as_what_is_left_of_them_allows(trained):
    """Latents of hidden tokens have seen their left alone, so recovery cannot beat p(x_i | x_<i) by much."""
    terms = trained.loss(toy.draw(2000, seeded(1)), seeded(2))
    assert toy.entropy() * 0.9 < terms["recovery"] < toy.entropy() + 0.35
    assert terms["distortion"] < 0.05


def test_a_mistake_is_answered_in_one_line():
    with pytest.raises(ValueError, match=r"latent must be at least 3, .* got 2"):
        TextVAE(toy.SIZE, VAEConfig(latent=2))
    with pytest.raises(ValueError, match="rows must be a multiple of patch=2 tokens long, got 7: pad them"):
        TextVAE(toy.SIZE, VAEConfig(**SMALL, patch=2)).posterior(torch.ones(1, 7, dtype=torch.int64))
