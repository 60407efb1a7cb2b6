"""Text files cut into documents, read as a stream: no more than one document is in memory."""

import codecs
from collections.abc import Iterator
from pathlib import Path

_LONGEST = 1 << 16  # bytes of a document; a longer one is cut


def text_files(path: Path) -> list[Path]:
    """The file, or all files in the folder and its folders, in the order of their names; hidden ones are left out."""
    if path.is_file():
        return [path]
    inside = sorted((file.relative_to(path).parts, file) for file in path.rglob("*"))
    return [file for parts, file in inside if file.is_file() and not any(part.startswith(".") for part in parts)]


def passages(path: Path) -> Iterator[tuple[int, bytes]]:
    """Documents of a file, and the byte that each starts at.

    A document is a passage between blank lines, or a line where no blank line parts others. What is longer than 64 KiB
    is cut, between lines or else between characters.

    Raises:
        ValueError: the file can't be read, or is not UTF-8 text.
    """
    by_line = not _has_passages(path)
    start, passage = 0, b""
    for at, line in _lines(path):
        blank = line.isspace()
        if passage and (blank or by_line or len(passage) + len(line) > _LONGEST):
            yield start, passage.rstrip()
            passage = b""
        if not blank:
            start = start if passage else at
            passage += line
    if passage:
        yield start, passage.rstrip()


def _has_passages(path: Path) -> bool:
    """Whether a blank line parts two others."""
    told = parted = False
    for _, line in _lines(path):
        blank = line.isspace()
        if parted and not blank:
            return True
        told, parted = told or not blank, parted or (told and blank)
    return False


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines, and the byte that each starts at; longer ones in parts of whole characters."""
    start = 0
    try:
        with path.open("rb") as file:
            while line := file.readline(_LONGEST):
                size = codecs.utf_8_decode(line, "strict", len(line) < _LONGEST)[1]
                if size < len(line):
                    file.seek(start + size)
                yield start, line[:size]
                start += size
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error.reason} at byte {start + error.start}") from None
    except OSError as error:
        raise ValueError(f"{path} can't be read: {error.strerror}") from None
