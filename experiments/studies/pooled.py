"""Several ablation studies as one: the trend over the worlds of all of them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.config import ConfigError, build, override, to_yaml
from experiments.studies import new_folder
from unienv.aside import write_aside


@dataclass
class PooledConfig:
    """Tables of trials that studies of ablation have left."""

    study: str = "pooled"
    tables: list[str] = field(default_factory=list)  # paths of ablation.csv, with commas between
    margin: float = 0.05  # of normalised return, within which a gap counts as none
    runs: str = "runs"  # folder of run folders
    json: bool = False  # whether the last line of output is one JSON object


CONFIG = PooledConfig


def prepare(arguments: list[str]) -> tuple[PooledConfig, Path]:
    """A checked configuration and its run folder; tables are read once, so that mistakes show here."""
    from experiments.ablation.pooled import gather

    others = [argument for argument in arguments if not argument.startswith("tables=")]
    named = [argument.partition("=")[2] for argument in arguments if argument.startswith("tables=")]
    tables = [path for paths in named for path in paths.split(",") if path]
    if not tables:
        raise ConfigError("tables: expected paths of ablation.csv with commas between, got none")
    gather(tables)
    config = override(build({"tables": tables}, PooledConfig), others)
    folder = new_folder(config.runs, "pooled")
    write_aside(folder / "config.yaml", to_yaml(config))
    return config, folder


def run(config: PooledConfig, folder: Path, console: Console) -> dict[str, Any]:
    """Measure, compare and report."""
    from experiments.ablation.pooled import pool
    from experiments.ablation.report import leave

    with console.status("measuring"):
        summary = pool(config.tables, config.margin)
    write_aside(folder / "ablation.json", json.dumps(summary, indent=2) + "\n")
    leave(summary, folder, console)
    return summary
