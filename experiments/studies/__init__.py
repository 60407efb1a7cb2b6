"""What `python experiments/run.py study=<name>` can do; without a study it trains.

A study is a module with `prepare(arguments) -> (configuration, folder)`, which raises a ValueError of one line for a
mistake, and `run(configuration, folder, console) -> summary`. The folder is None where a study leaves no files.
"""

import time
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

STUDIES = {
    "training": "experiments.studies.training",
    "separability": "experiments.studies.separability",
    "worlds": "experiments.studies.worlds",
    "play": "experiments.studies.play",
}


def new_folder(config: Any) -> Path:
    """A path under `config.runs` that does not exist yet, named after the environment and the time."""
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in str(config.env["id"])).strip("-.")
    base = Path(config.runs) / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    taken = (base.with_name(f"{base.name}-{i}") for i in range(1, 1000))
    return base if not base.exists() else next(folder for folder in taken if not folder.exists())


def reproduce(config: Any) -> str:
    """The command of a configuration: the settings that differ from the defaults."""
    mine, default = (_flat(OmegaConf.to_container(OmegaConf.structured(c))) for c in (config, type(config)()))
    changed = {key: value for key, value in mine.items() if key != "env.id" and value != default.get(key)}
    hidden = ("resume", "json", "runs", "study")
    told = [f"{key}={'' if value is None else value}" for key, value in changed.items() if key not in hidden]
    study = [] if config.study == "training" else [f"study={config.study}"]
    return " ".join(["python experiments/run.py", *study, f"env={mine['env.id']}", *told])


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves
