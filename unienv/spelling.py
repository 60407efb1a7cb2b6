"""What a misspelt name was probably meant to be."""

import difflib
from collections.abc import Iterable


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """ValueError with the nearest choice unless `value` is one of some names."""
    known = list(choices)
    if value not in known:
        near = nearest(str(value), known)
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}; did you mean {near!r}?")


def nearest(name: str, names: Iterable[str]) -> str:
    """The most similar of some names, of which there must be one, for "did you mean"."""
    known = {name.casefold(): name for name in names}
    return known[difflib.get_close_matches(name.casefold(), list(known), n=1, cutoff=0.0)[0]]
