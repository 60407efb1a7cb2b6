"""Text heads: what is said of a state s, p(x | s), three ways. Rows are those of `encoders.text.rows`.

    words           p(x | s) = prod_i p(x_i | s)                 no word knows of the others
    autoregressive  p(x | s) = prod_i p(x_i | x_<i, s)           Eq. (3), each word knows of those before it
    latent          p(x | s) = int p(x | z) p(z | s) dz          Eq. (11), words agree through z

A state that leaves two sentences open tells the first from the others: it mixes the words of both.
"""

import abc
import math

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from encoders.size import closest_shape, count_parameters
from encoders.text import sampling
from encoders.text.blocks import Transformer, causal
from encoders.text.prior import Prior
from encoders.text.rows import Head, cut, draw, log_likelihoods, special
from encoders.text.vae import TextVAE
from unienv.modality import PAD
from unienv.spelling import check_choice

HEADS = ("words", "autoregressive", "latent")

_LAYERS = 2
_ATTENTION = 1  # heads of attention: texts are short
_WIDTHS = range(8, 257, 2)
_COPIES = 8  # draws of noise and time for each row of flow matching; 2 were too few for the budget of the others
_EULER = 8  # steps of the flow's sampler, a block
_PARTICLES = 32  # draws of z for each row of a likelihood


class TextHead(nn.Module, abc.ABC):
    """p(x | s): states (B, S) to rows of tokens (B, L).

    Attributes:
        exact: whether `log_likelihood` is exact; otherwise it is too low on average.
    """

    exact = True

    @abc.abstractmethod
    def loss(self, state: Tensor, x: Tensor, generator: Generator) -> Tensor:
        """What training makes small, (), given rows that were said of the states."""

    @abc.abstractmethod
    def log_likelihood(self, state: Tensor, x: Tensor, generator: Generator) -> Tensor:
        """log p(x | s) in nats, (B,)."""

    @abc.abstractmethod
    def sample(self, state: Tensor, generator: Generator) -> Tensor:
        """x ~ p(x | s), (B, L)."""

    def size(self) -> int:
        """Numbers that turn a state into words, frozen ones included."""
        return sum(parameter.numel() for parameter in self.parameters())


class WordsHead(TextHead):
    """A network of one hidden layer that gives every place its own law of words.

    Args:
        state: S.
        vocabulary_size: V.
        length: L.
        width: of the hidden layer.
    """

    def __init__(self, state: int, vocabulary_size: int, length: int, width: int) -> None:
        super().__init__()
        begin, self.end, mask = special(vocabulary_size)
        self.think = nn.Sequential(nn.Linear(state, width), nn.GELU(), nn.Linear(width, length * width), nn.GELU())
        self.head = Head(width, vocabulary_size, never=(PAD, begin, mask))
        self.length = length

    def logits(self, state: Tensor) -> Tensor:
        """(B, L, V)."""
        return self.head(self.think(state).unflatten(1, (self.length, -1)))

    def loss(self, state: Tensor, x: Tensor, generator: Generator) -> Tensor:
        """-log p(x | s), a mean of rows."""
        return -self.log_likelihood(state, x, generator).mean()

    def log_likelihood(self, state: Tensor, x: Tensor, generator: Generator) -> Tensor:
        """log p(x | s), (B,); nothing is drawn."""
        del generator
        return log_likelihoods(self.logits(state), x).sum(dim=1)

    @torch.no_grad()
    def sample(self, state: Tensor, generator: Generator) -> Tensor:
        """All words at once, (B, L)."""
        return cut(draw(self.logits(state), 1.0, generator), self.end)


class AutoregressiveHead(TextHead):
    """A causal transformer that reads the state first and then its own words.

    Args:
        state: S.
        vocabulary_size: V.
        length: L.
        width: of the residual stream.
    """

    def __init__(self, state: int, vocabulary_size: int, length: int, width: int) -> None:
        super().__init__()
        self.begin, self.end, mask = special(vocabulary_size)
        self.open = nn.Sequential(nn.Linear(state, width), nn.GELU(), nn.Linear(width, width))
        self.embed = nn.Embedding(vocabulary_size, width)
        self.transformer = Transformer(width, _LAYERS, _ATTENTION)
        self.head = Head(width, vocabulary_size, never=(PAD, self.begin, mask))
        self.length = length

    def loss(self, state: Tensor, x: Tensor, generator: Generator) -> Tensor:
        """-log p(x | s), a mean of rows."""
        return -self.log_likelihood(state, x, generator).mean()

    def log_likelihood(self, state: Tensor, x: Tensor, generator: Generator) -> Tensor:
        """log p(x | s), (B,); nothing is drawn."""
        del generator
        read = self.embed(functional.pad(x[:, :-1], (1, 0), value=self.begin)) + self.open(state)[:, None]
        positions = torch.arange(read.shape[1], device=read.device)
        hidden, _ = self.transformer(read, positions, causal(positions, positions))
        return log_likelihoods(self.head(hidden), x).sum(dim=1)

    @torch.no_grad()
    def sample(self, state: Tensor, generator: Generator) -> Tensor:
        """One word at a time on top of a cache, (B, L)."""
        opened, past = self.open(state)[:, None], None
        said = [torch.full((len(state), 1), self.begin, device=state.device)]
        for place in torch.arange(self.length, device=state.device).split(1):
            hidden, past = self.transformer(self.embed(said[-1]) + opened, place, past=past)
            said.append(draw(self.head(hidden), 1.0, generator))
        return cut(torch.cat(said[1:], dim=1), self.end)


