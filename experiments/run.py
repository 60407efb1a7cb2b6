"""Run an experiment: train an agent in an environment and report what it learned, or study the environment itself.

python experiments/run.py env=match
python experiments/run.py env=goto env.size=8 agent.psi=late ppo.lr=3e-4 ray.workers=2 seed=3
python experiments/run.py env=BabyAI-GoToLocal-v0 agent.memory=gru
python experiments/run.py resume=runs/match-20260101-120000
python experiments/run.py study=separability env=match env.coupling=0.5
python experiments/run.py study=play env=goto
"""

import importlib
import json
import os
import sys
import traceback
from types import ModuleType

from rich.console import Console
from rich.markup import escape

from experiments.config import ConfigError, to_yaml
from experiments.studies import STUDIES
from unienv.aside import write_aside
from unienv.spelling import nearest

console = Console(stderr=True, highlight=False)


def main(arguments: list[str]) -> int:
    """Exit status: 0 done, 1 failed, 2 mistaken arguments, 130 stopped by Ctrl-C after saving."""
    try:
        study = _study(arguments)
        if {"-h", "--help", "help"} & set(arguments):
            print(f"{__doc__}\n{to_yaml(study.CONFIG())}")
            return 0
        config, folder = study.prepare(arguments)
    except ValueError as error:
        console.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
        return 2
    except Exception as error:  # as may the constructor of an environment of the user's own
        told = f"{type(error).__name__}: {' '.join(str(error).split())}"
        console.print(f"[red]error:[/red] the environment can't be built: {escape(told)}", soft_wrap=True)
        return 2
    try:
        summary = study.run(config, folder, console)
    except (RuntimeError, ValueError) as error:
        console.print(f"[red]error:[/red] {escape(' '.join(str(error).split()))}", soft_wrap=True)
        return 1
    except Exception as error:  # an environment of the user's own may raise anything
        told = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if folder is not None:
            write_aside(folder / "failure.txt", traceback.format_exc())
            told += f"; the traceback is in {folder / 'failure.txt'}"
        console.print(f"[red]error:[/red] {escape(told)}", soft_wrap=True)
        return 1
    if config.json:
        print(json.dumps(summary))
    return 130 if summary.get("stopped") else 0


def _study(arguments: list[str]) -> ModuleType:
    named = [a.partition("=")[2] for a in arguments if a.startswith("study=")]
    name = named[-1] if named else "training"
    if name not in STUDIES:
        raise ConfigError(f"there is no study {name!r}; did you mean {nearest(name, STUDIES)!r}?")
    return importlib.import_module(STUDIES[name])


if __name__ == "__main__":
    sys.path.append(os.getcwd())  # where a module of the user's own lies, for env=module:Id
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        os._exit(130)
