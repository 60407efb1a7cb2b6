"""The autoregressive model: a law of texts, equal with and without a cache, as good as the language allows."""

import itertools

import pytest
import torch

from encoders.text.autoregressive import Autoregressive
from encoders.text.rows import cut
from tests.encoders.text import toy

NOTHING = torch.zeros(2000, 0, dtype=torch.int64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def trained():
    model = Autoregressive(toy.SIZE, width=64, num_layers=2)
    toy.train(model, 250)
    return model


def test_a_cache_equals_a_full_pass():
    model = Autoregressive(toy.SIZE, width=32, num_layers=3)
    read = torch.randint(toy.SIZE, (4, 8), generator=seeded())
    full, _ = model(read)
    past, parts = None, []
    for place in range(8):
        logits, past = model(read[:, place : place + 1], past)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), full, atol=1e-5, rtol=0)


def test_probabilities_of_all_texts_add_up_to_one():
    model = Autoregressive(6, width=32, num_layers=2)  # ids 1 and 2, begin 3, end 4, mask 5
    rows = cut(torch.tensor(list(itertools.product((1, 2, 4), repeat=3))), model.end).unique(dim=0)
    probabilities = model.log_probability(rows).exp()
    torch.testing.assert_close(probabilities.sum(), torch.tensor(1.0))


def test_more_padding_is_worth_nothing():
    model, (x, _) = Autoregressive(toy.SIZE, width=32, num_layers=2), toy.language()
    longer = torch.nn.functional.pad(x, (0, 4))
    torch.testing.assert_close(model.log_probability(longer), model.log_probability(x))
    torch.testing.assert_close(model.loss(longer)["loss"], -model.log_probability(x).sum() / (x != 0).sum())


@torch.no_grad()
def test_the_loss_comes_down_to_the_entropy(trained):
    nats = toy.per_token(-trained.log_probability(toy.language()[0]))
    assert toy.entropy() <= nats < toy.entropy() + 0.03


def test_samples_are_draws_from_the_language(trained):
    counts, (_, probabilities) = toy.counts(trained.sample(NOTHING, toy.LENGTH, generator=seeded())), toy.language()
    assert counts.sum() > 0.93 * 2000
    assert (counts / 2000 - probabilities).abs().sum() / 2 < 0.12  # 0.06 by chance alone


def test_prefixes_of_any_length_are_gone_on_from(trained):
    prefixes = ["the green owl", "the", "the blue cat sleeps"]
    given = [toy.TOKENS.encode(prefix) for prefix in prefixes]
    rows = torch.tensor([ids + [0] * (4 - len(ids)) for ids in given]).repeat(200, 1)
    x = trained.sample(rows, toy.LENGTH, generator=seeded())
    assert torch.equal(torch.where(rows == 0, 0, x[:, :4]), rows)
    assert toy.counts(x).sum() > 0.9 * len(x)
    owls = x[::3]
    sleeps = (owls[:, 3] == toy.TOKENS.encode("sleeps")[0]).float().mean()
    assert abs(sleeps - 0.4) < 0.12


def test_temperature_0_is_the_likeliest(trained):
    x = trained.sample(NOTHING[:4], toy.LENGTH, temperature=0.0)
    assert toy.TOKENS.sentence(x[0].tolist()).split()[1] == "red"
    assert (x == x[0]).all()
