"""What is measured of models of text, as plain data: means are {"value", "error", "n"}, nats are those of a text.

Rows of tokens are (B, L) int64. With `probabilities` (B,) they are a whole table of texts and only the draws are left
to chance; without, they are a sample of texts, and errors are those of means over rows.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from encoders.gaussian import Gaussian
from encoders.text import elbo, flow
from encoders.text.autoregressive import Autoregressive
from encoders.text.elbo import Measured
from encoders.text.flops import flops
from encoders.text.latent import LatentLanguage
from encoders.text.masked import Masked
from encoders.text.tokens import Tokens
from encoders.text.vae import TextVAE
from unienv.modality import PAD

Law = tuple[Tensor, Tensor | None]

_TOGETHER = 128  # rows that a network reads at once
_STEPS = 16  # of the solver of log p(z): with 8, errors of a text are some tenths of a nat
_FIT_STEPS = 40  # of Adam, for the posterior of a row alone
_TIMES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_DRAWS, _EXAMPLES = 32, 8  # of reconstructions


def likelihood(
    model: nn.Module, rows: Tensor, probabilities: Tensor | None, generator: Generator, draws: int = 2
) -> dict[str, Any]:
    """-log p(x) of a model of any of the three families.

    Args:
        model: `Autoregressive`, exact; `Masked` or `LatentLanguage`, bounds from above. The prior of the latter has its
            density estimated with a probe a draw, without bias.
        rows: (B, L).
        probabilities: (B,), or None for a sample.
        generator: on the device of the model.
        draws: a row, of bounds.

    Returns:
        "kind": "exact" or "at most"; "nats": a mean, of a text; "perplexity": a mean, of a token.
    """
    rows, law = _moved(rows, probabilities, generator)
    values, exact = log_probabilities(model, rows, generator, draws)
    count = {"n": len(rows)} if exact else {}
    nats = elbo.average(-values, law)
    surprise = elbo.perplexity(values, (rows != PAD).sum(dim=1), law)
    return {
        "kind": "exact" if exact else "at most",
        "nats": plain(nats) | count,
        "perplexity": plain(surprise) | count,
    }


@torch.no_grad()
def log_probabilities(model: nn.Module, rows: Tensor, generator: Generator, draws: int) -> tuple[Tensor, bool]:
    """log p(x), or bounds from below, (draws, B) in float64, and whether they are exact: then all draws are alike."""
    if isinstance(model, Autoregressive):
        exact = torch.cat([model.log_probability(part) for part in rows.split(_TOGETHER)])
        return exact.double().expand(2, -1), True
    if isinstance(model, Masked):
        parts = rows.repeat(draws, 1).split(_TOGETHER)
        return -torch.cat([model.bound(part, generator) for part in parts]).double().unflatten(0, (draws, -1)), False
    if isinstance(model, LatentLanguage):
        return elbo.log_weights(Solved(model, generator, _STEPS), rows, draws, generator), False
    raise ValueError(f"expected an Autoregressive, Masked or LatentLanguage model, got {type(model).__name__}")


@dataclass
class Solved:
    """A `LatentText` whose log p(z) takes a stated effort.

    Attributes:
        latent: model.
        probe: draws the probe of an unbiased estimate; None for the density itself, block * d times as costly.
        steps: of the solver.
    """

    latent: LatentLanguage
    probe: Generator | None
    steps: int

    def posterior(self, x: Tensor) -> Gaussian:
        """q(z | x)."""
        return self.latent.posterior(x)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z), (B,)."""
        return self.latent.log_likelihood(x, z)

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z), (B,)."""
        density = self.latent.prior.log_density
        return torch.cat([density(part, self.probe, self.steps).sum(dim=1) for part in z.split(_TOGETHER)])


@torch.no_grad()
def reconstruction(
    vae: TextVAE, laws: Mapping[str, Law], tokens: Tokens, generator: Generator, times: Sequence[float] = _TIMES
) -> dict[str, Any]:
    """How many tokens come back from z ~ q(z|x), and from z_t, that with noise as of time t; the likeliest are taken.

    Args:
        vae: q(z|x) and p(x|z).
        laws: rows (B, L) by split, and probabilities (B,) or None.
        tokens: to read examples.
        generator: on the device of the model.
        times: t in (0, 1].

    Returns:
        "accuracy": means by split; "noised": [t, share] for each time; "examples": [text, reconstruction] of some rows.
        The last two are of the last split.
    """
    found = {split: _returned(vae, *_moved(*law, generator), 0.0, generator) for split, law in laws.items()}
    rows, law = _moved(*laws[list(laws)[-1]], generator)
    some = rows[:: max(1, len(rows) // _EXAMPLES)][:_EXAMPLES]
    back = vae.sample(vae.posterior(some).sample(generator), 0.0)
    return {
        "accuracy": {split: plain(accuracy) for split, accuracy in found.items()},
        "noised": [[t, _returned(vae, rows, law, t, generator).value] for t in times],
        "examples": [list(pair) for pair in zip(read(some, tokens), read(back, tokens), strict=True)],
    }


def _returned(vae: TextVAE, rows: Tensor, law: Tensor | None, t: float, generator: Generator) -> Measured:
    q, lengths = vae.posterior(rows), (rows != PAD).sum(dim=1)
    return share(torch.stack([_right(vae, rows, q, t, generator) for _ in range(_DRAWS)]), lengths, law)


def _right(vae: TextVAE, rows: Tensor, q: Gaussian, t: float, generator: Generator) -> Tensor:
    """How many tokens of each row come back from time t, (B,) float64."""
    z = q.sample(generator)
    noise = torch.randn(z.shape, generator=generator, device=z.device)
    z_t = flow.interpolate(z, noise, torch.full(z.shape[:-1], t, device=z.device))
    said = torch.cat([vae.decode(part).argmax(dim=2) for part in z_t.split(_TOGETHER)])
    return ((said == rows) & (rows != PAD)).sum(dim=1).double()


def share(counts: Tensor, lengths: Tensor, law: Tensor | None) -> Measured:
    """E counts / E lengths, with the error of a ratio: counts (S, B) of lengths (B,)."""
    sizes = lengths.double()
    size = float(sizes.mean() if law is None else (sizes * law).sum())
    ratio = elbo.average(counts, law).value / size
    residual = elbo.average(counts - ratio * sizes, law)
    return Measured(ratio, residual.error / size, residual.n)


def split(
    latent: LatentLanguage, rows: Tensor, probabilities: Tensor | None, generator: Generator, draws: int = 2
) -> dict[str, Any]:
    """Eq. (5), the ELBO and its parts in nats a text, see `elbo.split`; densities of the prior are estimated."""
    rows, law = _moved(rows, probabilities, generator)
    parts = elbo.split(Solved(latent, generator, _STEPS), rows, draws, generator, law)
    return {
        name: plain(part) if isinstance(part, Measured) else {side: plain(of) for side, of in part._asdict().items()}
        for name, part in parts._asdict().items()
    }


def gap_curve(
    latent: LatentLanguage,
    rows: Tensor,
    probabilities: Tensor | None,
    generator: Generator,
    ks: Sequence[int] = (1, 4, 16),
    operations: float = 2e12,
) -> dict[str, Any]:
    """Eq. (6), the inference gap: IWAE_k - ELBO for each k, and its parts, in nats a text.

    IWAE needs the density itself, with block * d gradients a step. So there are as many rows as a number of operations
    allows, at least 2: drawn from a table, or the first of a sample. Posteriors fitted to a row alone follow estimated
    densities and are judged by the exact one.

    Args:
        latent: model.
        rows: (B, L), B >= 2.
        probabilities: (B,), or None for a sample.
        generator: on the device of the model.
        ks: each divides the last.
        operations: FLOPs that this may take.

    Returns:
        "ks"; "values": means, one a k; "amortisation", "family" and "total", means, with an IWAE of "k" draws; and what
        was chosen, "rows" and "solver_steps".
    """
    rows, law = _moved(rows, probabilities, generator)
    most = max(2, int(operations / gap_operations(latent, rows[:1], ks[-1])))
    if law is not None:
        rows = rows[torch.multinomial(law, most, replacement=True, generator=generator)]
    rows = rows[:most]
    exact = Solved(latent, None, _STEPS)
    before = elbo.log_weights(exact, rows, ks[-1], generator)
    fitted = elbo.refine(Solved(latent, generator, _STEPS), rows, _FIT_STEPS, draws=1, generator=generator)
    after = elbo.log_weights(exact, rows, ks[-1], generator, fitted)
    parts = elbo.split_gap(before, after, ks[-1])
    return {
        "ks": list(ks),
        "values": [plain(elbo.average(elbo.gap(before, k))) for k in ks],
        **{name: plain(getattr(parts, name)) for name in ("amortisation", "family", "total")},
        "k": parts.k,
        "rows": len(rows),
        "solver_steps": _STEPS,
    }


def gap_operations(latent: LatentLanguage, row: Tensor, k: int) -> float:
    """FLOPs of `gap_curve` for one row (1, L), counted on one step of the solver."""
    z = latent.posterior(row).mean.detach()
    exact = flops(lambda: latent.prior.log_density(z, None, steps=1))
    probe, z = Generator(z.device), z.requires_grad_()
    slope = flops(lambda: torch.autograd.grad(latent.prior.log_density(z, probe, steps=1).sum(), z))
    return _STEPS * (2 * k * exact + _FIT_STEPS * slope)


def mean_length(rows: Tensor, law: Tensor | None) -> float:
    """Tokens of a text on average, of rows (B, L) by their law (B,) or all alike."""
    lengths = (rows != PAD).sum(dim=1).double()
    return float(lengths.mean() if law is None else (lengths * law).sum())


def read(rows: Tensor, tokens: Tokens) -> list[str]:
    """Texts of rows (B, L), each up to its first end."""
    return [tokens.sentence(row) for row in rows.tolist()]


def speeds(
    training: Mapping[str, Callable[[], int]], generation: Mapping[str, Callable[[], int]], repeats: int = 5
) -> dict[str, dict[str, float]]:
    """Tokens a second of models by name, in turns, so that whatever else the machine does hits all of them alike.

    Args:
        training: steps of training; each gives the number of tokens that it took, padding left out.
        generation: draws of texts; likewise.
        repeats: of each, after one that does not count; the median of the rates is given.

    Returns:
        "training" and "generation" by name.
    """
    calls = {(name, "training"): call for name, call in training.items()}
    calls |= {(name, "generation"): call for name, call in generation.items()}
    rates: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for _ in range(1 + repeats):
        for key, call in calls.items():
            rates[key].append(_rate(call))
    found: dict[str, dict[str, float]] = {}
    for (name, what), each in rates.items():
        found.setdefault(name, {})[what] = statistics.median(each[1:])
    return found


def _rate(call: Callable[[], int]) -> float:
    start = time.perf_counter()
    tokens = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return tokens / (time.perf_counter() - start)


def plain(measured: Measured) -> dict[str, Any]:
    """A mean as JSON has it."""
    return measured._asdict()


def _moved(rows: Tensor, probabilities: Tensor | None, generator: Generator) -> tuple[Tensor, Tensor | None]:
    device = generator.device
    return rows.to(device), None if probabilities is None else probabilities.to(device)
