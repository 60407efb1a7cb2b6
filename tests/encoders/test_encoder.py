import numpy as np
import pytest
import torch
from gymnasium import spaces

from encoders.distinct import Distinct
from encoders.encoder import Encoder, merge, select
from unienv.modality import Vocabulary, pixel_space, text_space

ALL = ("text", "image", "video")
SPACE = spaces.Dict(
    {
        "text": text_space(Vocabulary(["one", "two", "three"]), 4),
        "image": pixel_space((16, 24, 3)),
        "video": pixel_space((2, 16, 16, 3)),
    }
)
PLACES = {"text": 4, "image": 6, "video": 4}


def make(modalities=ALL, image="tile"):
    torch.manual_seed(0)
    return Encoder(SPACE, modalities, image, dim=16, num_heads=2)


def observations(batch, modalities=ALL, seed=0):
    SPACE.seed(seed)
    rows = [SPACE.sample() for _ in range(batch)]
    return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in modalities}


@pytest.mark.parametrize("modalities", [ALL, ("text", "image"), ("image",), ("text",), ("video",)])
@pytest.mark.parametrize("image", ["tile", "test_convnext"])
def test_latents_of_the_modalities_asked_for(modalities, image):
    encoder = make(modalities, image)
    latents = encoder(encoder.prepare(observations(3)))
    assert {name: value.shape[0::2] for name, value in latents.items()} == dict.fromkeys(modalities, (3, 16))
    sum(z.pow(3).sum() for z in latents.values()).backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []
    for name in modalities:
        grid = encoder.grids[name]
        assert latents[name].shape[1] == (grid[0] * grid[1] if grid else PLACES[name])


@pytest.mark.parametrize("modality", ALL)
def test_every_word_id_and_pixel_value_can_be_encoded(modality):
    encoder = make((modality,))
    for bound in (SPACE[modality].low, SPACE[modality].high):
        assert encoder(encoder.prepare({modality: torch.from_numpy(bound[None])}))[modality].isfinite().all()


@pytest.mark.parametrize("modality", ALL)
@pytest.mark.parametrize("image", ["tile", "test_convnext"])
def test_merging_and_selecting_commute_with_encoding(modality, image):
    encoder = make((modality,), image).eval()
    batches = [observations(n, (modality,), seed=n) for n in (2, 1, 3)]
    batches[1][modality] = batches[0][modality][:1]
    merged = merge([encoder.prepare(batch) for batch in batches])
    whole = torch.cat([encoder(encoder.prepare(batch))[modality] for batch in batches])
    torch.testing.assert_close(encoder(merged)[modality], whole)
    index = torch.tensor([5, 0, 0, 2])
    torch.testing.assert_close(encoder(select(merged, index))[modality], whole[index])


def test_what_repeats_is_prepared_once():
    batch = {name: value.repeat_interleave(3, dim=0) for name, value in observations(2, ("text", "image")).items()}
    encoder = make(("text", "image"))
    prepared = encoder.prepare(batch)
    assert all(isinstance(value, Distinct) for value in prepared.values())
    assert [len(prepared["text"].items), len(prepared["image"].items)] == [2, 2 * 6]
    merged = merge([prepared, prepared])
    assert [len(merged["text"].items), len(merged["image"].items)] == [2, 2 * 6]
