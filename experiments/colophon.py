"""The end of every report: the settings of the run, and what it ran on."""

from collections.abc import Mapping
from html import escape
from typing import Any

from experiments.page import finite, number, table


def configuration(config: Any) -> str:
    """One table for each section of the settings, and a first one for what stands outside; none for what has none."""
    config = config if isinstance(config, dict) else {}
    outside = {name: value for name, value in config.items() if not isinstance(value, dict)}
    sections = [("general", outside), *((name, value) for name, value in config.items() if name not in outside)]
    tables = ((escape(str(name)), table(section.items())) for name, section in sections)
    return "".join(f"<div><h3>{name}</h3><table>{rows}</table></div>" for name, rows in tables if rows)


def machine(summary: Mapping[str, Any]) -> str:
    """Rows of versions and hardware, after the seconds of a study where they are known."""
    known = [values for name in ("versions", "hardware") if isinstance(values := summary.get(name), dict)]
    seconds = finite(summary.get("seconds"))
    told_first = [] if seconds is None else [("seconds of the study", number(seconds, 1))]
    return table([*told_first, *(item for values in known for item in values.items())])
