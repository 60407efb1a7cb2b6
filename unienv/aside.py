"""Files that appear whole or not at all."""

import os
from pathlib import Path


def write_aside(path: Path, text: str) -> None:
    """Write a text file aside and move it into place, so that it is never half written."""
    aside = path.with_name(path.name + ".part")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)
