"""Values of settings, which may come from anywhere: plain ones alone, as YAML writes them.

No aliases, of which a few lines make more than memory holds, and no placeholders, by which OmegaConf would read
environment variables into a report.
"""

import math
import re
from datetime import date
from typing import Any, ClassVar

import yaml

_DEEPEST = 16  # levels of names and lists
_PLACEHOLDERS = ("${", "???")  # of OmegaConf
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)$")  # YAML 1.1 reads 1:5 to base 60, 010 to base 8


class _Plain(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        """A node, which is never an alias of another."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not taken; write the value out")
        return super().compose_node(parent, index)

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, _DECIMAL if tag == "tag:yaml.org,2002:int" else pattern) for tag, pattern in known]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_yaml(text: str) -> Any:
    """What a YAML text says.

    Raises:
        yaml.YAMLError: anything that can't be read.
    """
    try:
        return yaml.load(text, _Plain)  # a SafeLoader: it makes no objects
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, AttributeError, TypeError, KeyError) as error:  # which yaml lets pass, say for 2026-99-99
        raise yaml.YAMLError(str(error)) from None


def read_value(text: str) -> Any:
    """A value as YAML reads it; 3e-4 and 5e6 are numbers too, and whole ones are integers; "5" in quotes is text."""
    try:
        value = read_yaml(text) if text else None
    except yaml.YAMLError:
        return text
    if isinstance(value, (date, bytes)):  # as which nothing is set
        return text
    if isinstance(value, str) and value == text.strip():
        try:
            value = float(value)
        except ValueError:
            return value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def write_value(value: Any) -> str:
    """A text that `read_value` reads as this value."""
    text, style = "" if value is None else str(value), '"' if isinstance(value, str) else None
    exact = yaml.safe_dump(value, default_style=style, default_flow_style=True, width=math.inf)  # type: ignore[arg-type]
    exact = exact.removesuffix("...\n").strip()
    return text if repr(read_value(text)) == repr(read_value(exact)) else exact


def check_plain(value: Any, key: str = "", depth: int = 0) -> None:
    """Whether a value, or a tree of values, is plain.

    Args:
        value: bools, numbers of 64 bits, texts and None; lists, and dicts by name, of these.
        key: what it is called.
        depth: of lists and dicts that it stands in.

    Raises:
        ValueError: one line, where it is not.
    """
    if depth > _DEEPEST:
        raise ValueError(f"{key[:60]}..: expected at most {_DEEPEST} levels, got more")
    if isinstance(value, dict):
        for name, part in value.items():
            if not isinstance(name, str):
                raise ValueError(f"{key or 'settings'}: expected names of settings, got {name!r}; put it in quotes")
            _check_text(name, key or "settings")
            check_plain(part, f"{key}.{name}" if key else name, depth + 1)
    elif isinstance(value, list):
        for part in value:
            check_plain(part, key, depth + 1)
    elif isinstance(value, str):
        _check_text(value, key)
    elif isinstance(value, int) and value.bit_length() > 63:
        raise ValueError(f"{key}: expected a whole number of at most 64 bits, got one of {value.bit_length()}")
    elif not isinstance(value, (int, float, type(None))):
        kind = type(value).__name__
        raise ValueError(f"{key}: expected a number or text, got the {kind} {value!r}; put it in quotes")


def _check_text(text: str, key: str) -> None:
    if any(sign in text for sign in _PLACEHOLDERS):
        raise ValueError(f"{key}: expected text as it is, got {text!r}; ${{..}} and ??? are not filled in")
    if not text.isprintable() and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
        raise ValueError(f"{key}: expected text, got {text!r}")
