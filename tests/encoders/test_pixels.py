import json
import math

import pytest
import torch
from torch.nn import functional

from encoders.pixels import TILE, PixelConfig, PixelVAE, load_pixels, save_pixels
from encoders.text.fit import fit
from unienv.sprites import COLOURS, object_tiles

LATENT = 4


def make(**shape):
    torch.manual_seed(0)
    return PixelVAE(PixelConfig(**{"latent": LATENT, "width": 8, **shape}))


def noise(*shape, seed=0):
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("height, width", [(8, 8), (16, 40), (64, 32)])
def test_one_model_reads_and_draws_pictures_of_all_sizes(height, width):
    vae, pixels = make(), noise(2, height, width)
    q = vae.posterior(pixels)
    grid = (height // TILE, width // TILE)
    assert q.mean.shape == q.log_variance.shape == (2, grid[0] * grid[1], LATENT)
    drawn = vae.decode(q.mean, grid)
    assert drawn.shape == pixels.shape
    assert drawn.dtype == torch.float32
    assert bool(((drawn >= 0.0) & (drawn <= 1.0)).all())


def test_a_clip_is_read_and_drawn_frame_by_frame():
    vae, clip = make().eval(), noise(2, 3, 16, 24)
    q, frames = vae.posterior(clip), vae.posterior(clip.flatten(0, 1))
    assert q.mean.shape == (2, 3, 6, LATENT)
    torch.testing.assert_close(q.mean.flatten(0, 1), frames.mean)
    torch.testing.assert_close(q.log_variance.flatten(0, 1), frames.log_variance)
    drawn = vae.decode(q.mean, (2, 3))
    assert drawn.shape == clip.shape
    torch.testing.assert_close(drawn.flatten(0, 1), vae.decode(frames.mean, (2, 3)))
    assert vae.log_likelihood(clip, q.mean).shape == (2, 3)


def test_the_density_is_the_normal_one():
    vae, pixels = make(), noise(2, 8, 16)
    z = torch.randn(2, 2, LATENT)
    law = torch.distributions.Normal(vae._render(z, (1, 2)), 5 / 255)
    torch.testing.assert_close(vae.log_likelihood(pixels, z), law.log_prob(pixels / 255).sum(dim=(1, 2, 3)))


@pytest.mark.parametrize("kl", [0.0, 1.0])
def test_the_loss_is_distortion_and_weighted_rate_a_tile(kl):
    vae, pixels = make(kl=kl), noise(3, 16, 16)
    terms = vae.loss(pixels, torch.Generator().manual_seed(1))
    q = vae.posterior(pixels)
    z = q.sample(torch.Generator().manual_seed(1))
    torch.testing.assert_close(terms["distortion"], -vae.log_likelihood(pixels, z).sum() / (3 * 4))
    torch.testing.assert_close(terms["rate"], q.divergence().sum() / (3 * 4))
    torch.testing.assert_close(terms["loss"], terms["distortion"] + kl * terms["rate"])


def test_variances_stay_within_bounds_whatever_the_weights():
    vae = make().requires_grad_(False)
    for parameter in vae.parameters():
        parameter.mul_(50.0)
    q = vae.posterior(noise(2, 8, 8))
    assert float(q.log_variance.abs().max()) == 10.0
    assert math.isfinite(float(vae.loss(noise(2, 8, 8), torch.Generator().manual_seed(0))["loss"]))


def mosaics(generator):
    """Pictures of 2 x 3 tiles, drawn from six sprites, for ever."""
    tiles = torch.from_numpy(object_tiles(list(COLOURS)[:3], ["square", "cross"]))
    while True:
        which = torch.randint(0, len(tiles), (8, 2, 3), generator=generator)
        yield tiles[which].transpose(2, 3).flatten(3, 4).flatten(1, 2)


def test_it_learns_to_draw_sprites():
    vae, generator = make(width=32, latent=8), torch.Generator().manual_seed(0)
    fit(vae.loss, vae.parameters(), mosaics(generator), 300, 5e-3, generator)
    pixels = next(mosaics(torch.Generator().manual_seed(7)))
    with torch.no_grad():
        errors = vae.decode(vae.posterior(pixels).mean, (2, 3)) - pixels / 255
    assert float(errors.square().mean()) < 0.3 * float((pixels / 255).var())


@torch.no_grad()
def test_tiles_are_in_reading_order():
    vae, pixels = make(), noise(2, 24, 32)
    channels = pixels.permute(0, 3, 1, 2) / 127.5 - 1.0
    law = vae.net.encode(functional.pixel_unshuffle(channels, TILE)).latent_dist  # as diffusers itself has it
    q = vae.posterior(pixels)
    torch.testing.assert_close(q.mean.unflatten(1, (3, 4)), law.mean.permute(0, 2, 3, 1))
    torch.testing.assert_close(q.log_variance.unflatten(1, (3, 4)), law.logvar.permute(0, 2, 3, 1))
    drawn = functional.pixel_shuffle(vae.net.decode(law.mean).sample, TILE).permute(0, 2, 3, 1)
    torch.testing.assert_close(vae.decode(q.mean, (3, 4)), (0.5 + 0.5 * drawn).clamp(0.0, 1.0))


@pytest.mark.parametrize(
    "pixels, told",
    [
        (torch.zeros(1, 12, 8, 3, dtype=torch.uint8), "12 x 8 x 3 uint8"),
        (torch.zeros(1, 8, 20, 3, dtype=torch.uint8), "8 x 20 x 3 uint8"),
        (torch.zeros(1, 8, 8, 1, dtype=torch.uint8), "8 x 8 x 1 uint8"),
        (torch.zeros(1, 8, 8, 3), "8 x 8 x 3 float32"),
    ],
)
def test_pictures_of_another_form_are_refused_in_one_line(pixels, told):
    with pytest.raises(ValueError, match=f"multiples of 8, got {told}: pad or crop them") as error:
        make().posterior(pixels)
    assert "\n" not in str(error.value)


def test_a_width_that_groups_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="width must be a multiple of 8, got 20"):
        make(width=20)


def test_a_model_comes_back_frozen_and_equal(tmp_path):
    vae, pixels = make(latent=5), noise(1, 16, 8)
    save_pixels(tmp_path / "pixels", vae)
    before = torch.get_rng_state()
    back = load_pixels(tmp_path / "pixels")
    assert torch.equal(torch.get_rng_state(), before)
    assert back.config == vae.config
    assert not back.training and not any(p.requires_grad for p in back.parameters())
    assert torch.equal(back.posterior(pixels).mean, vae.posterior(pixels).mean)
    assert torch.equal(back.decode(back.posterior(pixels).mean, (2, 1)), vae.decode(vae.posterior(pixels).mean, (2, 1)))
    assert sorted(path.name for path in (tmp_path / "pixels").iterdir()) == ["pixels.json", "pixels.safetensors"]


def test_what_is_missing_or_damaged_is_told_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"no picture model in .*: pixels.json, pixels.safetensors missing"):
        load_pixels(tmp_path)
    save_pixels(tmp_path, make())
    shape = json.loads((tmp_path / "pixels.json").read_text())
    for text in ("{", json.dumps(shape | {"latent": 9}), json.dumps(shape | {"colours": 3}), "[]"):
        (tmp_path / "pixels.json").write_text(text)
        with pytest.raises(ValueError, match="damaged") as error:
            load_pixels(tmp_path)
        assert "\n" not in str(error.value)
    (tmp_path / "pixels.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="damaged"):
        load_pixels(tmp_path)
