"""The models that the study compares, at one size and tokens: latent text, autoregressive, masked."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Generator, Tensor, nn

from encoders.size import closest_shape, count_parameters
from encoders.text.autoregressive import Autoregressive
from encoders.text.latent import LatentLanguage
from encoders.text.masked import Masked
from encoders.text.prior import Prior
from encoders.text.vae import TextVAE
from experiments.bridge.plan import BridgeConfig

_STEPS = 32  # of the flow, a block
_BASELINES: dict[str, Callable[..., nn.Module]] = {"autoregressive": Autoregressive, "masked": Masked}


def make_vae(config: BridgeConfig, size: int, share: float = 1.0, **changes: Any) -> TextVAE:
    """A VAE over V = `size` ids, of a share of the width set, with some of its other settings changed."""
    return TextVAE(size, replace(config.vae, width=scaled(config.vae.width, config.vae.heads, share), **changes))


def make_prior(config: BridgeConfig, share: float = 1.0) -> Prior:
    """A prior of a share of the width set."""
    shape = config.prior
    return Prior(config.vae.latent, scaled(shape.width, shape.heads, share), shape.layers, shape.heads, shape.block)


def make_baseline(config: BridgeConfig, family: str, size: int, share: float = 1.0) -> nn.Module:
    """A baseline of about as many parameters as VAE and prior of that share have together."""
    with torch.device("meta"):
        target = sum(map(count_parameters, (make_vae(config, size, share), make_prior(config, share))))
    heads = config.prior.heads
    build = partial(_BASELINES[family], size, num_heads=heads)
    deep = config.vae.layers + config.prior.layers
    shapes = product(range(2 * heads, 4 * config.prior.width, 2 * heads), range(max(1, deep // 2), deep + 1))
    width, layers = closest_shape(build, shapes, target, tolerance=0.2)
    return build(width, layers)


def make_latent(config: BridgeConfig, vae: TextVAE, share: float = 1.0) -> LatentLanguage:
    """A VAE joined to a new prior."""
    return LatentLanguage(vae, make_prior(config, share), config.latent)


def scaled(width: int, heads: int, share: float) -> int:
    """A width, or a share of it as rotary attention takes it: a multiple of twice the heads."""
    return width if share == 1.0 else max(1, round(width * share / (2 * heads))) * 2 * heads


def write(model: nn.Module, prefix: Tensor, length: int, generator: Generator, guidance: float = 1.0) -> Tensor:
    """Texts (B, L) that go on from prefixes (B, P), drawn from a model of any family.

    The masked one shows a place a step, as the autoregressive one does: fewer steps are no draws from its law.
    """
    if isinstance(model, LatentLanguage):
        return model.sample(prefix, length, generator, _STEPS, guidance)
    if isinstance(model, Masked):
        return model.sample(prefix, length, steps=length, generator=generator)
    assert isinstance(model, Autoregressive)
    return model.sample(prefix, length, generator=generator)
