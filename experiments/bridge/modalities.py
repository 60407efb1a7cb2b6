"""What a world says and shows together, through one state z~ and back: the key "modalities" of bridge.json."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from encoders.pixels import TILE, PixelConfig, PixelVAE
from encoders.text.corpus import SPLITS
from encoders.text.fit import Record, fit
from encoders.text.tokens import Tokens
from encoders.text.vae import TextVAE
from encoders.unified import Unified, UnifiedConfig
from unienv.actions import Actions
from unienv.adapt import make_vector
from unienv.modality import IMAGE, MODALITIES, PAD, TEXT, VIDEO
from unienv.spelling import check_choice

PIXELS = (IMAGE, VIDEO)

_PARTS = 10  # one of which is held out
_WORLDS = 64  # that are played side by side
_TILES = 256  # of pictures, a step of fitting a picture VAE
_TOGETHER = 32  # pairs that are decoded at once
_EXAMPLES = 6
_LR = 5e-3

Rewrite = Callable[[np.ndarray], np.ndarray]


class Observations(dict[str, Tensor]):
    """Rows by modality: text (B, L) int64, pixels (B, .., H, W, 3) uint8."""

    def to(self, device: torch.device) -> "Observations":
        """The same on a device."""
        return Observations({name: rows.to(device) for name, rows in self.items()})


def play(
    world: str, split: str, batch: int, generator: Generator, tokens: Tokens | None = None, length: int = 0
) -> Iterator[Observations]:
    """What a world says and shows along random play, for ever; a tenth of these pairs is held out by their content.

    Args:
        world: name, as of `make_vector`.
        split: "train" or "test": no text together with what is shown is in both.
        batch: B.
        generator: of the episodes and of the uniform actions; drawn from once.
        tokens: what texts are written in; None for the world's own ids.
        length: L of rows of tokens; without `tokens` L is the world's own.

    Raises:
        ValueError: one line, for an unknown world or split, or a text that is too long or of unknown words.
    """
    check_choice("split", split, SPLITS)
    env = make_vector(world, _WORLDS)
    vocabulary = env.vocabulary  # type: ignore[attr-defined]

    def rewrite(rows: np.ndarray) -> np.ndarray:
        if tokens is None:
            return rows.astype(np.int64)
        distinct, which = np.unique(rows, axis=0, return_inverse=True)
        written = [tokens.row(vocabulary.decode(row), length) for row in distinct]
        return np.array(written, np.int64)[which.reshape(-1)]

    seed = int(torch.randint(1 << 31, (), generator=generator, device=generator.device))
    return _stream(env, split, batch, seed, rewrite)


def _stream(env: Any, split: str, batch: int, seed: int, rewrite: Rewrite) -> Iterator[Observations]:
    actions, draws, seen = Actions(env.single_action_space), np.random.default_rng(seed), env.reset(seed=seed)[0]
    held: dict[str, np.ndarray] = {}
    names = [name for name in MODALITIES if name in seen]
    while True:
        rows = zip(*(seen[name] for name in names), strict=True)
        chosen = np.array([_is_held_out(row) == (split == "test") for row in rows])
        fresh = {name: seen[name][chosen] for name in names}
        held = {name: np.concatenate([held[name], fresh[name]]) for name in names} if held else fresh
        while len(held[TEXT]) >= batch:
            yield Observations(
                {
                    name: torch.from_numpy(rewrite(rows[:batch]) if name == TEXT else rows[:batch].copy())
                    for name, rows in held.items()
                }
            )
            held = {name: rows[batch:] for name, rows in held.items()}
        seen = env.step(actions.sample(draws, env.num_envs))[0]


def _is_held_out(row: Sequence[np.ndarray]) -> bool:
    digest = hashlib.blake2b(b"".join(part.tobytes() for part in row), digest_size=8).digest()
    return int.from_bytes(digest, "little") % _PARTS == 1


def train_pixels(
    worlds: Sequence[str],
    steps: int,
    generator: Generator,
    config: PixelConfig | None = None,
    lr: float = _LR,
    **told: Any,
) -> tuple[PixelVAE, list[Record]]:
    """A picture VAE of all that some worlds show, on the generator's device; the worlds take turns.

    Args:
        worlds: names.
        steps: of AdamW, each of about as many tiles whatever the size of the pictures.
        generator: of the play, of the weights and of the noise of z.
        config: shape and weight; None for the defaults.
        lr: the largest learning rate.
        told: `report`, `every` and `keep` of `encoders.text.fit`.
    """
    vae = _build(lambda: PixelVAE(config or PixelConfig()), generator)

    def loss(seen: Observations, generator: Generator) -> dict[str, Tensor]:
        terms = [vae.loss(pixels, generator) for name, pixels in seen.items() if name != TEXT]
        return {name: torch.stack([of[name] for of in terms]).mean() for name in terms[0]}

    streams = cycle([play(world, "train", _batch(world), generator) for world in worlds])
    records = fit(loss, vae.parameters(), (next(stream) for stream in streams), steps, lr, generator, **told)
    return vae.eval(), records


def train_unified(
    text: TextVAE,
    tokens: Tokens,
    pixels: PixelVAE,
    world: str,
    length: int,
    steps: int,
    generator: Generator,
    config: UnifiedConfig | None = None,
    batch: int = 16,
    lr: float = _LR,
    **told: Any,
) -> tuple[Unified, list[Record]]:
    """Psi and the readers of one world's text and pixels, on the generator's device.

    Args:
        text: q(z | x) and p(x | z); frozen from here on.
        tokens: that it reads.
        pixels: q(z | o) and p(o | z) of pictures; frozen from here on.
        world: name.
        length: L of rows of tokens.
        steps: of AdamW.
        generator: of the play and of the weights.
        config: shape; None for the defaults.
        batch: B.
        lr: the largest learning rate.
        told: `report`, `every` and `keep` of `encoders.text.fit`.
    """
    shapes = _shapes(world)
    model = _build(lambda: Unified(text, pixels, length, shapes, config or UnifiedConfig()), generator)
    batches = play(world, "train", batch, generator, tokens, length)
    return model, fit(model.loss, model.parameters(), batches, steps, lr, generator, **told)


@torch.no_grad()
def measure(
    model: Unified, tokens: Tokens, world: str, length: int, generator: Generator, count: int = 256
) -> dict[str, Any]:
    """What comes back from z~ of pairs that are held out, as plain data; means are {"value", "error", "n"}.

    Args:
        model: of the world's text and pixels.
        tokens: that its text is written in.
        world: name.
        length: L of rows of tokens.
        generator: of the play.
        count: pairs, in full batches.

    Returns:
        "world"; "numbers", Q D of z~; "text_accuracy", share of tokens; "sentence_accuracy", share of texts without a
        wrong token; "psnr" in dB, of pictures and clips, and "psnr_alone", of the picture VAE by itself, which bounds
        it; "close", share of pixels within 8 of 255; "examples" with pictures as nested whole numbers (H, W, 3), the
        frames of a clip side by side.
    """
    stream = play(world, "test", _TOGETHER, generator, tokens, length)
    model.eval()
    parts: dict[str, list[Tensor]] = {}
    examples: list[dict[str, Any]] = []
    for _ in range(-(-count // _TOGETHER)):
        seen = next(stream).to(generator.device)
        decoded = model.decode(model(seen))
        for name, values in _figures(model, seen, decoded).items():
            parts.setdefault(name, []).append(values)
        examples += _examples(seen, decoded, tokens, _EXAMPLES - len(examples))
    means = {name: _mean(torch.cat(values)) for name, values in parts.items()}
    return {"world": world, "numbers": model.config.queries * model.config.dim, **means, "examples": examples}


def _figures(model: Unified, seen: Observations, decoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Figures of each pair, (B,) each."""
    x, shown = seen[TEXT], _shown(seen)
    said = x != PAD
    right = (decoded[TEXT] == x) & said
    true = seen[shown].float() / 255
    grid = (true.shape[-3] // TILE, true.shape[-2] // TILE)
    alone = model.pixels.decode(model.pixels.posterior(seen[shown]).mean, grid)
    close = ((decoded[shown] - true).abs() <= 8 / 255).all(dim=-1)
    return {
        "text_accuracy": right.sum(dim=1) / said.sum(dim=1),
        "sentence_accuracy": (right == said).all(dim=1).float(),
        "psnr": _psnr(decoded[shown], true),
        "psnr_alone": _psnr(alone, true),
        "close": close.flatten(1).float().mean(dim=1),
    }


def _psnr(drawn: Tensor, true: Tensor) -> Tensor:
    """In dB, (B,): of pictures or clips in [0, 1], whole."""
    return -10.0 * (drawn - true).square().flatten(1).mean(dim=1).clamp(min=1e-12).log10()


def _examples(seen: Observations, decoded: Mapping[str, Tensor], tokens: Tokens, count: int) -> list[dict[str, Any]]:
    shown = _shown(seen)
    rows = zip(seen[TEXT], decoded[TEXT], seen[shown], (decoded[shown] * 255).round(), strict=True)
    return [
        {
            "text": tokens.sentence(text),
            "decoded_text": tokens.sentence(back),
            "image": _picture(image),
            "decoded_image": _picture(drawn),
        }
        for (text, back, image, drawn), _ in zip(rows, range(count), strict=False)
    ]


def _picture(pixels: Tensor) -> list:
    """(H, W, 3), or frames (F, H, W, 3) side by side, as nested whole numbers."""
    flat = pixels if pixels.ndim == 3 else pixels.transpose(0, 1).flatten(1, 2)
    return flat.to(torch.uint8).tolist()


def _mean(values: Tensor) -> dict[str, Any]:
    n = len(values)
    return {"value": float(values.mean()), "error": float(values.std() / math.sqrt(n)), "n": n}


def _shown(seen: Mapping[str, Tensor]) -> str:
    return VIDEO if VIDEO in seen else IMAGE


def _shapes(world: str) -> dict[str, tuple[int, ...]]:
    space = make_vector(world, 1).single_observation_space
    return {name: space[name].shape for name in PIXELS if name in space.spaces}  # type: ignore[attr-defined]


def _batch(world: str) -> int:
    tiles = sum(math.prod(shape[:-1]) // TILE**2 for shape in _shapes(world).values())
    return max(1, _TILES // tiles)


def _build(make: Callable[[], Any], generator: Generator) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(1 << 31, (), generator=generator, device=generator.device)))
        return make().to(generator.device)
