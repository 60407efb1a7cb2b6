import pytest
import torch

from encoders.pixels import PixelConfig, PixelVAE
from encoders.text.fit import fit
from encoders.text.vae import TextVAE, VAEConfig
from encoders.unified import Unified, UnifiedConfig

V, L, B = 12, 6, 3
SHAPES = {"image": (16, 24, 3), "video": (2, 8, 16, 3)}


def make(shapes=SHAPES, patch=1, **config):
    torch.manual_seed(0)
    text = TextVAE(V, VAEConfig(width=16, layers=1, heads=2, latent=4, patch=patch))
    pixels = PixelVAE(PixelConfig(latent=5, width=8))
    return Unified(text, pixels, L, shapes, UnifiedConfig(**{"dim": 16, "queries": 3, "heads": 2, **config}))


def seen(shapes=SHAPES, seed=0, batch=B):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(1, V - 3, (batch, L), generator=generator)
    x[:, -2], x[:, -1] = V - 2, 0  # end and padding
    pixels = {n: torch.randint(0, 256, (batch, *s), dtype=torch.uint8, generator=generator) for n, s in shapes.items()}
    return {"text": x, **pixels}


@pytest.mark.parametrize("names", [("image",), ("video",), ("image", "video")])
@pytest.mark.parametrize("patch", [1, 2])
def test_every_modality_goes_into_one_state_and_comes_back(names, patch):
    shapes = {name: SHAPES[name] for name in names}
    model, observation = make(shapes, patch), seen(shapes)
    state = model(observation)
    assert state.shape == (B, 3 * 16)
    read, posteriors = model.read(state), model.posteriors(observation)
    assert {n: z.shape for n, z in read.items()} == {n: q.mean.shape for n, q in posteriors.items()}
    decoded = model.decode(state)
    assert {n: rows.shape for n, rows in decoded.items()} == {n: rows.shape for n, rows in observation.items()}
    assert all(bool(((decoded[name] >= 0) & (decoded[name] <= 1)).all()) for name in names)


def test_a_video_of_one_frame_is_a_video():
    model = make({"video": (1, 8, 16, 3)})
    assert model.decode(torch.zeros(B, 3 * 16))["video"].shape == (B, 1, 8, 16, 3)


def test_a_place_of_a_video_holds_its_frames_in_order():
    model, observation = make({"video": SHAPES["video"]}), seen({"video": SHAPES["video"]})
    q = model.posteriors(observation)["video"]
    frames = model.pixels.posterior(observation["video"]).mean  # (B, F, P, d)
    assert q.mean.shape == (B, 2, 2 * 5)
    torch.testing.assert_close(q.mean.unflatten(2, (2, 5)), frames.transpose(1, 2))
    model.read = lambda _: {"text": torch.zeros(B, L, 4), "video": q.mean}  # a perfect reader
    drawn = model.decode(torch.zeros(B, 48))["video"]
    torch.testing.assert_close(drawn, model.pixels.decode(frames, (1, 2)))


def test_everything_is_decoded_from_the_state_alone_and_the_state_holds_all_modalities():
    model, observation = make(), seen()
    state = model(observation).detach().requires_grad_()
    read = model.read(state)
    assert all(bool(torch.autograd.grad(z.sin().sum(), state, retain_graph=True)[0].any()) for z in read.values())
    other = seen(seed=1)
    for name in observation:
        changed = model({**observation, name: other[name]})
        assert bool(((changed - state).abs() > 1e-3).any()), name


def test_only_psi_and_the_readers_learn():
    model = make()
    assert not any(p.requires_grad for part in (model.text, model.pixels) for p in part.parameters())
    model.loss(seen())["loss"].backward()
    learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert {name.partition(".")[0] for name in learned} == {"enter", "place", "psi", "readers"}
    assert all(p.grad is not None for p in learned.values())


def test_the_loss_is_minus_the_log_likelihood_of_text_and_a_divergence_of_pixels():
    model, observation = make(), seen()
    terms, read = model.loss(observation), model.read(model(observation))
    x = observation["text"]
    expected = -model.text.log_likelihood(x, read["text"]).sum() / (x != 0).sum()
    torch.testing.assert_close(terms["text"], expected)
    for name in SHAPES:
        q = model.posteriors(observation)[name]
        spread = (0.5 * q.log_variance).exp()
        law = torch.distributions.Normal(q.mean, spread), torch.distributions.Normal(read[name], spread)
        torch.testing.assert_close(terms[name], torch.distributions.kl_divergence(*law).sum(dim=2).mean())
    pixels = 0.5 * 5 * terms["image"].log() + 0.5 * 2 * 5 * terms["video"].log()
    torch.testing.assert_close(terms["loss"], terms["text"] + pixels)


def test_the_loss_of_pixels_is_the_likelihood_at_the_best_scale():
    model, observation = make({"image": SHAPES["image"]}), seen({"image": SHAPES["image"]})
    q, z = model.posteriors(observation)["image"], model.read(model(observation))["image"]
    scales = torch.linspace(0.01, 100.0, 20_000)[:, None, None]
    spread = (0.5 * q.log_variance).exp().flatten(0, 1)

    def best(z):
        law = torch.distributions.Normal(z.flatten(0, 1), scales * spread)
        return float(-law.log_prob(q.mean.flatten(0, 1)).sum(dim=2).mean(dim=1).max().detach())

    told = [model.loss(observation)]
    model.read = lambda _: {"text": torch.zeros(B, L, 4), "image": 0.5 * (z + q.mean)}  # half of the error
    told.append(model.loss(observation))
    pixels = [float((terms["loss"] - terms["text"]).detach()) for terms in told]
    assert pixels[0] - pixels[1] == pytest.approx(best(z) - best(0.5 * (z + q.mean)), abs=1e-2)


def test_rows_do_not_mix():
    model, observation = make(), seen()
    alone = model({name: rows[1:2] for name, rows in observation.items()})
    torch.testing.assert_close(alone, model(observation)[1:2], rtol=1e-4, atol=1e-5)


def test_it_learns_what_a_few_observations_hold():
    shapes = {"image": SHAPES["image"]}
    model, observation = make(shapes, dim=32), seen(shapes, batch=4)

    class Batch(dict):
        def to(self, _):
            return self

    def batches():
        while True:
            yield Batch(observation)

    curve = fit(model.loss, model.parameters(), batches(), 150, 1e-2, torch.Generator().manual_seed(0), every=25)
    assert curve[-1]["text"] < 0.95 * curve[0]["text"]  # through a decoder that has learned nothing itself
    assert curve[-1]["image"] < 0.3 * curve[0]["image"]
