from functools import partial

import pytest
import torch

from encoders.text.fit import fit
from encoders.text.heads import HEADS, AutoregressiveHead, LatentHead, WordsHead, make_head
from encoders.text.vae import TextVAE, VAEConfig

STATE, LENGTH = 3, 2
WORDS = 3
SIZE = WORDS + 4  # V
END = SIZE - 2
CONFIG = VAEConfig(width=16, layers=1, heads=2, latent=4)
ROWS = [[END, 0], *([a, END] for a in range(1, 4)), *([a, b] for a in range(1, 4) for b in range(1, 4))]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def loss_of(head, state, x, generator):
    return {"loss": head.loss(state, x, generator)}


def make(name):
    torch.manual_seed(0)
    if name == "latent":
        return LatentHead(STATE, TextVAE(SIZE, CONFIG), LENGTH, width=16)
    return {"words": WordsHead, "autoregressive": AutoregressiveHead}[name](STATE, SIZE, LENGTH, 16)


@pytest.mark.parametrize("name", HEADS)
def test_probabilities_of_all_rows_add_up_to_one(name, monkeypatch):
    monkeypatch.setattr("encoders.text.heads._PARTICLES", 2)
    head, state = make(name), torch.randn(1, STATE, generator=seeded())
    terms = [head.log_likelihood(state, torch.tensor([row]), seeded(1)).exp() for row in ROWS]
    assert torch.stack(terms).sum().item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_rows_are_drawn_as_often_as_their_likelihood_says(name, monkeypatch):
    monkeypatch.setattr("encoders.text.heads._PARTICLES", 1)  # then its exponential is unbiased
    head, state = make(name), torch.randn(1, STATE, generator=seeded()).expand(4000, -1)
    drawn = head.sample(state, seeded(2))
    assert drawn.shape == (4000, LENGTH)
    for row in ROWS:
        row = torch.tensor([row])
        share = (drawn == row).all(dim=1).double().mean().item()
        expected = head.log_likelihood(state[:500], row.expand(500, -1), seeded(1)).exp().mean().item()
        assert share == pytest.approx(expected, abs=0.03)


def test_words_that_hang_together_need_more_than_words_one_by_one():
    """The state is silent, and "1 1" and "2 2" are said half the time each."""
    pair = torch.tensor([[1, 1], [2, 2]])

    def batches():
        while True:
            yield pair.repeat(32, 1)

    shares = {}
    for name in HEADS:
        torch.manual_seed(0)
        head = make(name)
        if name == "latent":
            vae = TextVAE(SIZE, CONFIG)
            fit(vae.loss, vae.parameters(), batches(), 150, 1e-2, seeded())
            head = LatentHead(STATE, vae, LENGTH, width=16)
        silent = torch.zeros(64, STATE)
        fit(partial(loss_of, head, silent), head.parameters(), batches(), 250, 5e-3, seeded())
        drawn = head.sample(silent[:1].expand(1000, -1), seeded())
        shares[name] = [(drawn == row).all(dim=1).double().mean().item() for row in pair]
    assert shares["words"] == pytest.approx([0.25, 0.25], abs=0.06)
    assert shares["autoregressive"] == pytest.approx([0.5, 0.5], abs=0.06)
    assert shares["latent"] == pytest.approx([0.5, 0.5], abs=0.1)


def test_what_the_vae_knows_is_left_as_it_is():
    head = make("latent")
    state = torch.randn(8, STATE, requires_grad=True)
    head.prior.velocity.weight.data.normal_()  # zero at the start: nothing would come back
    head.prior.modulate.weight.data.normal_()
    head.loss(state, torch.tensor([[1, 2]] * 8), seeded()).backward()
    assert all(parameter.grad is None for parameter in head.vae.parameters())
    assert head.prior.listen.weight.grad.abs().sum() > 0 and state.grad.abs().sum() > 0


def test_heads_are_made_of_about_one_size():
    vae = TextVAE(SIZE, CONFIG)
    sizes = {name: make_head(name, 64, SIZE, LENGTH, 40_000, vae).size() for name in HEADS}
    assert all(abs(size - 40_000) < 0.05 * 40_000 for size in sizes.values()), sizes
    frozen = sum(
        parameter.numel() for part in (vae.open, vae.decoder, vae.spread, vae.head) for parameter in part.parameters()
    )
    head = make_head("latent", 64, SIZE, LENGTH, 40_000, vae)
    assert head.size() == frozen + sum(parameter.numel() for parameter in head.prior.parameters())


def test_mistakes_are_told_in_one_line():
    with pytest.raises(ValueError, match=r"latent") as unknown:
        make_head("latents", STATE, SIZE, LENGTH, 40_000)
    assert "\n" not in str(unknown.value)
    with pytest.raises(ValueError, match=r"^head=latent has a frozen decoder of [\d,]+ parameters, got parameters=9$"):
        make_head("latent", STATE, SIZE, LENGTH, 9, TextVAE(SIZE, VAEConfig(width=16, layers=1, heads=2, latent=4)))
    with pytest.raises(ValueError, match=r"^head=latent expects a text VAE"):
        make_head("latent", STATE, SIZE, LENGTH, 40_000)
