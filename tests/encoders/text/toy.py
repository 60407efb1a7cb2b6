"""A language of 48 sentences with known probabilities, and a model trained on it."""

import itertools
import math

import torch
from torch import Tensor, nn

from encoders.text.tokens import Words
from unienv.modality import Vocabulary

TOKENS = Words(
    Vocabulary(["the", "red", "blue", "green", "cat", "dog", "fox", "owl", "runs", "sleeps", "flies", "now"])
)
SIZE, LENGTH = len(TOKENS), 8


def language() -> tuple[Tensor, Tensor]:
    """Sentences (48, 8) and their probabilities (48,): verbs fit animals, some end with an adverb, most do not."""
    rows, probabilities = [], []
    colours, animals = (("red", 0.5), ("blue", 0.3), ("green", 0.2)), ("cat", "dog", "fox", "owl")
    for (colour, chance), animal, asleep, adverb in itertools.product(colours, animals, (False, True), ("", "now")):
        verb = "sleeps" if asleep else "flies" if animal == "owl" else "runs"
        rows.append(TOKENS.row(f"the {colour} {animal} {verb} {adverb}", LENGTH))
        probabilities.append(chance / 4 * (0.4 if asleep else 0.6) * (0.25 if adverb else 0.75))
    return torch.tensor(rows), torch.tensor(probabilities)


def entropy() -> float:
    """Of the language, in nats a token."""
    _, probabilities = language()
    return per_token(-probabilities.log())


def per_token(nats: Tensor) -> float:
    """The mean over the language of nats of its sentences (48,), over its mean number of tokens."""
    rows, probabilities = language()
    return float((probabilities * nats).sum() / (probabilities * (rows != 0).sum(dim=1)).sum())


def draw(num: int, generator: torch.Generator) -> Tensor:
    """Sentences of the language, (num, 8)."""
    rows, probabilities = language()
    return rows[torch.multinomial(probabilities, num, replacement=True, generator=generator)]


def counts(samples: Tensor) -> Tensor:
    """How often each sentence of the language is among samples (num, 8): (48,)."""
    return (samples[:, None] == language()[0]).all(dim=2).sum(dim=0)


def train(model: nn.Module, steps: int, batch: int = 64, learning_rate: float = 2e-3) -> None:
    """Fit a model's "loss" to the language from weights that are always the same."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            spread = parameter.shape[1] ** -0.5
            parameter.data = torch.randn(parameter.shape, generator=generator) * spread * math.sqrt(1 / 3)
    optimiser = torch.optim.AdamW(model.parameters(), learning_rate, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        model.loss(draw(batch, generator), generator)["loss"].backward()  # type: ignore[operator]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
