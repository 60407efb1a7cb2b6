"""Trials of several ablation studies as one: what holds over the worlds of all of them."""

import csv
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from experiments.ablation.cell import Runs, describe
from experiments.ablation.conclude import compare
from experiments.ablation.plan import Cell, Trial
from experiments.ablation.trial import measure
from experiments.config import ConfigError, RunConfig, parse
from experiments.evaluate import hardware, versions
from experiments.studies import command, flat
from unienv.errors import said
from unienv.registry import is_world

_NOTE = "Tables put together after their studies; the claims were stated before each of them."


class Done(NamedTuple):
    """A row of a table: a trial, its settings, and what it found; of this the return is the score."""

    trial: Trial
    run: RunConfig
    found: dict[str, Any]
    row: dict[str, str]


def pool(tables: Sequence[str], margin: float) -> dict[str, Any]:
    """The summary of an ablation study, of the trials that stand in files `ablation.csv`.

    Non-separability is measured anew, of the environments that the trials' commands name. Learning curves, diagnostics
    and pictures stand in the reports of the studies themselves.

    Args:
        tables: paths; they may be a stranger's, so no environment that a module of its own registers is taken. A trial
            that stands in several is that of the last of them.
        margin: within which a gap counts as none.

    Raises:
        ConfigError: one line, for a file that holds no such trials, or trials of a cell that were trained otherwise.
    """
    done, replaced = gather(tables)
    forms = list(dict.fromkeys(trial.psi for trial in done))
    groups, told = [], []
    for cell in dict.fromkeys(trial.cell for trial in done):
        mine = {trial: one for trial, one in done.items() if trial.cell == cell}
        run = next(iter(mine.values())).run
        groups.append(Runs(cell, {trial: one.found for trial, one in mine.items()}, is_world(cell.env)))
        # Of the ladder values alone are known, which have no place among scores.
        told.append(describe(groups[-1], {"ns": measure(run.env)["ns"]}, run, forms, margin) | {"curves": {}})
    return {
        "command": command("study=pooled", f"tables={','.join(tables)}"),
        "versions": versions(),
        "hardware": hardware("cpu"),
        "config": {"tables": list(tables), "margin": margin},
        "note": _NOTE + f" Of {replaced} trials that stand in several the last counts." * (replaced > 0),
        "failed": {},
        "worlds": [],
        "trials": [_told(one) for one in done.values()],
    } | compare(told, groups, forms, margin)


def gather(tables: Sequence[str]) -> tuple[dict[Trial, Done], int]:
    """The trials of all tables, and how many of earlier ones are replaced by those of later ones; see `pool`."""
    every = [one for table in tables for one in read(Path(table))]
    done = {one.trial: one for one in every}
    first: dict[Cell, Done] = {}
    for one in done.values():
        _check_alike(first.setdefault(one.trial.cell, one), one)
    return done, len(every) - len(done)


def read(path: Path) -> list[Done]:
    """The trials of a table that were done; ConfigError, one line, for a file that holds none."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            done = [_done(row) for row in csv.DictReader(file) if row["J"]]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"tables: {path} is no ablation.csv that can be read: {said(error)}") from None
    if not done:
        raise ConfigError(f"tables: {path} holds no trials that were done")
    return done


def _check_alike(first: Done, other: Done) -> None:
    """ConfigError where two trials of a cell differ in more than form and seed."""
    mine, theirs = _trained(first.run), _trained(other.run)
    for key in sorted(mine | theirs):
        if mine.get(key) != theirs.get(key):
            told = f"{key} {mine.get(key)} in {first.trial.name} and {theirs.get(key)} in {other.trial.name}"
            raise ConfigError(f"tables: expected equal settings in all trials of a cell, got {told}")


def _trained(run: RunConfig) -> dict[str, Any]:
    """Settings that decide what is learned, but for form and seed."""
    groups = {"env": run.env, "agent": asdict(run.agent) | {"psi": ""}, "ppo": asdict(run.ppo)}
    return flat(groups | {"steps": run.steps, "until": run.until})


def _done(row: dict[str, str]) -> Done:
    cell = Cell(row["env"], float(row["coupling"]) if row["coupling"] else None)
    anchors = {"random": {"J": 0.0}, "oracle": {"J": 1.0}}  # of scores
    found = {"summary": {"J": float(row["score"]), "success": float(row["success"]), "anchors": anchors}}
    arguments = shlex.split(row["command"] or "")[2:]  # of nothing at all it would read the terminal
    if any(":" in argument for argument in arguments if argument.startswith(("env=", "env.id="))):
        raise ValueError(f"{row['env']} would import a module, which a table does not decide")
    trial, run = Trial(cell, row["psi"], int(row["seed"])), parse(arguments)
    if Trial(Cell(run.env["id"], run.env.get("coupling")), run.agent.psi, run.seed) != trial:
        raise ValueError(f"the command of {trial.name} is that of another trial")
    return Done(trial, run, found, row)


def _told(one: Done) -> dict[str, Any]:
    numbers = {name: float(text) if (text := one.row[name]) else None for name in ("J", "success", "score", "seconds")}
    named = {"name": one.trial.name, **one.trial.cell._asdict(), "psi": one.trial.psi, "seed": one.trial.seed}
    return named | numbers | {"command": one.row["command"]}
