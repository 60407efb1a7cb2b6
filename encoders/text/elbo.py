"""What an average ELBO is made of, how far it lies below the likelihood and why: measured from draws, in nats.

    E ELBO   = E_q log p(x|z) - I_q(X;Z) - KL(qbar || p)       (5)  realisation, information, prior matching
    log p(x) = ELBO(x) + KL(q(z|x) || p(z|x))                  (6)  the inference gap, on average G
    E[-ELBO] = H(p_data) + KL(p_data || p) + G

with qbar(z) = E_data q(z|x). Values of S draws for each of B rows have the shape (S, B), in float64. Rows are either a
sample of the data or, with `probabilities` (B,), all of a language; then the only chance left is in the draws.
"""

import math
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from encoders.gaussian import Gaussian


class LatentText(Protocol):
    """A model of text, Eq. (4), and its inference model. Token rows x are (B, L) int64, latents z (B, L, d).

    `log_prior` must be the density itself. From an estimate with centred noise, such as Hutchinson's of a flow, the
    ELBO stays a bound on average, but IWAE does not: exp lifts centred noise, so that it may exceed log p(x).
    """

    def posterior(self, x: Tensor, /) -> Gaussian:
        """q(z|x)."""
        ...

    def log_likelihood(self, x: Tensor, z: Tensor, /) -> Tensor:
        """log p(x|z) (B,) in nats; `refine` needs its slope in z."""
        ...

    def log_prior(self, z: Tensor, /) -> Tensor:
        """log p(z) (B,) in nats; `refine` needs its slope in z."""
        ...


class Measured(NamedTuple):
    """Fields: value, its standard error, and n, how many rows (or, of a whole language, draws) it is a mean of."""

    value: float
    error: float
    n: int


class Bounds(NamedTuple):
    """Fields: what a quantity is at least and at most, on average; the same twice where it is estimated unbiased."""

    lower: Measured
    upper: Measured


class Split(NamedTuple):
    """Eq. (5), in nats a row: elbo = realisation - rate, and rate = information + matching.

    Fields:
        elbo: E ELBO.
        realisation: E_q log p(x|z).
        rate: E KL(q(z|x) || p), what a latent costs.
        information: I_q(X;Z), the share of the rate that tells rows apart.
        matching: KL(qbar || p), the share that a better prior would save.
    """

    elbo: Measured
    realisation: Measured
    rate: Measured
    information: Bounds
    matching: Bounds


class Gap(NamedTuple):
    """Eq. (6), in nats a row: total = amortisation + family.

    Fields:
        total: at most G on average, and closer to it the larger k.
        amortisation: what a posterior fitted to each row alone gains; at most what the best Gaussian would.
        family: what then still lacks, as far as k draws can tell; at most the gap of the fitted posterior.
        k: of the IWAE_k that stands in for log p(x).
    """

    total: Measured
    amortisation: Measured
    family: Measured
    k: int


def log_density(gaussian: Gaussian, z: Tensor) -> Tensor:
    """Log density (B,) of latents z (B, L, d), in float64."""
    mean, log_variance = gaussian.mean.double(), gaussian.log_variance.double()
    terms = (z.double() - mean) ** 2 * (-log_variance).exp() + log_variance + math.log(2.0 * math.pi)
    return -0.5 * terms.flatten(1).sum(dim=1)


def cross_log_density(gaussian: Gaussian, z: Tensor) -> Tensor:
    """Log density (B', B) of each latent z (B', L, d) under each of B Gaussians, in float64."""
    centre = gaussian.mean.double().mean(dim=0)  # products of numbers near 0 lose less to rounding
    parts = z.double() - centre, gaussian.mean.double() - centre, gaussian.log_variance.double()
    latents, mean, log_variance = (part.flatten(1) for part in parts)
    precision = (-log_variance).exp()
    constant = (mean**2 * precision + log_variance + math.log(2.0 * math.pi)).sum(dim=1)
    return (latents @ (mean * precision).T) - 0.5 * (latents**2 @ precision.T + constant)


def average(values: Tensor, probabilities: Tensor | None = None) -> Measured:
    """The mean of values (S, B) over draws and rows; ValueError, one line, when that is too few to tell an error."""
    draws, rows = values.shape
    if probabilities is None:
        if rows < 2:
            raise ValueError(f"a standard error over rows needs at least 2 of them, got {rows}")
        means = values.mean(dim=0)
        return Measured(means.mean().item(), means.std().item() / math.sqrt(rows), rows)
    law = _law(probabilities, values)
    if draws < 2:
        raise ValueError(f"a standard error over the draws for a row needs at least 2 of them, got {draws}")
    value = (values.mean(dim=0) * law).sum().item()
    return Measured(value, (values.var(dim=0) / draws * law**2).sum().sqrt().item(), draws * rows)


