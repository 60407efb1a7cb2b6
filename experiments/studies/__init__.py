"""What `python experiments/run.py study=<name>` can do; without a study it trains.

A study is a module with `prepare(arguments) -> (configuration, folder)`, which raises a ValueError of one line for a
mistake, and `run(configuration, folder, console) -> summary`. The folder is None where a study leaves no files.
"""

import contextlib
import os
import shlex
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from experiments.config import TEXTS, Config, ConfigError, load, override
from experiments.values import write_value
from unienv.registry import is_world

_LONGEST = 100  # bytes of what a folder is named after; names of files end at 255

STUDIES = {
    "training": "experiments.studies.training",
    "separability": "experiments.studies.separability",
    "worlds": "experiments.studies.worlds",
    "play": "experiments.studies.play",
    "bridge": "experiments.studies.bridge",
    "ablation": "experiments.studies.ablation",
    "pooled": "experiments.studies.pooled",
    "imagination": "experiments.studies.imagination",
    "transfer": "experiments.studies.transfer",
    "benchmark": "experiments.studies.benchmark",
}


def new_folder(runs: str, name: str) -> Path:
    """Make a folder below `runs`, named after what is run and the time; two made at once do not meet.

    Raises:
        ConfigError: one line, where no folder can be made.
    """
    stem = "".join(c if c.isalnum() or c in "-_." else "-" for c in name).encode()[:_LONGEST].decode(errors="ignore")
    base = Path(runs) / f"{stem.strip('-.')}-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        for folder in (base, *(base.with_name(f"{base.name}-{i}") for i in range(1, 1000))):
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    except OSError as error:
        raise ConfigError(f"runs={runs} can't hold run folders: {error.strerror}; choose another by runs=") from None
    raise RuntimeError(f"{base} and 999 others like it exist: remove some, or choose another folder by runs=")


def resumed(arguments: list[str], kind: type[Config], free: Iterable[str]) -> tuple[Config, Path] | None:
    """The configuration and the folder of the run that `resume=` names; None where it names none.

    The folder may be a stranger's, so it does not decide alone what code is run and who is talked to. An environment
    that a module registers and the address of a cluster have to be named in the arguments as well.

    Args:
        arguments: of the command.
        kind: of the configuration.
        free: settings that may change on resuming.

    Raises:
        ConfigError: one line, for no such run, any other setting, or a folder that reaches out.
    """
    named = [a.partition("=")[2] for a in arguments if a.startswith("resume=")]
    if not named or named[-1] in ("", "none"):
        return None
    folder = Path(named[-1])
    _check_links(folder)
    config, allowed = load(folder, kind), ("resume", *free)
    repeated = [f"env={id}" for id in _imported(config)]
    changes = [argument for argument in arguments if argument not in repeated]
    for argument in changes:
        key = argument.partition("=")[0]
        if key not in ("study", *allowed):
            raise ConfigError(f"{key!r} can't change on resuming; only {', '.join(allowed)} can")
    for setting in set(repeated) - set(arguments):
        raise ConfigError(f"{folder} imports a module for {setting}; if you trust it, give {setting} as well")
    address = getattr(getattr(config, "ray", None), "address", None)
    if address is not None and not any(argument.startswith("ray.address=") for argument in arguments):
        told = f"ray.address={address}"
        raise ConfigError(f"{folder} runs on the cluster at {told}; give {told} as well, or ray.address= for none")
    return override(config, changes), folder


def _imported(config: Any) -> list[str]:
    """Environments of a configuration, wherever they stand in it, that may import a module.

    Those are "module:Id" themselves, or none of ours with a setting like that: some make another environment by it.
    """
    env = {"env." + key: str(value) for key, value in getattr(config, "env", {}).items()}
    parts = [setting.partition("=") for setting in getattr(config, "trial", [])]
    told = [*env.items(), *((f"{key}.id" if key == "env" else key, value) for key, _, value in parts)]
    named = [*getattr(config, "worlds", []), *(value for key, value in told if key == "env.id")]
    reaches = any(":" in value for key, value in told if key.startswith("env.") and key != "env.id")
    return [id for id in named if ":" in id or (reaches and not is_world(id))]


def _check_links(folder: Path) -> None:
    """ConfigError for a link by which files outside of a run folder would be written or removed."""
    inside = os.path.realpath(folder)
    for path in folder.rglob("*") if os.path.isdir(folder) else ():
        if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(inside):
            raise ConfigError(f"{path} is a link that leaves the run folder; put there what it stands for")


def reproduce(config: Any) -> str:
    """The command of a configuration: the settings that differ from the defaults."""
    mine, default = (flat(OmegaConf.to_container(OmegaConf.structured(c))) for c in (config, type(config)()))
    changed = {
        key: value for key, value in mine.items() if key != "env.id" and (key not in default or value != default[key])
    }
    hidden = ("resume", "json", "runs", "study", "env")  # env alone is of none
    told = [
        f"{key}={value or '' if key in TEXTS else write_value(value)}"
        for key, value in changed.items()
        if key not in hidden
    ]
    study = [] if config.study == "training" else [f"study={config.study}"]
    env = [f"env={mine['env.id']}"] if "env.id" in mine else []
    return command(*study, *env, *told)


def command(*settings: str) -> str:
    """The command with some settings, to paste into a shell."""
    return shlex.join(["python", "experiments/run.py", *settings])


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Settings by their names with dots, of groups in groups."""
    leaves: dict[str, Any] = {}
    for key, value in values.items():
        leaves |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return leaves
