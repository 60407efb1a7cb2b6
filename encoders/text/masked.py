"""Masked diffusion: text as the recovery of what is hidden, in any order (LLaDA, Nie et al. 2025)."""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from encoders.text.blocks import Transformer
from encoders.text.rows import Head, cut, draw, per_token, room, special
from unienv.modality import PAD


class Masked(nn.Module):
    """A transformer that sees all places of a row and predicts those that are hidden.

    Padding is a token like others here. Left in sight it would tell how long a text is, and the bound would be one of
    p(x | length); hidden and predicted, it costs nothing that is not known from the end.

    `begin` stands in front of every row. Without it a row of hidden tokens would look the same from all its places, as
    rotary positions know distances only.

    Args:
        vocabulary_size: V, special ids included, see `encoders.text.rows`.
        width: of the residual stream.
        num_layers: blocks.
        num_heads: attention heads.
    """

    def __init__(self, vocabulary_size: int, width: int = 128, num_layers: int = 4, num_heads: int = 4) -> None:
        super().__init__()
        self.begin, self.end, self.mask = special(vocabulary_size)
        self.embed = nn.Embedding(vocabulary_size, width)
        self.transformer = Transformer(width, num_layers, num_heads)
        self.head = Head(width, vocabulary_size, never=(self.begin, self.mask))

    def forward(self, seen: Tensor) -> Tensor:
        """Tokens, `mask` where they are hidden, (B, L) -> logits of what stands at each place, (B, L, V)."""
        read = functional.pad(seen, (1, 0), value=self.begin)
        positions = torch.arange(read.shape[1], device=read.device)
        hidden, _ = self.transformer(self.embed(read), positions)
        return self.head(hidden[:, 1:])

    def bound(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """An upper bound of -log p(x) in nats, (B,), estimated with one draw a row. x (B, L).

            -log p(x) <= E_{t ~ U(0, 1)} 1/t sum_{i hidden} -log p(x_i | x_seen),   each place hidden with probability t
                       = E_{n ~ U{1..L}} L/n sum_{i hidden} -log p(x_i | x_seen),   n places hidden

        The second line is the first with t integrated out, and what is drawn here: its variance is finite.
        """
        batch, length = x.shape
        numbers = torch.randint(1, length + 1, (batch, 1), generator=generator, device=x.device)
        order = torch.rand(x.shape, generator=generator, device=x.device).argsort(dim=1)
        return self.cost(x, order < numbers) * length / numbers[:, 0]

    def cost(self, x: Tensor, hide: Tensor) -> Tensor:
        """sum_{i hidden} -log p(x_i | x_seen), (B,). x (B, L), hide (B, L) bool."""
        logits = self(x.masked_fill(hide, self.mask))
        return (functional.cross_entropy(logits.transpose(1, 2), x, reduction="none") * hide).sum(dim=1)

    def loss(self, x: Tensor, generator: Generator | None = None) -> dict[str, Tensor]:
        """Terms in nats a token that is not padding. x (B, L)."""
        return {"loss": per_token(self.bound(x, generator), x)}

    @torch.no_grad()
    def sample(
        self, prefix: Tensor, length: int, steps: int, temperature: float = 1.0, generator: Generator | None = None
    ) -> Tensor:
        """x ~ p(x | prefix): all is hidden, and each step draws and shows an equal share of the places.

        Places are shown in random order, that of the bound. To show first what is likeliest, as LLaDA does, makes
        likely texts yet likelier: those are no draws from p.

        Args:
            prefix: (B, P) tokens that texts begin with, P from 0 to L, padded where they are shorter.
            length: L.
            steps: passes of the network, from 1 (all places at once) to L (one at a time).
            temperature: of each token; 0 takes the likeliest.
            generator: of the draws.

        Returns:
            (B, L).

        Raises:
            ValueError: no steps, or a prefix longer than L.
        """
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        x = room(prefix, length)
        x = x.masked_fill(x == PAD, self.mask)
        hide = x == self.mask
        unknown = hide.sum(dim=1, keepdim=True)
        order = torch.rand(x.shape, generator=generator, device=x.device).masked_fill(~hide, torch.inf)
        ranks = order.argsort(dim=1).argsort(dim=1)  # of hidden places, from 0
        for step in range(1, steps + 1):
            drawn = draw(self(x), temperature, generator)
            x = torch.where((x == self.mask) & (ranks < unknown * step // steps), drawn, x)
        return cut(x, self.end)
