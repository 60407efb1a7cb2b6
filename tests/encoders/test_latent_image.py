"""Pictures and clips as latents of a frozen picture VAE."""

import pytest
import torch

from encoders.encoder import Encoder
from encoders.latent_image import LatentImageEncoder
from encoders.pixels import PixelConfig, PixelVAE
from tests.encoders.test_encoder import SPACE, observations

SMALL = PixelConfig(latent=4, width=8)


def make(height=16, width=24):
    torch.manual_seed(0)
    return LatentImageEncoder(PixelVAE(SMALL), (height, width, 3), dim=16)


def pictures(*batch, height=16, width=24, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (*batch, height, width, 3), generator=generator).byte()


def rows_of(module):
    """A list that grows by the number of rows of each call."""
    rows = []
    module.register_forward_hook(lambda _, args, __: rows.append(len(args[0])))
    return rows


def test_prepared_latents_are_the_means_of_the_posterior(monkeypatch):
    monkeypatch.setattr("encoders.latent_image.has_bfloat16", lambda device: False)
    encoder, images = make(), pictures(3)
    prepared = encoder.prepare(images)
    assert encoder.grid == (2, 3) and prepared.shape == (3, 6, 4) and not prepared.requires_grad
    torch.testing.assert_close(prepared, encoder.pixels.posterior(images).mean)
    clips = pictures(2, 3)
    torch.testing.assert_close(encoder.prepare(clips), torch.stack([encoder.prepare(clip) for clip in clips]))


def test_a_rim_completes_the_last_tiles():
    encoder, images = make(9, 12), pictures(2, height=9, width=12)
    whole = torch.zeros(2, 16, 16, 3, dtype=torch.uint8)
    whole[:, :9, :12] = images
    assert encoder.grid == (2, 2)
    assert torch.equal(encoder.prepare(images), make(16, 16).prepare(whole))


def test_equal_pictures_are_read_once():
    encoder, images = make(), pictures(3)
    rows = rows_of(encoder.pixels.net.encoder)
    prepared = encoder.prepare(images[[0, 2, 0, 1, 2]])
    assert rows == [3]
    torch.testing.assert_close(prepared, encoder.prepare(images)[[0, 2, 0, 1, 2]])


def test_only_the_map_is_trained():
    encoder = make()
    encoder(encoder.prepare(pictures(2))).pow(3).sum().backward()
    trained = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert trained == {f"project.{i}.{name}" for i in (0, 1) for name in ("weight", "bias")}
    encoder.train()
    assert encoder.training and not any(module.training for module in encoder.pixels.modules())


def test_what_is_prepared_does_not_hang_on_the_precision_around_it():
    encoder, images = make(), pictures(2)
    plain = encoder.prepare(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(encoder.prepare(images), plain)
        assert encoder(plain).dtype == torch.bfloat16


@pytest.mark.parametrize("modality", ["image", "video"])
def test_an_encoder_reads_a_modality_by_its_frozen_model(modality):
    torch.manual_seed(0)
    encoder = Encoder(SPACE, (modality,), "latent", 16, 2, {name: PixelVAE(SMALL) for name in ("image", "video")})
    batch = observations(3, (modality,))
    latents = encoder(encoder.prepare(batch))[modality]
    height, width = encoder.grids[modality]
    assert latents.shape == (3, height * width, 16)
    latents.pow(3).sum().backward()
    frozen = {name for name, p in encoder.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, p in encoder.named_parameters() if p.grad is None}
    assert all(".pixels." in name for name in frozen) and frozen