def perplexity(values: Tensor, lengths: Tensor, probabilities: Tensor | None = None) -> Measured:
    """exp(-E bound / E length) of values (S, B) of a bound on log p(x), such as `iwae`; at least the true one.

    Args:
        values: nats.
        lengths: (B,), tokens that p(x) is a law of: an end token counts if it is predicted.
        probabilities: (B,) of a whole language; None for a sample.

    Raises:
        ValueError: one line, for lengths of 0 or of other rows.
    """
    if lengths.shape != values.shape[1:] or not (lengths > 0).all():
        raise ValueError(f"lengths must be >= 1, one for each of {values.shape[1]} rows, got {lengths.tolist()}")
    sizes = lengths.to(values)
    size = (sizes.mean() if probabilities is None else (sizes * _law(probabilities, values)).sum()).item()
    mean = average(values, probabilities).value / size
    residual = average(values - mean * sizes, probabilities)  # of a ratio: long rows are far from it by being long
    return Measured(math.exp(-mean), math.exp(-mean) * residual.error / size, residual.n)


@torch.no_grad()
def split(
    model: LatentText, x: Tensor, draws: int, generator: Generator | None = None, probabilities: Tensor | None = None
) -> Split:
    """Eq. (5). The rate is estimated unbiased; to share it out takes qbar, the mixture of the posteriors of all rows.

    Of a whole language that mixture is qbar and so the shares are unbiased too. Of a sample of B rows it is not, and
    the information is bounded from both sides (Poole et al. 2019): from below by the mixture with a row's own
    posterior (InfoNCE, at most log B however large the information is), from above by the mixture without it, which
    overshoots where posteriors hardly overlap. What bounds the information from below bounds the matching from above.
    Rows that occur several times must stay so. Other bounds are the rate, and if the entropy H of the data is known,
    H + realisation <= information <= H (Barber and Agakov 2003), without a cap.

    The error of either bound is that of a mean of independent rows: to first order, a change of the mixture does not
    change the information, as E_qbar[q(z|x) / qbar(z)] = 1 for every x.

    Args:
        model: see there.
        x: (B, L), B >= 2.
        draws: z for each row; 2 or more with `probabilities`.
        generator: of the draws.
        probabilities: (B,) of a whole language; None for a sample.
    """
    q, rows = model.posterior(x), len(x)
    even = q.mean.new_full((1, rows), 1.0 / rows, dtype=torch.float64)
    log_law = (even[0] if probabilities is None else _law(probabilities, even)).log()
    realisation, rate, lower, upper = [], [], [], []
    for _ in range(draws):
        z = q.sample(generator)
        pairs = cross_log_density(q, z)
        own = pairs.diagonal()
        realisation.append(model.log_likelihood(x, z).double())
        rate.append(own - model.log_prior(z).double())
        lower.append(own - (pairs + log_law).logsumexp(dim=1))
        others = pairs.masked_fill(torch.eye(rows, dtype=torch.bool, device=pairs.device), -math.inf)
        upper.append(own - others.logsumexp(dim=1) + math.log(max(rows - 1, 1)))
    said, cost, least = torch.stack(realisation), torch.stack(rate), torch.stack(lower)
    most = torch.stack(upper) if probabilities is None else least
    return Split(
        elbo=average(said - cost, probabilities),
        realisation=average(said, probabilities),
        rate=average(cost, probabilities),
        information=Bounds(average(least, probabilities), average(most, probabilities)),
        matching=Bounds(average(cost - most, probabilities), average(cost - least, probabilities)),
    )


@torch.no_grad()
def log_weights(
    model: LatentText, x: Tensor, draws: int, generator: Generator | None = None, posterior: Gaussian | None = None
) -> Tensor:
    """log p(x|z) + log p(z) - log q(z|x), (draws, B), of draws from q: the model's own or another one. Mean: ELBO."""
    q = model.posterior(x) if posterior is None else posterior
    return torch.stack([_log_weight(model, x, z, q) for z in (q.sample(generator) for _ in range(draws))])


def iwae(weights: Tensor, k: int) -> Tensor:
    """Bounds IWAE_k on log p(x) (S / k, B) (Burda et al. 2016) from log weights (S, B): the log of k weights' mean.

    ELBO = IWAE_1 <= IWAE_k <= log p(x) on average. As groups are successive draws, IWAE_k <= IWAE_m holds for the
    means of the very same draws too, wherever k divides m. The bound rises very slowly, and its standard error says too
    little, where q is narrower than p(z|x): weights have an infinite variance below half of its variance.
    ValueError, one line, when k does not divide S.
    """
    return _groups(weights, k).logsumexp(dim=1) - math.log(k)


