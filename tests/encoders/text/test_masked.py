"""Masked diffusion: its bound against enumeration, and against the entropy of a language; draws in a few steps."""

import itertools
import math

import pytest
import torch

from encoders.text.masked import Masked
from tests.encoders.text import toy

NOTHING = torch.zeros(2000, 0, dtype=torch.int64)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def trained():
    model = Masked(toy.SIZE, width=64, num_layers=2)
    toy.train(model, 300)
    return model


@torch.no_grad()
def exact_bound(model: Masked, x: torch.Tensor) -> torch.Tensor:
    """The first line of `Masked.bound`, over all sets of hidden places: those of n out of L have in it the weight
    int t^(n-1) (1-t)^(L-n) dt = 1 / (n C(L, n)).
    """
    length = x.shape[1]
    total = torch.zeros(len(x))
    for places in itertools.product((False, True), repeat=length):
        if any(places):
            hidden = sum(places)
            hide = torch.tensor(places).expand(x.shape)
            total += model.cost(x, hide) / (hidden * math.comb(length, hidden))
    return total


@torch.no_grad()
def test_the_bound_is_estimated_without_bias():
    model, x = Masked(toy.SIZE, width=32, num_layers=2), toy.language()[0][:3]
    draws = model.bound(x.repeat(4000, 1), seeded()).view(4000, 3)
    error = draws.std(dim=0) / math.sqrt(4000)
    assert ((draws.mean(dim=0) - exact_bound(model, x)).abs() < 5 * error).all()


@torch.no_grad()
def test_the_bound_of_a_model_that_knows_nothing():
    """It says log V' for each token in any order, so that the bound is tight; begin and mask are never said."""
    model, x = Masked(toy.SIZE, width=32, num_layers=1), toy.language()[0][:3]
    model.head.weight.zero_()
    model.head.bias.zero_()
    expected = torch.full((3,), 8 * math.log(toy.SIZE - 2))
    torch.testing.assert_close(exact_bound(model, x), expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(model.bound(x, seeded()), expected, atol=1e-3, rtol=0)


def test_places_see_each_other_and_know_where_they_are():
    model = Masked(toy.SIZE, width=32, num_layers=2)
    x = torch.full((1, 8), model.mask)
    logits = model(x)[0]
    assert not torch.allclose(logits[2], logits[5])  # although all tokens are the same
    changed = x.clone()
    changed[0, 5] = 1
    assert (model(changed)[0] != logits).any(dim=1).all()


def test_the_bound_is_above_the_entropy_and_close(trained):
    nats = toy.per_token(exact_bound(trained, toy.language()[0]))
    assert toy.entropy() <= nats < toy.entropy() + 0.05


@pytest.mark.parametrize(("steps", "valid", "distance"), [(8, 0.9, 0.13), (4, 0.8, 0.16)])
def test_samples_are_draws_from_the_language(trained, steps, valid, distance):
    counts = toy.counts(trained.sample(NOTHING, toy.LENGTH, steps, generator=seeded()))
    assert counts.sum() > valid * 2000
    assert (counts / 2000 - toy.language()[1]).abs().sum() / 2 < distance


def test_prefixes_of_any_length_are_gone_on_from(trained):
    given = [toy.TOKENS.encode(prefix) for prefix in ("the green owl", "the", "the blue cat sleeps")]
    rows = torch.tensor([ids + [0] * (4 - len(ids)) for ids in given]).repeat(200, 1)
    x = trained.sample(rows, toy.LENGTH, steps=8, generator=seeded())
    assert torch.equal(torch.where(rows == 0, 0, x[:, :4]), rows)
    assert toy.counts(x).sum() > 0.85 * len(x)


def test_no_steps_and_no_room_are_told_in_one_line(trained):
    with pytest.raises(ValueError, match=r"^steps must be at least 1, got 0$"):
        trained.sample(NOTHING[:2], toy.LENGTH, steps=0)
    with pytest.raises(ValueError, match=r"^prefixes must have at most length=2 tokens, got 3$"):
        trained.sample(torch.ones(1, 3, dtype=torch.int64), 2, steps=1)


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_each_step_shows_an_equal_share(steps):
    model, shown = Masked(toy.SIZE, width=32, num_layers=1), []
    model.register_forward_pre_hook(lambda _, args: shown.append(int((args[0] != model.mask).sum(dim=1)[0])))
    x = model.sample(NOTHING[:2], 8, steps, generator=seeded())
    assert shown == [8 * step // steps for step in range(steps)]
    assert (x < model.begin).logical_or(x == model.end).all()
