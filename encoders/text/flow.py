"""Flow matching: a velocity field v(z, t) that carries data at t = 0 to normal noise at t = 1, and its density.

z_t = (1 - t) z0 + t z1,   z1 ~ N(0, I)                      the path
v(z, t) learns E[z1 - z0 | z_t = z]                          the velocity
d/dt [z; l] = [v; div v],  log p(z0) = log N(z_1; 0, I) + l_1   the density of what the field generates
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Generator, Tensor

Field = Callable[[Tensor, Tensor], Tensor]


def shift(latent: int) -> float:
    """Location of the logit of training times: 1 + 0.5 ln(d / 16).

    The more numbers a token's latent has, the more noise it takes to hide the token: the median of ln SNR(t) falls by
    ln d, which cancels the growth of the signal with d.
    """
    return 1.0 + 0.5 * math.log(latent / 16)


def draw_times(shape: tuple[int, ...], location: float, generator: Generator) -> Tensor:
    """Training times in (0, 1), logit-normal: logit t ~ N(location, 1), of a shape."""
    logits = torch.randn(shape, generator=generator, device=generator.device)
    return (location + logits).sigmoid()


def interpolate(z0: Tensor, z1: Tensor, t: Tensor) -> Tensor:
    """z_t (..., d) on the straight path from data z0 to noise z1, both (..., d), at times t (...)."""
    return torch.lerp(z0, z1, t[..., None])


def log_density(field: Field, z0: Tensor, probes: Tensor, steps: int = 32) -> Tensor:
    """Terms of log p(z0) in nats, a number a coordinate.

    Summed over coordinates whose velocity depends on no others, they are the log-density of those together. So where
    blocks do not meet, one solve gives the density of each, and one probe reaches into all of them at once.

    The solver is Runge-Kutta's of fourth order on times t = s^2, s even: near the data, densities are narrow and the
    field changes within a time as short as their width. The divergence is estimated by the same probes throughout:
    div v = E[e . (dv/dz)^T e] for every e with E[e e^T] = I (Hutchinson), or exactly if e e^T sum to I.

    The terms have a gradient in z0, through the whole of the solve, where z0 requires one (and gradients are enabled);
    the memory that takes grows with the steps, and the field must be twice differentiable.

    Args:
        field: z of z0's shape and t () -> velocity of that shape.
        z0: data, any shape.
        probes: (K, *shape), e; see `random_probe` and `every_probe`. The sum over K counts.
        steps: of the solver; 4 evaluations of the field each, with K gradients.

    Returns:
        z0's shape.
    """
    followed = z0.requires_grad and torch.is_grad_enabled()

    def slope(z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            # A copy: where the field knows z0 from elsewhere too, as a history, the divergence must not follow that.
            z = (z if followed else z.detach().requires_grad_()).clone()
            v = field(z, t)
            pulled = [e * torch.autograd.grad(v, z, e, retain_graph=True, create_graph=followed)[0] for e in probes]
        return v if followed else v.detach(), torch.stack(pulled).sum(dim=0)

    z, gained = z0 if followed else z0.detach(), torch.zeros_like(z0)
    times = torch.linspace(0.0, 1.0, steps + 1, dtype=z0.dtype, device=z0.device) ** 2
    for t, after in pairwise(times):
        h = after - t
        v1, d1 = slope(z, t)
        v2, d2 = slope(z + 0.5 * h * v1, t + 0.5 * h)
        v3, d3 = slope(z + 0.5 * h * v2, t + 0.5 * h)
        v4, d4 = slope(z + h * v3, after)
        z = z + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        gained = gained + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
    return gained - 0.5 * (z**2 + math.log(math.tau))


def random_probe(z: Tensor, generator: Generator) -> Tensor:
    """One probe (1, *shape) of fair signs: with e_i^2 = 1, the terms of div v itself come out exactly."""
    signs = torch.randint(2, z.shape, generator=generator, device=z.device)
    return (2 * signs - 1).to(z.dtype)[None]


def every_probe(z: Tensor, block: int) -> Tensor:
    """Probes for the exact divergence (block * d, *shape) of z (B, L, d) whose blocks of positions do not meet.

    Each is 1 at one coordinate of every block: what it collects from elsewhere is 0.
    """
    *_, length, latent = z.shape
    place = torch.arange(length, device=z.device)[:, None] % block * latent + torch.arange(latent, device=z.device)
    probes = place == torch.arange(min(block, length) * latent, device=z.device)[:, None, None]  # (K, L, d)
    return probes[:, None].expand(-1, *z.shape).to(z.dtype)
