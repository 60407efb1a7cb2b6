"""Files that appear whole or not at all."""

import os
from pathlib import Path


def write_aside(path: Path, text: str) -> None:
    """Write a text file aside and move it into place, so that it is never half written.

    Raises:
        OSError: naming `path`, which is left as it was, where the disk refuses.
    """
    aside = path.with_name(path.name + ".part")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    except OSError as error:
        if not aside.is_dir():
            aside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error  # a write itself does not say to which file
