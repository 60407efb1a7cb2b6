"""A language of twelve sentences and a latent model of it whose every integral is a sum over a fine grid.

p(x|z) is a softmax of scores of the sentences that bend with z, q(z|x) a fixed Gaussian, neither well chosen: all terms
of Eq. (5) and (6) are well above 0. The trapezoid rule converges faster than any power of the grid's step for smooth
integrands that vanish at its ends; halving the step moves no figure by more than 1e-9.
"""

import math

import torch
from torch import Tensor

from encoders.gaussian import Gaussian
from encoders.text.elbo import log_density

VERBS, THINGS = range(1, 5), range(5, 8)
SENTENCES = torch.tensor([[verb, thing, 0] for verb in VERBS for thing in THINGS])  # (12, 3)
SENTENCES[::3, 2] = 8
DATA = torch.arange(12, 0, -1, dtype=torch.float64) / 78.0  # p_data
LENGTHS = (SENTENCES > 0).sum(dim=1)


class ToyLanguage:
    """A LatentText with latents (1, dim) of `dim` 1 or 2; prior "normal" or "mixture"."""

    def __init__(self, prior: str = "normal", dim: int = 1, step: float = 0.1, reach: float = 8.0) -> None:
        self.prior = prior
        angle = torch.arange(12, dtype=torch.float64) * (2 * math.pi / 12)
        ring = torch.stack([2.0 * angle.cos(), 2.0 * angle.sin()], dim=1)
        self.codes = ring if dim == 2 else torch.linspace(-2.5, 2.5, 12, dtype=torch.float64)[:, None]
        axis = torch.arange(-reach, reach + step / 2, step, dtype=torch.float64)
        self.grid = torch.cartesian_prod(*[axis] * dim).reshape(-1, 1, dim)  # (M, 1, dim)
        self.cell = step**dim

    def posterior(self, x: Tensor) -> Gaussian:
        codes = self.codes[which(x)][:, None]
        return Gaussian(0.9 * codes + 0.2, -2.0 + 0.4 * torch.sin(3.0 * codes))

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        return self.log_laws(z).gather(1, which(x)[:, None])[:, 0]

    def log_prior(self, z: Tensor) -> Tensor:
        flat = z.flatten(1)
        if self.prior == "normal":
            return -0.5 * (flat**2 + math.log(2 * math.pi)).sum(dim=1)
        middles = torch.tensor([-1.5, 0.0, 1.5], dtype=z.dtype)
        weights = torch.tensor([0.3, 0.2, 0.5], dtype=z.dtype).log()
        squares = ((flat[:, None] - middles[:, None]) ** 2).sum(dim=2) * math.e  # components of variance 1 / e
        return (weights - 0.5 * (squares + flat.shape[1] * (math.log(2 * math.pi) - 1.0))).logsumexp(dim=1)

    def log_laws(self, z: Tensor) -> Tensor:
        """log p(x|z) of all sentences: (B, 12)."""
        flat = z.flatten(1)
        scores = 2.0 * flat @ self.codes.T - (self.codes**2).sum(dim=1)
        turns = torch.arange(12, dtype=torch.float64)
        return (scores + 0.8 * torch.sin(2.0 * flat.sum(dim=1, keepdim=True) + turns)).log_softmax(dim=1)

    def integrate(self, values: Tensor) -> Tensor:
        """Sum over the grid: (..., M) -> (...)."""
        return values.sum(dim=-1) * self.cell

    def log_posteriors(self, q: Gaussian) -> Tensor:
        """log q(z|x) on the grid: (12, M)."""
        parts = [log_density(Gaussian(m[None], v[None]), self.grid) for m, v in zip(*q, strict=True)]
        return torch.stack(parts)

    def log_joint(self) -> Tensor:
        """log p(x, z) on the grid: (12, M)."""
        return self.log_laws(self.grid).T + self.log_prior(self.grid)

    def log_evidence(self) -> Tensor:
        """log p(x): (12,)."""
        return self.log_joint().logsumexp(dim=1) + math.log(self.cell)

    def elbo(self, q: Gaussian) -> Tensor:
        """ELBO(x) with posteriors q: (12,), differentiable in q."""
        log_q = self.log_posteriors(q)
        return self.integrate(log_q.exp() * (self.log_joint() - log_q))

    def terms(self) -> dict[str, float]:
        """Every term of Eq. (5), each by an integral of its own."""
        log_q = self.log_posteriors(self.posterior(SENTENCES))
        q, log_laws, log_prior = log_q.exp(), self.log_laws(self.grid).T, self.log_prior(self.grid)
        mixture = (q * DATA[:, None]).sum(dim=0)
        log_mixture = (log_q + DATA.log()[:, None]).logsumexp(dim=0)
        return {
            "elbo": mean(self.elbo(self.posterior(SENTENCES))),
            "realisation": mean(self.integrate(q * log_laws)),
            "rate": mean(self.integrate(q * (log_q - log_prior))),
            "information": mean(self.integrate(q * (log_q - log_mixture))),
            "matching": self.integrate(mixture * (log_mixture - log_prior)).item(),
        }

    def gap(self, q: Gaussian) -> Tensor:
        """KL(q(z|x) || p(z|x)): (12,)."""
        log_q = self.log_posteriors(q)
        log_true = self.log_joint() - self.log_evidence()[:, None]
        return self.integrate(log_q.exp() * (log_q - log_true))

    def best(self, starts: tuple[float, ...] = (-1.0, 0.0, 1.0)) -> Gaussian:
        """The Gaussians of highest ELBO, by quasi-Newton steps on the integral from several starts."""
        own = self.posterior(SENTENCES)
        found = [self._climb(Gaussian(own.mean + start, own.log_variance)) for start in starts]
        which_best = torch.stack([self.elbo(q) for q in found]).argmax(dim=0)
        rows = torch.arange(12)
        return Gaussian(*(torch.stack(parts)[which_best, rows] for parts in zip(*found, strict=True)))

    def _climb(self, q: Gaussian) -> Gaussian:
        parts = [part.clone().requires_grad_() for part in q]
        steps = torch.optim.LBFGS(
            parts, max_iter=300, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
        )

        def loss():
            steps.zero_grad()
            total = -self.elbo(Gaussian(*parts)).sum()
            total.backward()
            return total

        steps.step(loss)
        return Gaussian(*(part.detach() for part in parts))


def which(x: Tensor) -> Tensor:
    """Token rows (B, 3) -> numbers of sentences (B,)."""
    return (x[:, None] == SENTENCES).all(dim=2).int().argmax(dim=1)


def mean(values: Tensor) -> float:
    """E_data of values (12,)."""
    return (values * DATA).sum().item()


def sample(rows: int, generator: torch.Generator) -> Tensor:
    """Token rows (B, 3) drawn from the data."""
    return SENTENCES[torch.multinomial(DATA, rows, replacement=True, generator=generator)]
