"""A text VAE and its tokens, written and read again."""

import json

import pytest
import torch

from encoders.text.pretrained import load_text, save_text
from encoders.text.tokens import Bytes, learn_byte_pairs
from encoders.text.vae import TextVAE, VAEConfig
from tests.encoders.text import toy

SMALL = VAEConfig(width=16, layers=1, heads=2, latent=4, patch=2)
KINDS = {"words": toy.TOKENS, "bytes": Bytes(), "bpe": learn_byte_pairs(["a red ring", "a red disc"], 300)}


def saved(folder, tokens=toy.TOKENS):
    vae = TextVAE(len(tokens), SMALL)
    save_text(folder, vae, tokens)
    return vae


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_loaded_frozen(tmp_path, kind):
    tokens = KINDS[kind]
    vae = saved(tmp_path / "run" / "text", tokens)
    found, found_tokens = load_text(tmp_path / "run" / "text")
    assert (found_tokens.state(), len(found_tokens), found.config) == (tokens.state(), len(tokens), SMALL)
    x = torch.tensor([found_tokens.row("red", 8)])
    assert torch.equal(found.posterior(x).mean, vae.posterior(x).mean)
    assert not found.training and not any(parameter.requires_grad for parameter in found.parameters())


def test_loading_draws_no_random_numbers(tmp_path):
    saved(tmp_path)
    torch.manual_seed(0)
    load_text(tmp_path)
    drawn = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(3))


def test_files_appear_whole_and_replace_older_ones(tmp_path):
    saved(tmp_path)
    vae = saved(tmp_path, Bytes())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokens.json", "vae.json", "vae.safetensors"]
    assert torch.equal(load_text(tmp_path)[0].embed.weight, vae.embed.weight)


def test_tokens_must_be_those_of_the_model(tmp_path):
    with pytest.raises(ValueError, match="260 ids, got 16"):
        save_text(tmp_path, TextVAE(260, SMALL), toy.TOKENS)


@pytest.mark.parametrize("name", ["tokens.json", "vae.json", "vae.safetensors"])
@pytest.mark.parametrize("damage", [None, b"", b"{}", b'{"V": 16, "config": {"depth": 3}}', b"\xff\xfe\x00"])
def test_what_is_missing_or_damaged_is_told_in_one_line(tmp_path, name, damage):
    saved(tmp_path)
    (tmp_path / name).unlink() if damage is None else (tmp_path / name).write_bytes(damage)
    with pytest.raises(ValueError, match=f"{name} missing" if damage is None else "damaged") as error:
        load_text(tmp_path)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


@pytest.mark.parametrize("change", [{"V": 17}, {"config": {"width": 32}}])
def test_weights_of_another_model_are_refused(tmp_path, change):
    saved(tmp_path)
    shape = json.loads((tmp_path / "vae.json").read_text())
    changed = {key: {**shape[key], **value} if isinstance(value, dict) else value for key, value in change.items()}
    (tmp_path / "vae.json").write_text(json.dumps(shape | changed))
    with pytest.raises(ValueError, match="is damaged") as error:
        load_text(tmp_path)
    assert "\n" not in str(error.value)
