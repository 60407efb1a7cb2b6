"""How a sentence falls into words."""

import re

MAX_IDS = 1 << 16  # beyond it, numbers hardly stand for words


def split_words(sentence: str) -> list[str]:
    """Lower-case words of a sentence, each mark of punctuation a word of its own."""
    return re.findall(r"\w+|[^\w\s]", sentence.lower())
