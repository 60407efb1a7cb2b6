"""Latent text, Eq. (4), through both stages of its training on a language of known entropy."""

from functools import cache
from typing import NamedTuple

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from encoders.gaussian import Gaussian
from encoders.text import elbo
from encoders.text.fit import Record, fit
from encoders.text.latent import LatentConfig, LatentLanguage, negentropy, relative
from encoders.text.prior import Prior
from encoders.text.vae import TextVAE, VAEConfig
from tests.encoders.text import toy

LATENT, BLOCK = 8, 4


class Trained(NamedTuple):
    """Fields: model; the records of both stages; encoder and decoder as stage 1 left them."""

    model: LatentLanguage
    first: list[Record]
    second: list[Record]
    stage1: dict[str, torch.Tensor]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def batches(size=48):
    generator = seeded(3)
    while True:
        yield toy.draw(size, generator)


def empty(rows):
    """Prefixes of no tokens."""
    return torch.zeros(rows, 0, dtype=torch.int64)


def make(config=None, patch=1, width=32):
    """A model whose prior's gates and outputs are open, as if it had been trained."""
    torch.manual_seed(0)
    vae = TextVAE(toy.SIZE, VAEConfig(width=width, latent=LATENT, patch=patch))
    prior = Prior(LATENT, width, num_layers=1, num_heads=4, block=BLOCK // patch)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return LatentLanguage(vae, prior, config or LatentConfig())


@cache
def trained():
    torch.manual_seed(0)
    vae = TextVAE(toy.SIZE, VAEConfig(width=64, latent=LATENT))
    first = fit(vae.loss, vae.parameters(), batches(), steps=200, lr=2e-3, generator=seeded(1))
    stage1 = {name: value.clone() for name, value in vae.state_dict().items()}
    model = LatentLanguage(vae, Prior(LATENT, 64, num_layers=2, num_heads=4, block=BLOCK), LatentConfig())
    second = fit(model.stage2_loss, model.parameters(), batches(), steps=320, lr=3e-3, generator=seeded(2))
    return Trained(model, first, second, stage1)


def law():
    probabilities = toy.language()[1].double()
    return probabilities / probabilities.sum()


def test_texts_still_come_back_from_their_latents():
    model, x = trained().model, toy.draw(500, seeded(4))
    said = model.vae.decode(model.posterior(x).sample(seeded(5))).argmax(dim=2)
    share = (said == x)[x != 0].float().mean().item()
    print(f"\nreconstruction {share:.4f}")
    assert share > 0.99


def test_samples_are_sentences_of_the_language():
    """Right tokens in a wrong order would be hardly ever valid: there are 48 valid rows of more than 14^4."""
    samples = trained().model.sample(empty(1000), toy.LENGTH, seeded(6))
    counts = toy.counts(samples)
    distance = 0.5 * (counts / counts.sum() - toy.language()[1]).abs().sum().item()
    print(f"\nvalid {counts.sum() / 1000:.3f}, total variation among the valid {distance:.3f}")
    assert counts.sum() > 850
    assert distance < 0.25  # chance alone makes 0.09


def test_samples_go_on_from_a_prefix():
    model, owl = trained().model, toy.TOKENS.encode("the blue owl")
    samples = model.sample(torch.tensor([owl]).repeat(200, 1), toy.LENGTH, seeded(6))
    assert (samples[:, :3] == torch.tensor(owl)).all()
    share = toy.counts(samples).sum().item() / 200
    print(f"\nvalid after a prefix {share:.3f}")
    assert share > 0.6  # the prefix ends inside a block, which training shows now and then


def test_the_elbo_is_below_the_likelihood():
    """E log p(x) <= -H for every p, and so the ELBO, with an estimated density too."""
    model, (x, _) = trained().model, toy.language()
    before, model.probe, model.solver_steps = model.solver_steps, seeded(8), 8
    parts = elbo.split(model, x, 6, seeded(7), law())
    model.probe, model.solver_steps = None, before
    entropy = -(law() * law().log()).sum().item()
    print(f"\nELBO {parts.elbo}, entropy {entropy:.3f}, matching {parts.matching.upper.value:.2f} nats a sentence")
    assert parts.elbo.value < -entropy + 3 * parts.elbo.error
    assert parts.elbo.value > -8 * entropy  # and is no empty bound
    assert parts.information.upper.value == pytest.approx(entropy, abs=0.05)  # latents tell all sentences apart


def test_both_stages_learn_and_the_reference_stays():
    model, first, second, stage1 = trained()
    assert first[-1]["loss"] < 0.5 * first[0]["loss"]
    assert second[-1]["flow"] < 0.8 * second[0]["flow"]
    assert all(torch.equal(value, stage1[name]) for name, value in model.reference.state_dict().items())
    assert any(not torch.equal(value, stage1[name]) for name, value in model.vae.state_dict().items())


def test_the_loss_is_the_sum_of_its_terms():
    model, x = make(LatentConfig(vae=0.7, flow=0.3, reference=0.2)), toy.draw(16, seeded())
    with torch.no_grad():
        model.vae.gaussian.project.weight.mul_(1.5)
        terms = model.stage2_loss(x, seeded())
    own = model.vae.config
    vae = terms["distortion"] + own.kl * terms["negentropy"] + own.mask_weight * terms["recovery"]
    torch.testing.assert_close(terms["loss"], 0.7 * vae + 0.3 * terms["flow"] + 0.2 * terms["drift"])
    assert terms["drift"] > 0
    assert all(torch.equal(term, model.stage2_loss(x, seeded())[name]) for name, term in terms.items())


def test_nothing_has_drifted_at_the_start():
    assert make().stage2_loss(toy.draw(16, seeded()), seeded())["drift"] == 0


def test_entropies_and_divergences_are_those_of_normals():
    q, to = (Gaussian(*torch.randn(2, 5, 3, LATENT, generator=seeded(seed))) for seed in (0, 1))
    normals = [Independent(Normal(g.mean, (0.5 * g.log_variance).exp()), 1) for g in (q, to)]
    torch.testing.assert_close(negentropy(q), -normals[0].entropy())
    torch.testing.assert_close(relative(q, to).divergence(), kl_divergence(*normals))


@pytest.mark.parametrize("stop, reaches", [("input", True), ("none", True), ("all", False)])
def test_the_flow_shapes_the_encoder_unless_stopped(stop, reaches):
    model = make(LatentConfig(stop=stop))
    model.stage2_loss(toy.draw(16, seeded()), seeded())["flow"].backward()
    moved = [p.grad is not None and bool(p.grad.any()) for p in model.vae.encoder.parameters()]
    assert any(moved) == reaches
    assert all(p.grad is None for p in model.reference.parameters())
    assert all(p.grad is not None for p in model.prior.parameters())


def test_more_padding_is_worth_no_distortion_and_no_entropy():
    model, x = make(), toy.draw(16, seeded())
    longer = torch.nn.functional.pad(x, (0, 4))
    short, long = (model.stage2_loss(rows, seeded()) for rows in (x, longer))
    for name in ("negentropy", "drift"):
        torch.testing.assert_close(long[name], short[name])


def test_a_model_is_a_latent_text_with_the_density_of_its_prior():
    model, x = make(), toy.draw(3, seeded())
    model.solver_steps = 4
    language: elbo.LatentText = model
    z = language.posterior(x).sample(seeded())
    assert torch.equal(language.log_prior(z), model.prior.log_density(z, steps=4).sum(dim=1))
    assert language.log_likelihood(x, z).shape == (3,)
    model.probe = seeded(9)
    assert torch.equal(language.log_prior(z), model.prior.log_density(z, seeded(9), steps=4).sum(dim=1))


def test_prefixes_of_several_lengths_and_patches():
    model, x = make(patch=2), toy.draw(4, seeded())
    prefix = x[:, :4].clone()
    prefix[1:, 2:] = 0
    prefix[2:] = 0
    samples = model.sample(prefix, toy.LENGTH, seeded(), steps=2, guidance=2.0, temperature=0.0)
    assert samples.shape == x.shape
    assert torch.equal(samples[:, :4][prefix != 0], prefix[prefix != 0])
    assert torch.equal(samples, model.sample(prefix, toy.LENGTH, seeded(), steps=2, guidance=2.0, temperature=0.0))
    for wrong, length, got in ((x[:, :3], 8, r"8 and \[3\]"), (x[:, :2], 7, r"7 and \[2\]")):
        with pytest.raises(ValueError, match=f"multiples of patch=2 tokens, got {got}"):
            model.sample(wrong, length, seeded())


def test_nothing_follows_an_end():
    samples = make().sample(empty(50), toy.LENGTH, seeded(), steps=2)
    ends = (samples == toy.TOKENS.end).long()
    assert not samples[(ends.cumsum(dim=1) - ends) > 0].any()


def test_latents_of_two_sizes_are_refused():
    vae, prior = TextVAE(toy.SIZE, VAEConfig(width=32, latent=8)), Prior(4, 32, 1, 4, 2)
    with pytest.raises(ValueError, match="latents of the prior must have 8 numbers, got 4"):
        LatentLanguage(vae, prior, LatentConfig())
