"""The jobs of the ablation study: the non-separability of a cell, and the training and evaluation of one agent."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from experiments.ablation.plan import AblationConfig, Trial, cells, run_config, trials
from experiments.evaluate import held_out
from experiments.jobs import job_folder, leave, train_agent
from experiments.studies import reproduce, separability
from experiments.studies.reading import claims
from unienv.registry import is_world, make_world
from unienv.separability.draws import NotEnumerable
from unienv.separability.enumeration import enumerate_world
from unienv.separability.exact import exact
from unienv.separability.ladder import ladder
from unienv.separability.rows import rows_of, trivial

_SEARCH = 10.0  # seconds for the best late fusion
_DIAGNOSED = 500  # episodes of a diagnostic, at most: each step of one is worth hundreds of the agent's own


class Grid(NamedTuple):
    """What all jobs share: settings and run folder."""

    config: AblationConfig
    folder: Path


def do(grid: Grid, name: str) -> None:
    """Do a job and leave its result."""
    of = {f"ns-{cell.name}": cell for cell in cells(grid.config)}
    trial = {trial.name: trial for trial in trials(grid.config)}.get(name)
    if trial is None:
        leave(grid.folder, name, lambda: measure(run_config(grid.config, Trial(of[name], "joint", 0)).env))
    else:
        leave(grid.folder, name, lambda: _run(grid, trial))
        shutil.rmtree(job_folder(grid.folder, name) / "checkpoints", ignore_errors=True)  # of thousands of trials


def _run(grid: Grid, trial: Trial) -> dict[str, Any]:
    from experiments.ablation.diagnostics import diagnose

    config = run_config(grid.config, trial)
    learner, found = train_agent(config, job_folder(grid.folder, trial.name))
    judged = held_out(config) or config  # as `evaluate` does
    told = diagnose(judged, learner, min(_DIAGNOSED, config.episodes)) if trial.psi == "joint" else None
    return found | {"diagnostics": told}


def measure(env: dict[str, Any]) -> dict[str, Any]:
    """Exact non-separability of an environment's feedback and the ladder of its decisions; of others an estimate.

    Args:
        env: "id" and parameters.
    """
    name, parameters = str(env["id"]), {key: value for key, value in env.items() if key != "id"}
    if not is_world(name) or trivial(rows_of(env)):
        return {"ns": _estimate(env), "ladder": None}
    world, how = make_world(name, **parameters), "exact"
    try:
        kernel = enumerate_world(world)
    except NotEnumerable:
        if not world.small:
            return {"ns": None, "ladder": None}
        world, how = make_world(name, **{**parameters, **world.small}), "exact, small version"
        kernel = enumerate_world(world)
    told = exact(kernel)
    nats, information = (told.total("feedback", what) / told.length for what in ("nonseparability", "information"))
    share = nats / information if information > 0 else None
    rungs = ladder(kernel, seconds=_SEARCH)
    ns = {"nats": nats, "information": information, "share": share, "how": how}
    return {"ns": ns, "ladder": asdict(rungs) | {"certified": rungs.certified, "whole": how == "exact"}}


def _estimate(env: dict[str, Any]) -> dict[str, Any]:
    """Non-separability from recorded uniform actions, with its interval, its test, and what the two allow to be said.

    By the agents' own encoders: where pictures hardly repeat, nets on fixed features overlook what these find.
    """
    study = separability.SeparabilityConfig(env=env, method="psi")
    told = separability.measure(study, say=lambda _: None)
    found = told["estimate"]
    low, high = found["interval"]
    ns = {"nats": found["nonseparability"], "information": found["information"], "share": found["share"]}
    ns |= {"how": f"estimated: {found['method']}, n = {found['n']:,}", "command": reproduce(study)}
    ns |= {"low": low, "high": high, "p": found["p_value"], "warnings": found["warnings"]}
    return ns | {"claims": claims(told)}
