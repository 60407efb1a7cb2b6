"""Text into Psi by Eq. (11): z^text ~ q(z | x), by the q of a bridge that was trained before and stays as it is."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from encoders.distinct import Distinct
from encoders.image import in_working_precision
from encoders.text.tokens import Tokens, Words
from encoders.text.vae import TextVAE
from unienv.modality import PAD, Vocabulary

_NAMED = 3  # words that an error names


class Reader(nn.Module):
    """An environment's utterances (U, L) -> means of a frozen q(z | x), (U, L', d).

    Each word is spelled in the bridge's tokens, all but the first after a blank, so that an utterance becomes the very
    row that its text is for the bridge, its end included. Where there is nothing but padding, means are 0.

    Which word fell into a hash bucket of the environment nobody knows any more. It reads as one hidden token: q has
    learned to guess such a token by what stands before.

    Args:
        vae: of the bridge; frozen here.
        tokens: of the bridge.
        vocabulary: of the environment.

    Raises:
        ValueError: one line, when the bridge was trained on words and lacks some of the environment's.
    """

    pieces: Tensor  # (2, V, M): how a first word is spelled, and a later one; padded

    def __init__(self, vae: TextVAE, tokens: Tokens, vocabulary: Vocabulary) -> None:
        super().__init__()
        _check_known(tokens, vocabulary)
        spelled = [row for blank in ("", " ") for row in _spell(tokens, vocabulary, blank)]
        longest = max(map(len, spelled))
        rows = torch.tensor([row + [PAD] * (longest - len(row)) for row in spelled])
        self.register_buffer("pieces", rows.unflatten(0, (2, -1)))
        self.end = tokens.end
        self.vae = vae.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Reader":
        """A frozen model stays in evaluation."""
        del mode
        return super().train(False)

    def num_latents(self, length: int) -> int:
        """L', of utterances of L words: room for the longest words and an end."""
        return -(-(length * self.pieces.shape[2] + 1) // self.vae.config.patch)

    def rows(self, utterances: Tensor) -> Tensor:
        """Word ids (U, L) as rows of the bridge's tokens, (U, L' patch) int64."""
        first = (utterances != PAD).cumsum(dim=1) <= 1
        rows = self.pieces[(~first).long(), utterances].flatten(1)
        length = self.num_latents(utterances.shape[1]) * self.vae.config.patch
        rows = functional.pad(rows, (0, length - rows.shape[1]), value=PAD)
        rows = rows.gather(1, (rows == PAD).byte().argsort(dim=1, stable=True))  # pieces move together, in their order
        return rows.scatter(1, (rows != PAD).sum(dim=1, keepdim=True), self.end)

    @torch.no_grad()
    def forward(self, utterances: Tensor) -> Tensor:
        """Word ids (U, L) -> means (U, L', d) in float32, without a gradient."""
        return self.vae.posterior(self.rows(utterances)).mean


class LatentTextEncoder(nn.Module):
    """o^text -> z^text: a linear map of frozen latents, and learned places.

    Args:
        reader: frozen.
        length: L, words of an utterance.
        dim: D.
    """

    def __init__(self, reader: Reader, length: int, dim: int) -> None:
        super().__init__()
        self.grid = None
        self.reader = reader
        self.project = nn.Linear(reader.vae.config.latent, dim)
        self.place = nn.Parameter(torch.randn(reader.num_latents(length), dim) * 0.5)

    def forward(self, utterances: Distinct) -> Tensor:
        """Distinct utterances (U, L) and which of them (B,) -> (B, L', D)."""
        latents = self.project(self.reader(utterances.items)) + self.place
        return in_working_precision(latents[utterances.which])


def _spell(tokens: Tokens, vocabulary: Vocabulary, blank: str) -> list[list[int]]:
    """Pieces of padding, of each word after a blank, and of the buckets."""
    words = [tokens.encode(blank + word) for word in vocabulary.words]
    return [[], *words, *([[tokens.mask]] * vocabulary.buckets)]


def _check_known(tokens: Tokens, vocabulary: Vocabulary) -> None:
    if not isinstance(tokens, Words) or tokens.vocabulary.buckets:
        return
    known = set(tokens.vocabulary.words)
    unknown = [word for word in vocabulary.words if word not in known]
    if unknown:
        told = ", ".join(map(repr, unknown[:_NAMED]))
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        raise ValueError(
            f"the bridge does not know the environment's {told}{more}: train one on that world (study=bridge "
            "corpus=<world>), or on bytes (tokens=bytes)"
        )
