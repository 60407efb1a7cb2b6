"""Speed and size of what is here, each beside a limit or a peer in the same run."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from experiments.benchmark.plan import BenchmarkConfig, parts
from experiments.benchmark.timing import Row, Timing
from experiments.config import ConfigError, parse, to_yaml
from experiments.markdown import table
from experiments.studies import new_folder, reproduce
from unienv.aside import write_aside

CONFIG = BenchmarkConfig
_HEADINGS = ("", "unit", "median", "least", "most")


def prepare(arguments: list[str]) -> tuple[BenchmarkConfig, Path]:
    """A checked configuration and its run folder."""
    config = parse(arguments, BenchmarkConfig)
    if config.rounds < 1 or not 0 < config.seconds <= 3600:
        raise ConfigError(f"expected rounds >= 1 and seconds from 0 to 3600, got {config.rounds} and {config.seconds}")
    parts(config)
    folder = new_folder(config.runs, "benchmark")
    write_aside(folder / "config.yaml", to_yaml(config))
    return config, folder


def run(config: BenchmarkConfig, folder: Path, console: Console) -> dict[str, Any]:
    """Measure part after part; what is measured is on disk at once."""
    from experiments.evaluate import hardware, versions

    timing, rows = Timing(config.rounds, config.seconds), dict[str, list[Row]]()
    summary: dict[str, Any] = {"command": reproduce(config), "rounds": config.rounds, "parts": rows}
    summary |= {"versions": versions(), "hardware": hardware("cpu"), "folder": str(folder)}
    for name, measure in parts(config).items():
        with console.status(f"measuring {name}"):
            rows[name] = measure(timing)
        _tell(name, rows[name], console)
        write_aside(folder / "benchmark.json", json.dumps(summary, indent=1) + "\n")
        write_aside(folder / "benchmark.md", _to_markdown(summary))
    console.print(f"run folder  {folder}", soft_wrap=True)
    return summary


def _tell(name: str, rows: list[Row], console: Console) -> None:
    shown = Table(title=name, title_justify="left")
    for heading in _HEADINGS:
        shown.add_column(heading, justify="left" if heading in ("", "unit") else "right")
    for row in rows:
        shown.add_row(*_cells(row))
    console.print(shown)


def _to_markdown(summary: dict[str, Any]) -> str:
    lines = [f"# Benchmark\n\n`{summary['command']}`, medians of {summary['rounds']} rounds\n"]
    lines += [f"## {name}\n\n{table(_HEADINGS, map(_cells, rows))}\n" for name, rows in summary["parts"].items()]
    told = (f"{key} {value}" for key, value in {**summary["versions"], **summary["hardware"]}.items())
    return "\n".join([*lines, ", ".join(told), ""])


def _cells(row: Row) -> list[str]:
    figures = (row[key] for key in ("median", "least", "most"))
    return [row["name"], row["unit"], *(f"{x:,.3g}" if abs(x) < 100 else f"{x:,.0f}" for x in figures)]
