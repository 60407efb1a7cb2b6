"""The law of an action with parts: pi(a | h) = prod_i pi_i(a_i | h), the choices of all parts side by side in a row."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from agents.distribution import DivergedError


class Choices:
    """Choices among nvec = (k_1, .., k_n); rows have k = sum k_i entries, those of part i behind those of part i - 1.

    One part is an ordinary categorical law. Parts are independent given h, which the best actions of a world are too.

    Args:
        nvec: choices of each part.
    """

    def __init__(self, nvec: Sequence[int]) -> None:
        self.nvec = tuple(nvec)
        self.size = sum(self.nvec)
        self.offsets = torch.tensor([0, *self.nvec[:-1]]).cumsum(0)

    def log_probs(self, logits: Tensor) -> Tensor:
        """(B, k) logits -> (B, k) log-probabilities, those of each part adding up to 1."""
        return torch.cat([part.log_softmax(dim=-1) for part in logits.split(self.nvec, dim=-1)], dim=-1)

    def sample(self, log_probs: Tensor, generator: Generator) -> Tensor:
        """(B, n) int64: an action of each row.

        Raises:
            DivergedError: for log-probabilities that are no numbers.
        """
        if not log_probs.isfinite().all():
            raise DivergedError("the policy's logits are no numbers any more")
        parts = log_probs.exp().split(self.nvec, dim=-1)
        return torch.cat([torch.multinomial(part, 1, generator=generator) for part in parts], dim=1)

    def uniform(self, batch: int, generator: Generator) -> Tensor:
        """(B, n) int64: uniform actions."""
        device = generator.device
        return torch.stack([torch.randint(k, (batch,), generator=generator, device=device) for k in self.nvec], dim=1)

    def at(self, rows: Tensor, actions: Tensor) -> Tensor:
        """The sum over parts of the entries chosen: rows (B, ..., k) and actions (B, n) -> (B, ...)."""
        index = actions + self.offsets.to(actions.device)
        index = index.view(len(rows), *[1] * (rows.ndim - 2), -1).expand(*rows.shape[:-1], -1)
        return rows.gather(-1, index).sum(dim=-1)
