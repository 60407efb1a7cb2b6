"""Markdown of what studies found."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of as many cells as there are headings; nothing without rows."""
    lines = list(rows)
    if not lines:
        return ""
    told = [[cell.replace("|", "\\|") for cell in line] for line in (head, *lines)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (told[0], ["---"] * len(head), *told[1:]))


def bullets(texts: Iterable[str]) -> str:
    """One line a text."""
    return "\n".join(f"- {text}" for text in texts)
