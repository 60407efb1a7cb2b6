"""What a misspelt name was probably meant to be."""

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str:
    """The most similar of some names, for "did you mean"."""
    return difflib.get_close_matches(name, list(names), n=1, cutoff=0.0)[0]
