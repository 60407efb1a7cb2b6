"""A trained text VAE on disk, q(z | x) and p(x | z), with the tokens that it reads.

vae.safetensors    weights
vae.json           V, and the shape
tokens.json        see `encoders.text.tokens`
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from encoders.tensors import load_tensors, save_tensors
from encoders.text.tokens import Tokens, load_tokens, save_tokens
from encoders.text.vae import TextVAE, VAEConfig
from unienv.aside import write_aside
from unienv.errors import named

_WEIGHTS, _SHAPE, _TOKENS = "vae.safetensors", "vae.json", "tokens.json"


def save_text(folder: Path, vae: TextVAE, tokens: Tokens) -> None:
    """Write a model and its tokens into a folder, each file aside and then into place.

    Raises:
        ValueError: tokens of another number than the model reads.
    """
    size = vae.embed.num_embeddings
    if size != len(tokens):
        raise ValueError(f"expected the tokens that the model was trained on, {size} ids, got {len(tokens)}")
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / _WEIGHTS, vae.state_dict())
    write_aside(folder / _SHAPE, json.dumps({"V": size, "config": asdict(vae.config)}))
    save_tokens(folder / _TOKENS, tokens)


def load_text(folder: Path) -> tuple[TextVAE, Tokens]:
    """The inverse of `save_text`, on the CPU; frozen, for use and not for training. No generator is drawn from.

    Raises:
        ValueError: one line, when a file is missing, damaged or of another model.
    """
    missing = [name for name in (_SHAPE, _WEIGHTS, _TOKENS) if not (folder / name).exists()]
    if missing:
        raise ValueError(f"there is no text model in {folder}: {', '.join(missing)} missing")
    tokens, weights = load_tokens(folder / _TOKENS), load_tensors(folder / _WEIGHTS)
    try:
        vae = _make(json.loads((folder / _SHAPE).read_text(encoding="utf-8")), len(tokens))
        vae.load_state_dict(weights)
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise ValueError(f"the text model in {folder} is damaged: {named(error)[:300]}") from None
    return vae.requires_grad_(False).eval(), tokens


def _make(shape: dict[str, Any], size: int) -> TextVAE:
    if shape["V"] != size:
        raise ValueError(f"the model reads {shape['V']} ids, and {_TOKENS} has {size}")
    with torch.random.fork_rng(devices=[]):
        return TextVAE(size, VAEConfig(**shape["config"]))