def gap(weights: Tensor, k: int) -> Tensor:
    """IWAE_k - ELBO (S / k, B) from log weights (S, B): at least 0, and on average at most the inference gap."""
    return iwae(weights, k) - _groups(weights, k).mean(dim=1)


def refine(
    model: LatentText,
    x: Tensor,
    steps: int = 300,
    rate: float = 0.1,
    draws: int = 8,
    generator: Generator | None = None,
) -> Gaussian:
    """Posteriors fitted to each row alone, by Adam on the ELBO, from the model's own: where they end, not the best.

    Args:
        model: its parameters stay as they are.
        x: (B, L).
        steps: of Adam, ever smaller.
        rate: of the first step: of log-variances, and of means in standard deviations of the model's own posterior.
        draws: for each row and step.
        generator: of the draws.

    Raises:
        ValueError: one line, when the model has no slope in z: a term without it would be left out of the fit.
    """
    with torch.no_grad():
        start = model.posterior(x)
        spread = (0.5 * start.log_variance).exp()
    _check_slopes(model, x, start.mean)
    shift, growth = (torch.zeros_like(spread, requires_grad=True) for _ in range(2))
    adam = torch.optim.Adam([shift, growth])
    for step in range(steps):
        adam.param_groups[0]["lr"] = rate * (1.0 - step / steps)
        with torch.enable_grad():
            parts = (start.mean + spread * shift, start.log_variance + growth)
            q = Gaussian(*(part.repeat(draws, 1, 1) for part in parts))
            # Gradients through the draws alone: unbiased, and free of noise where q is p(z|x) (Roeder et al. 2017).
            fixed = Gaussian(*(part.detach() for part in q))
            loss = -_log_weight(model, x.repeat(draws, 1), q.sample(generator), fixed).sum() / draws
        shift.grad, growth.grad = torch.autograd.grad(loss, (shift, growth))
        adam.step()
    return Gaussian(*(part.detach() for part in (start.mean + spread * shift, start.log_variance + growth)))


def split_gap(before: Tensor, after: Tensor, k: int, probabilities: Tensor | None = None) -> Gap:
    """Eq. (6), split by posteriors fitted to each row alone, see `refine`, and judged by draws they were not fitted to.

    Args:
        before: log weights (S, B) of the model's own posteriors, see `log_weights`; S a multiple of k.
        after: (S, B), those of the fitted ones.
        k: of the IWAE_k that stands in for log p(x).
        probabilities: (B,) of a whole language, whose rows need S >= 2 k; None for a sample.
    """
    if before.shape != after.shape:
        raise ValueError(f"log weights must be of equal shape, got {tuple(before.shape)} and {tuple(after.shape)}")
    elbo, fitted, likelihood = _groups(before, k).mean(dim=1), _groups(after, k).mean(dim=1), iwae(after, k)
    parts = likelihood - elbo, fitted - elbo, likelihood - fitted
    return Gap(*(average(part, probabilities) for part in parts), k=k)


def _log_weight(model: LatentText, x: Tensor, z: Tensor, q: Gaussian) -> Tensor:
    return model.log_likelihood(x, z).double() + model.log_prior(z).double() - log_density(q, z)


@torch.enable_grad()
def _check_slopes(model: LatentText, x: Tensor, z: Tensor) -> None:
    z = z.clone().requires_grad_()
    for name, value in (("log_likelihood", model.log_likelihood(x, z)), ("log_prior", model.log_prior(z))):
        if not value.requires_grad or torch.autograd.grad(value.sum(), z, allow_unused=True)[0] is None:
            raise ValueError(
                f"{name} must have a gradient in z to refine posteriors, got one cut off by detach or no_grad"
            )


def _groups(weights: Tensor, k: int) -> Tensor:
    """(S, B) -> (S / k, k, B)."""
    if k < 1 or len(weights) % k:
        raise ValueError(f"k must divide the number of draws, {len(weights)}, got k={k}")
    return weights.unflatten(0, (-1, k))


def _law(probabilities: Tensor, values: Tensor) -> Tensor:
    """Probabilities of the rows of values (S, B), checked: (B,)."""
    law, rows = probabilities.to(values), values.shape[1]
    if law.shape != (rows,) or not (law >= 0).all() or abs(law.sum().item() - 1.0) > 1e-5:
        got = f"{tuple(law.shape)} that sum to {law.sum().item():.6g}"
        raise ValueError(f"probabilities must be >= 0, ({rows},) like the rows and sum to 1, got {got}")
    return law
