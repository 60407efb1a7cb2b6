"""What a command may be given: the studies, and the settings of one with their defaults and what they mean."""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments.config import INTERNAL
from experiments.studies import STUDIES
from experiments.values import write_value
from unienv.registry import is_world

_COMMENT = re.compile(r"^    (\w+): .*?  # (.+)$", re.MULTILINE)  # of a field of a dataclass
_WIDEST = 36  # of a setting, before what is said of it


def studies() -> str:
    """Every study with what it is for."""
    rows = [(f"study={name}", _purpose(name)) for name in STUDIES if name != "training"]
    return "\n".join(["Studies, with their settings in study=<name> --help:", *_aligned(rows)])


def usage(study: ModuleType) -> str:
    """What a study is for, and its settings."""
    config = study.CONFIG()
    about = " ".join((type(config).__doc__ or "").split()).partition(". ")[2]
    rows = list(_settings(config))
    told = [
        inspect.cleandoc(study.__doc__ or ""),
        about,
        "\n".join(["Settings, with their defaults:", *_aligned(rows)]),
    ]
    return "\n\n".join(part for part in told if part)


def _purpose(name: str) -> str:
    """The first line of a study's module, which is read and not run."""
    source = Path(__file__).parent / "studies" / f"{name}.py"
    return (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def _settings(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings as they are typed, and the comments that stand beside them; without those that can't be typed."""
    comments = dict(_COMMENT.findall(inspect.getsource(type(config))))
    for item in fields(config):
        value = getattr(config, item.name)
        if is_dataclass(value):
            yield from _settings(value, f"{prefix}{item.name}.")
        elif item.name == "env":
            yield f"env={value['id']}", comments.get("env", "a world, any Gymnasium id, or module:Id of your own")
            if is_world(value["id"]):
                yield "env.<name>=..", "a setting of the environment; those of worlds are told by study=worlds"
        elif item.name != "study" and not INTERNAL.items() <= item.metadata.items():
            yield f"{prefix}{item.name}={_said(value)}", comments.get(item.name, "")


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else write_value(value)


def _aligned(rows: list[tuple[str, str]]) -> list[str]:
    width = min(_WIDEST, max(len(setting) for setting, _ in rows))
    return [f"  {setting:<{width}}  {comment}".rstrip() for setting, comment in rows]
