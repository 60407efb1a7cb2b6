"""Encoders of a bridge, trained before and frozen, in an agent: which it asks for, and where they are."""

import os
from pathlib import Path
from typing import Any

from encoders.text.pretrained import load_text
from encoders.text.reader import Reader
from unienv.modality import IMAGE, TEXT, VIDEO, Vocabulary
from unienv.spelling import check_choice

LATENT = "latent"
TEXTS = ("tokens", LATENT)
_MAKE = "python experiments/run.py study=bridge corpus=<world>"


def check_bridge(text: str, image: str, bridge: str | None) -> None:
    """Whether these settings of an agent fit together.

    Raises:
        ValueError: one line, where they do not.
    """
    check_choice("agent.text", text, TEXTS)
    latent = [name for name, how in (("text", text), ("image", image)) if how == LATENT]
    if latent and bridge is None:
        raise ValueError(f"agent.{latent[0]}=latent needs agent.bridge=<run folder of a bridge>; {_MAKE} makes one")
    if bridge is not None and not latent:
        raise ValueError("agent.bridge is for agent.text=latent or agent.image=latent, and neither is set")


def load_bridge(text: str, image: str, bridge: str | None, vocabulary: Vocabulary | None) -> dict[str, Any]:
    """The frozen models that an agent asks for, by modality: a `Reader` of text, a `PixelVAE` of image and of video.

    Args:
        text: how it is read, see `AgentConfig`.
        image: how it and video are read.
        bridge: run folder of a study=bridge.
        vocabulary: of the environment; only text needs it.

    Raises:
        ValueError: one line: settings that do not fit together, no bridge there, or one that lacks words.
    """
    check_bridge(text, image, bridge)
    frozen: dict[str, Any] = {}
    if bridge is not None and text == LATENT:
        if vocabulary is None:
            raise ValueError("agent.text=latent needs the vocabulary of the environment, and it has none")
        frozen[TEXT] = Reader(*load_text(_part(bridge, "text")), vocabulary)
    if bridge is not None and image == LATENT:
        from encoders.pixels import load_pixels  # imports diffusers, which takes a second or two

        frozen |= {modality: load_pixels(_part(bridge, "pixels")) for modality in (IMAGE, VIDEO)}
    return frozen


def _part(bridge: str, name: str) -> Path:
    """The folder of one model of a bridge."""
    folder = Path(bridge) / name
    if not os.path.isdir(folder):  # which no name is too long for
        lacks = f"has no folder {name}, as a finished bridge does" if os.path.isdir(bridge) else "does not exist"
        told = bridge if bridge.isprintable() else repr(bridge)
        raise ValueError(f"agent.bridge={told} {lacks}; {_MAKE} makes one")
    return folder