class LatentHead(TextHead):
    """The pretrained p(x | z) of a text VAE, frozen, behind a flow p(z | s) that learns the latents of what is said.

    Args:
        state: S.
        vae: q(z | x) and p(x | z), of which only the second is used to speak.
        length: L, a multiple of the VAE's patch.
        width: of the flow.
        block: latents that the flow generates together. One at a time is learned soonest: a latent then follows from
            the finished one before it, rather than from one that is as noised as itself.
    """

    exact = False

    def __init__(self, state: int, vae: TextVAE, length: int, width: int, block: int = 1) -> None:
        super().__init__()
        self.vae = vae.requires_grad_(False)
        self.latents = length // vae.config.patch
        self.prior = Prior(vae.config.latent, width, _LAYERS, _ATTENTION, block, context=state)

    def loss(self, state: Tensor, x: Tensor, generator: Generator) -> Tensor:
        """Flow matching of z ~ q(z | x) given s, at several times and noises a row: they cost less than states."""
        with torch.no_grad():
            z = self.vae.posterior(x.repeat(_COPIES, 1)).sample(generator)
        everywhere = torch.ones(z.shape[:2], dtype=torch.bool, device=z.device)
        return self.prior.given(state.repeat(_COPIES, 1)).loss(z, everywhere, generator, boundary=0.0)

    @torch.no_grad()
    def log_likelihood(self, state: Tensor, x: Tensor, generator: Generator) -> Tensor:
        """log of the mean p(x | z) over draws of z ~ p(z | s), (B,): too low on average, by Jensen's inequality."""
        terms = [self.vae.log_likelihood(x, self._latents(state, generator)) for _ in range(_PARTICLES)]
        return torch.stack(terms).logsumexp(dim=0) - math.log(_PARTICLES)

    @torch.no_grad()
    def sample(self, state: Tensor, generator: Generator) -> Tensor:
        """x ~ p(x | z), z ~ p(z | s), (B, L)."""
        return self.vae.sample(self._latents(state, generator), 1.0, generator)

    def size(self) -> int:
        """The flow and the decoder: the encoder has no part in speaking."""
        vae = self.vae
        parts = [self.prior, vae.open, vae.decoder, vae.spread, vae.head]
        return sum(parameter.numel() for part in parts for parameter in part.parameters())

    def _latents(self, state: Tensor, generator: Generator) -> Tensor:
        return sampling.sample(self.prior.given(state), len(state), self.latents, generator, _EULER)


def make_head(
    name: str, state: int, vocabulary_size: int, length: int, parameters: int, vae: TextVAE | None = None
) -> TextHead:
    """A head of about as many parameters as asked for, frozen ones included.

    Args:
        name: one of HEADS.
        state: S.
        vocabulary_size: V.
        length: L.
        parameters: of the head, missed by 5 percent at most.
        vae: of the latent head, which alone needs it.

    Raises:
        ValueError: one line, for no such head, a latent head without a VAE, or a size that cannot be met.
    """
    check_choice("head", name, HEADS)
    if name == "latent":
        if vae is None:
            raise ValueError("head=latent expects a text VAE to speak with, got none: pass vae")
        build = lambda width: LatentHead(state, vae, length, width)  # noqa: E731
        with torch.device("meta"):
            spoken = build(_WIDTHS[0])
            frozen = spoken.size() - count_parameters(spoken)
        if parameters <= frozen:
            raise ValueError(
                f"head=latent has a frozen decoder of {frozen:,} parameters, got parameters={parameters:,}"
            )
    else:
        kind, frozen = {"words": WordsHead, "autoregressive": AutoregressiveHead}[name], 0
        build = lambda width: kind(state, vocabulary_size, length, width)  # noqa: E731
    return build(*closest_shape(build, [(width,) for width in _WIDTHS], parameters - frozen))
