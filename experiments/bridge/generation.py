"""What is measured of generated texts, as plain data: see `encoders.text.generation`."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Generator

from encoders.text import generation as figures
from encoders.text.corpus import Corpus, Sentences
from encoders.text.generation import words
from experiments.bridge.measure import read


def generation(
    texts: Sequence[str], corpus: Corpus, length: int, generator: Generator, orders: Sequence[int] = (1, 2, 3, 4)
) -> dict[str, Any]:
    """Generated texts beside those of a corpus.

    Distances are to held-out texts of files. Of sentences of worlds the held-out ones are other sentences, not others
    of the same law, so there distances are to the law of the training split; copies are told by "novel". A text is what
    is read of a row: padding left out, up to the first end if there is one, so that rows of the masked model, which
    alone may say padding, are a little less often whole than their texts are valid.

    Args:
        texts: generated, at least one.
        corpus: which the models learned from.
        length: L of the rows that the texts were.
        generator: of the CPU.
        orders: n of the n-grams of distances.

    Returns:
        "n"; "valid": a mean, the share of texts that a world says, or None for files; "novel": a mean, of texts that
        are not, word for word, in the training split; "distinct": distinct-1 and -2; "distances": by n, in nats.
    """
    wanted = {words(text) for text in texts}
    known = (text for text in corpus.texts("train") if words(text) in wanted)  # so that few are kept of a large corpus
    table = isinstance(corpus, Sentences)
    rows = next(corpus.batches("train" if table else "test", 2 * len(texts), length, generator))
    rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
    distances = figures.distances(texts, read(rows, corpus.tokens), rng, orders)
    return {
        "n": len(texts),
        "valid": proportion(figures.valid(texts, corpus.valid), len(texts)) if isinstance(corpus, Sentences) else None,
        "novel": proportion(figures.novel(texts, known), len(texts)),
        "distinct": {str(n): figures.distinct(texts, n) for n in (1, 2)},
        "distances": {str(n): {"divergence": of.divergence, "floor": of.floor} for n, of in distances.items()},
    }


def proportion(share: float, n: int) -> dict[str, Any]:
    """A share of n draws as a mean with its standard error; its interval is for who reads it, by n where that is 0."""
    return {"value": share, "error": math.sqrt(share * (1.0 - share) / n), "n": n}
