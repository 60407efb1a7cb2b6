"""What `python experiments/run.py study=<name>` can do; without a study it trains.

A study is a module with `prepare(arguments) -> (configuration, folder)`, which raises a ValueError of one line for a
mistake, and `run(configuration, folder, console) -> summary`. The folder is None where a study leaves no files.
"""

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from experiments.config import Config, ConfigError, load, override

STUDIES = {
    "training": "experiments.studies.training",
    "separability": "experiments.studies.separability",
    "worlds": "experiments.studies.worlds",
    "play": "experiments.studies.play",
    "bridge": "experiments.studies.bridge",
    "ablation": "experiments.studies.ablation",
    "imagination": "experiments.studies.imagination",
    "transfer": "experiments.studies.transfer",
    "benchmark": "experiments.studies.benchmark",
}


def new_folder(runs: str, name: str) -> Path:
    """Make a folder below `runs`, named after what is run and the time; two made at once do not meet."""
    stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in name).strip("-.")
    base = Path(runs) / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    base.parent.mkdir(parents=True, exist_ok=True)
    for folder in (base, *(base.with_name(f"{base.name}-{i}") for i in range(1, 1000))):
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise RuntimeError(f"{base} and 999 others like it exist: remove some, or choose another folder by runs=")


def resumed(arguments: list[str], kind: type[Config], free: Iterable[str]) -> tuple[Config, Path] | None:
    """The configuration and the folder of the run that `resume=` names; None where it names none.

    Args:
        arguments: of the command.
        kind: of the configuration.
        free: settings that may change on resuming.

    Raises:
        ConfigError: one line, for no such run, or any other setting.
    """
    named = [a.partition("=")[2] for a in arguments if a.startswith("resume=")]
    if not named:
        return None
    config, allowed = load(Path(named[-1]), kind), ("resume", *free)
    for argument in arguments:
        key = argument.partition("=")[0]
        if key not in ("study", *allowed):
            raise ConfigError(f"{key!r} can't change on resuming; only {', '.join(allowed)} can")
    return override(config, arguments), Path(named[-1])


def reproduce(config: Any) -> str:
    """The command of a configuration: the settings that differ from the defaults."""
    mine, default = (_flat(OmegaConf.to_container(OmegaConf.structured(c))) for c in (config, type(config)()))
    changed = {key: value for key, value in mine.items() if key != "env.id" and value != default.get(key)}
    hidden = ("resume", "json", "runs", "study")
    told = [f"{key}={'' if value is None else value}" for key, value in changed.items() if key not in hidden]
    study = [] if config.study == "training" else [f"study={config.study}"]
    env = [f"env={mine['env.id']}"] if "env.id" in mine else []
    return " ".join(["python experiments/run.py", *study, *env, *told])


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        leaves |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return leaves
