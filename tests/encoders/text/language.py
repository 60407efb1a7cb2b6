"""A language of four words with a known law: a Markov chain over words, and around each word's centre a narrow normal.

Everything about it can be computed: transitions, and the density of a sequence of latents by the forward algorithm.
"""

import torch
from torch.distributions import Normal

LENGTH, LATENT, BLOCK = 6, 4, 2
SPREAD = 0.2
CENTRES = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [-1, 1, 1, -1], [-1, -1, -1, -1]])
FIRST = torch.tensor([0.5, 0.3, 0.1, 0.1])
NEXT = torch.tensor([[0.7, 0.2, 0.1, 0], [0, 0.1, 0.6, 0.3], [0.25, 0.25, 0.25, 0.25], [0.5, 0, 0.1, 0.4]])


def words(batch, generator):
    """Sequences of words (B, L) of the chain."""
    rows = [torch.multinomial(FIRST, batch, replacement=True, generator=generator)]
    for _ in range(LENGTH - 1):
        rows.append(torch.multinomial(NEXT[rows[-1]], 1, generator=generator)[:, 0])
    return torch.stack(rows, dim=1)


def latents(tokens, generator):
    """Latents (B, L, d) of words (B, L)."""
    return CENTRES[tokens] + SPREAD * torch.randn(*tokens.shape, LATENT, generator=generator)


def nearest(z):
    """Words (B, L) of latents (B, L, d)."""
    return torch.cdist(z.flatten(0, 1), CENTRES).argmin(dim=1).unflatten(0, z.shape[:2])


def log_density(z):
    """log p(z) (B,) in nats, by the forward algorithm."""
    emitted = Normal(CENTRES, SPREAD).log_prob(z[:, :, None]).sum(dim=-1)  # (B, L, V)
    forward = FIRST.log() + emitted[:, 0]
    for i in range(1, z.shape[1]):
        forward = (forward[:, :, None] + NEXT.log()).logsumexp(dim=1) + emitted[:, i]
    return forward.logsumexp(dim=1)


def train(prior, draw, steps, generator, rate=5e-3):
    """Let a prior learn what `draw` draws."""
    optimiser = torch.optim.AdamW(prior.parameters(), lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps, pct_start=0.1)
    for _ in range(steps):
        z = draw()
        loss = prior.loss(z, torch.ones(z.shape[:2], dtype=torch.bool), generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
