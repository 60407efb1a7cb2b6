import pytest
import torch

from encoders.image import ImageEncoder
from encoders.video import VideoEncoder


def make(frames=3, name="tile"):
    torch.manual_seed(0)
    return VideoEncoder(ImageEncoder(name, (16, 24, 3), dim=16), frames, dim=16)


def clip(batch=2, frames=3):
    return torch.randint(0, 256, (batch, frames, 16, 24, 3), generator=torch.Generator().manual_seed(0)).byte()


def encode(encoder, video):
    return encoder(encoder.prepare(video))


@pytest.mark.parametrize("frames", [1, 3])
def test_a_latent_for_every_place(frames):
    encoder = make(frames)
    assert encoder.grid == (2, 3)
    assert encode(encoder, clip(frames=frames)).shape == (2, 6, 16)


@pytest.mark.parametrize("name", ["tile", "test_convnext"])
def test_gradients_reach_every_parameter(name):
    encoder = make(name=name)
    encode(encoder, clip()).square().sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (2, 1, 0)])
def test_the_order_of_frames_counts(order):
    encoder, video = make(), clip()
    one, two = encode(encoder, video), encode(encoder, video[:, list(order)])
    assert (one - two).abs().amax(dim=2).min() > 1e-3


@pytest.mark.parametrize("frame", [0, 1, 2])
def test_every_frame_counts_at_its_place_and_around_it_alone(frame):
    encoder, video = make(), clip()
    other = video.clone()
    other[:, frame, :8, :8] ^= 255
    change = (encode(encoder, video) - encode(encoder, other)).abs().amax(dim=2).unflatten(1, (2, 3))  # (B, h, w)
    assert (change[:, :, :2] > 1e-4).all()
    assert (change[:, :, 2] == 0).all()


def test_places_of_a_still_clip_differ_by_what_they_show():
    encoder = make()
    still = torch.full((2, 3, 16, 24, 3), 90).byte()
    still[1, :, :8, :8] = 91
    latents = encode(encoder, still)
    assert torch.equal(latents[0, 2::3], latents[1, 2::3])  # the column out of reach
    assert (latents[0, 0] - latents[1, 0]).abs().max() > 1e-4


def test_the_rest_of_the_batch_does_not_count():
    encoder, video = make(), clip(5)
    torch.testing.assert_close(encode(encoder, video)[3:4], encode(encoder, video[3:4]))
