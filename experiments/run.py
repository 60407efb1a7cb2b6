"""Run an experiment: train an agent in an environment and report what it learned, or study the environment itself.

python experiments/run.py env=match
python experiments/run.py env=goto env.size=8 agent.psi=late ppo.lr=3e-4 ray.workers=2 seed=3
python experiments/run.py env=BabyAI-GoToLocal-v0 agent.memory=gru
python experiments/run.py resume=runs/match-20260101-120000
python experiments/run.py study=separability env=match env.coupling=0.5
python experiments/run.py study=play env=goto
"""

import contextlib
import errno
import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.text import Text

from agents.checkpoint import newest
from agents.distributed import RayLostError
from experiments.config import ConfigError, RunConfig
from experiments.lock import InUseError, alone
from experiments.studies import STUDIES
from experiments.usage import studies, usage
from unienv.aside import write_aside
from unienv.errors import named, said
from unienv.spelling import nearest

_PACKAGES = ("unienv", "encoders", "agents", "experiments")
console = Console(stderr=True, highlight=False, markup=False)  # paths and names of users are no markup


def main(arguments: list[str]) -> int:
    """Exit status: 0 done, 1 failed, also in part, 2 mistaken arguments or folder in use, 130 saved after Ctrl-C."""
    try:
        study = _study(arguments)
        if {"-h", "--help", "help"} & set(arguments):
            print(usage(study) if study.CONFIG is not RunConfig else f"{__doc__}\n{studies()}\n\n{usage(study)}")
            return 0
        config, folder = study.prepare(arguments)
    except ValueError as error:
        _complain(str(error))
        return 2
    except Exception as error:  # as may the constructor of an environment of the user's own
        what = "nothing can be written" if _is_full(error) else "the environment can't be built"
        _complain(f"{what}: {named(error)}")
        return 2
    try:
        with alone(folder):
            summary = study.run(config, folder, console)
    except InUseError as error:
        _complain(str(error))
        return 2
    except Exception as error:  # an environment of the user's own may raise anything
        _complain(_told(error, config, folder))
        return 1
    if config.json:
        print(json.dumps(summary))
    return 130 if summary.get("stopped") else 1 if summary.get("failed") else 0


def _complain(told: str) -> None:
    console.print(Text.assemble(("error:", "red"), f" {told}"), soft_wrap=True)


def _told(error: Exception, config: Any, folder: Path | None) -> str:
    """One line on what ended a run and what to do; where the cause may lie in code, its traceback is left in a file."""
    if isinstance(error, OSError) and folder is not None and (_is_full(error) or _lies_in(error.filename, folder)):
        return f"can't write {error.filename or folder}: {error.strerror}; mend that, then {_go_on(config, folder)}"
    if isinstance(error, RayLostError) and folder is not None:
        return f"{error}; {_go_on(config, folder)}"
    if isinstance(error, RuntimeError | ValueError) and _is_own(error):
        return said(error)
    told = named(error)
    if folder is not None:
        with contextlib.suppress(OSError):
            write_aside(folder / "failure.txt", traceback.format_exc())
            told += f"; the traceback is in {folder / 'failure.txt'}"
        if newest(folder):
            told += f"; mend the cause, then {_go_on(config, folder)}"
    return told


def _is_own(error: Exception) -> bool:
    """Whether an error was raised here, and so says all there is to say, or by code of others."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _lies_in(name: str | None, folder: Path) -> bool:
    return name is not None and Path(name).absolute().is_relative_to(folder.absolute())


def _go_on(config: Any, folder: Path) -> str:
    if not hasattr(config, "resume"):
        return "start again"
    study = "" if config.study == "training" else f"study={config.study} "
    return f"continue with {study}resume={folder}"


def _study(arguments: list[str]) -> ModuleType:
    given = [a.partition("=")[2] for a in arguments if a.startswith("study=")]
    name = given[-1] if given else "training"
    if name not in STUDIES:
        raise ConfigError(f"there is no study {name!r}; did you mean {nearest(name, STUDIES)!r}?")
    return importlib.import_module(STUDIES[name])


if __name__ == "__main__":
    if sys.path[0] == os.path.dirname(os.path.realpath(__file__)):  # whose modules are called as a user's may be
        sys.path.pop(0)
    sys.path.append(os.getcwd())  # where a module of the user's own lies, for env=module:Id
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        os._exit(130)
