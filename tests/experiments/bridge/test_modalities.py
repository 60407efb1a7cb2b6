import json
from itertools import islice

import pytest
import torch

from encoders.pixels import PixelConfig, PixelVAE
from encoders.text.tokens import Bytes, Words
from encoders.text.vae import TextVAE, VAEConfig
from encoders.unified import Unified, UnifiedConfig
from experiments.bridge.modalities import Observations, _psnr, measure, play, train_pixels, train_unified
from unienv.registry import make_world

SMALL = PixelConfig(latent=4, width=8)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def take(world, split, batches, batch=8, seed=0, **told):
    return list(islice(play(world, split, batch, generator(seed), **told), batches))


def pairs(batches):
    return {
        b"".join(rows.numpy().tobytes() for rows in row)
        for seen in batches
        for row in zip(*(seen[name] for name in sorted(seen)), strict=True)
    }


@pytest.mark.parametrize("world", ["match", "goto", "chase"])
def test_play_yields_what_the_world_says_and_shows(world):
    space = make_world(world).observation_space
    for seen in take(world, "train", 3):
        assert {name: tuple(rows.shape) for name, rows in seen.items()} == {n: (8, *space[n].shape) for n in space}
        assert all(row in box for name, box in space.items() for row in seen[name].numpy().astype(box.dtype))
        assert seen["text"].dtype == torch.int64


def test_play_is_repeated_by_its_seed_and_changes_with_it():
    first, again, other = (take("goto", "train", 20, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a[name], b[name]) for a, b in zip(first, again, strict=True) for name in a)
    assert not torch.equal(first[0]["image"], other[0]["image"])


def test_play_goes_on_beyond_the_first_states():
    starts, later = take("goto", "train", 1, batch=64)[0]["image"], take("goto", "train", 10, batch=64)[-1]["image"]
    assert not torch.equal(starts, later)
    assert len(pairs(take("goto", "train", 10, batch=64))) > 300


def test_no_pair_is_in_both_splits_though_every_text_is():
    train, test = take("match", "train", 60, batch=32), take("match", "test", 20, batch=32, seed=3)
    assert pairs(train) and pairs(test) and not pairs(train) & pairs(test)
    texts = [{tuple(row.tolist()) for seen in part for row in seen["text"]} for part in (train, test)]
    assert len(texts[0] & texts[1]) > 0.5 * len(texts[1])
    assert len(pairs(test)) > 100


@pytest.mark.parametrize("tokens", [Bytes(), Words(make_world("match").vocabulary)])
def test_texts_are_rewritten_in_other_tokens(tokens):
    world = make_world("match")
    own, rewritten = take("match", "test", 2), take("match", "test", 2, tokens=tokens, length=40)
    for one, two in zip(own, rewritten, strict=True):
        assert torch.equal(one["image"], two["image"])
        assert two["text"].shape == (8, 40)
        assert [tokens.sentence(row) for row in two["text"]] == [world.vocabulary.decode(row) for row in one["text"]]


@pytest.mark.parametrize(
    "world, split, told, message",
    [
        ("mach", "train", {}, "did you mean 'match'"),
        ("match", "tain", {}, "did you mean 'train'"),
        ("match", "train", {"tokens": Bytes(), "length": 5}, "got rows of length 5"),
        ("goto", "train", {"tokens": Words(make_world("match").vocabulary), "length": 9}, "not in the vocabulary"),
    ],
)
def test_what_can_not_be_played_is_told_in_one_line(world, split, told, message):
    with pytest.raises(ValueError, match=message) as error:
        take(world, split, 1, **told)
    assert "\n" not in str(error.value)


def test_one_picture_model_learns_worlds_of_several_sizes_and_clips():
    told = []
    vae, records = train_pixels(["match", "manual", "chase"], 30, generator(), SMALL, every=10, report=told.append)
    assert [record["step"] for record in records] == [10, 20, 30]
    assert told == records
    assert records[-1]["loss"] < 0.85 * records[0]["loss"]
    assert vae.config == SMALL and not vae.training
    again, same = train_pixels(["match", "manual", "chase"], 10, generator(), SMALL, every=10)
    assert same[0]["loss"] == train_pixels(["match", "manual", "chase"], 10, generator(), SMALL, every=10)[1][0]["loss"]
    assert again.posterior(take("chase", "test", 1)[0]["video"]).mean.shape == (8, 3, 64, 4)


def models(world):
    torch.manual_seed(0)
    tokens = Words(make_world(world).vocabulary)
    text = TextVAE(len(tokens), VAEConfig(width=16, layers=1, heads=2, latent=4))
    return text, tokens, PixelVAE(SMALL)


@pytest.mark.parametrize("world", ["match", "chase"])
def test_what_is_measured_is_plain_data_of_held_out_pairs(world):
    text, tokens, pixels = models(world)
    config = UnifiedConfig(dim=16, queries=2, heads=2)
    model, records = train_unified(text, tokens, pixels, world, 10, 12, generator(), config, batch=8, every=4)
    assert records[-1]["loss"] < records[0]["loss"]
    figures = measure(model, tokens, world, 10, generator(1), count=40)
    assert json.loads(json.dumps(figures)) == figures
    assert figures["world"] == world and figures["numbers"] == 2 * 16
    for name in ("text_accuracy", "sentence_accuracy", "close"):
        assert 0.0 <= figures[name]["value"] <= 1.0 and figures[name]["n"] == 64  # full batches of 32
    assert figures["psnr"]["value"] < 30.0
    examples = figures["examples"]
    assert len(examples) == 6
    seen = next(play(world, "test", 32, generator(1), tokens, 10))
    assert [row["text"] for row in examples] == [tokens.sentence(text) for text in seen["text"][:6]]
    shape = seen["image"].shape[1:] if world == "match" else (64, 3 * 64, 3)  # frames side by side
    assert all(torch.tensor(row[key]).shape == shape for row in examples for key in ("image", "decoded_image"))
    if world == "match":
        assert torch.equal(torch.tensor(examples[2]["image"]), seen["image"][2].long())


def test_a_state_that_holds_everything_is_measured_as_perfect(monkeypatch):
    text, tokens, pixels = models("match")
    model = Unified(text, pixels, 10, {"image": (64, 64, 3)}, UnifiedConfig(dim=16, queries=2, heads=2))
    seen = next(play("match", "test", 32, generator(1), tokens, 10))
    monkeypatch.setattr(model, "decode", lambda _: {"text": seen["text"], "image": seen["image"] / 255})
    figures = measure(model, tokens, "match", 10, generator(1), count=32)
    assert [figures[name]["value"] for name in ("text_accuracy", "sentence_accuracy", "close")] == [1.0, 1.0, 1.0]
    assert figures["psnr"]["value"] > 100.0
    assert all(
        row["text"] == row["decoded_text"] and row["image"] == row["decoded_image"] for row in figures["examples"]
    )


def test_psnr_of_a_known_error():
    true = torch.zeros(2, 8, 8, 3)
    drawn = true + torch.tensor([0.1, 0.01])[:, None, None, None]
    torch.testing.assert_close(_psnr(drawn, true), torch.tensor([20.0, 40.0]))


def test_observations_move_together():
    moved = Observations({"text": torch.zeros(2, 3)}).to(torch.device("meta"))
    assert isinstance(moved, Observations) and moved["text"].device.type == "meta"
