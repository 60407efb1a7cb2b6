"""One cell of the ablation study: what its trials and its measurement say."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.ablation import statistics
from experiments.ablation.plan import Cell, Trial
from experiments.config import RunConfig
from experiments.evaluate import judged
from experiments.studies import command
from experiments.studies.reading import ZERO
from experiments.values import write_value

_SEED = 0  # of bootstraps: equal folders give equal summaries

Found = Mapping[str, Any]


class Scale(NamedTuple):
    """Anchors of a trial; oracle is None where there is none, or none above chance."""

    random: float
    oracle: float | None

    def score(self, value: float | None, normalised: bool) -> float | None:
        """A return J as a score: 0 for chance and 1 for the oracle, or J itself."""
        if value is None or not normalised:
            return value
        return None if self.oracle is None else (value - self.random) / (self.oracle - self.random)


class Runs(NamedTuple):
    """What the trials of a cell that are done have found; `normalised` is false where there is no oracle."""

    cell: Cell
    found: dict[Trial, Found]
    normalised: bool

    def score(self, trial: Trial, value: float | None) -> float | None:
        """A return of a trial, by its own anchors."""
        return scale_of(self.found[trial]).score(value, self.normalised)

    def scores(self, psi: str) -> dict[int, float]:
        """Of a form, by seed."""
        of = {trial.seed: self.score(trial, judged(one["summary"])["J"]) for trial, one in self.of(psi).items()}
        return {seed: score for seed, score in of.items() if score is not None}

    def of(self, psi: str) -> dict[Trial, Found]:
        """The trials of a form."""
        return {trial: one for trial, one in self.found.items() if trial.psi == psi}

    def gaps(self) -> dict[int, float]:
        """Joint less late, by seed."""
        joint, late = self.scores("joint"), self.scores("late")
        return {seed: joint[seed] - late[seed] for seed in joint if seed in late}


def scale_of(one: Found) -> Scale:
    """The anchors of a trial."""
    anchors = judged(one["summary"])["anchors"]
    random, oracle = anchors["random"]["J"], anchors.get("oracle", {}).get("J")
    return Scale(random, oracle if oracle is not None and oracle - random > ZERO else None)


def describe(runs: Runs, measured: Found, run: RunConfig, forms: Sequence[str], margin: float) -> dict[str, Any]:
    """What is known of one cell.

    Args:
        runs: its trials that are done.
        measured: "ns" and "ladder", as far as they are known.
        run: settings of one of its trials.
        forms: to be told.
        margin: within which a gap counts as none.
    """
    gaps, joint, late = (list(values.values()) for values in (runs.gaps(), runs.scores("joint"), runs.scores("late")))
    gap = statistics.mean(gaps)._asdict() if gaps else None
    if gap is not None:
        test = statistics.sign_flip(gaps, chance())
        inside = statistics.equivalent(gaps, margin) if runs.normalised else None
        gap |= {"n": len(gaps), "p": test.p, "smallest": test.smallest, "equivalent": inside}
    return {
        "env": runs.cell.env,
        "coupling": runs.cell.coupling,
        "parameters": {key: value for key, value in run.env.items() if key != "id"},
        "steps": run.steps,
        "memory": run.agent.memory,
        "score": "normalised" if runs.normalised else "J",
        "ns": _nonseparability(runs, measured, run.env),
        "anchors": _anchors(runs, measured.get("ladder")),
        "forms": {psi: _form(runs, psi) for psi in forms},
        "gap": gap,
        "improvement": statistics.improvement(joint, late)._asdict() if joint and late else None,
        "diagnostics": _diagnostics(runs),
    }


def _nonseparability(runs: Runs, measured: Found, env: Mapping[str, Any]) -> dict[str, Any] | None:
    """As measured; else as the world states it in closed form."""
    ns = measured.get("ns")
    stated = next((one["summary"].get("nonseparability") for one in runs.found.values()), None)
    if ns is None and stated is not None:
        ns = {"nats": stated, "information": None, "share": None, "how": "closed form"}
    told = [f"env={env['id']}", *(f"env.{key}={write_value(value)}" for key, value in env.items() if key != "id")]
    return ns and {"command": command("study=separability", *told)} | ns


def _anchors(runs: Runs, ladder: Found | None) -> dict[str, float | None]:
    """Scores of reference; the ladder's where it is proved, of the world itself, and worth J: in worlds of one step."""
    scales = [scale_of(one) for one in runs.found.values()]
    random = float(np.mean([scale.random for scale in scales])) if scales else None
    oracles = [scale.oracle for scale in scales if scale.oracle is not None]
    mean = Scale(random or 0.0, float(np.mean(oracles)) if oracles else None)
    anchors: dict[str, float | None] = dict.fromkeys(
        ("random", "oracle", "late optimum", "joint optimum", "text", "image")
    )
    if random is None:
        return anchors
    values: dict[str, float | None] = {"random": random, "oracle": mean.oracle}
    if ladder and ladder["whole"] and ladder["certified"] and ladder["steps"] == 1:
        values |= {"late optimum": ladder["late"], "joint optimum": ladder["joint"]}
        values |= dict(zip(ladder["modalities"], ladder["single"], strict=True))
    return anchors | {name: mean.score(value, runs.normalised) for name, value in values.items()}


def _form(runs: Runs, psi: str) -> dict[str, Any]:
    scores, successes = runs.scores(psi), [judged(one["summary"])["success"] for one in runs.of(psi).values()]
    return {
        "scores": {str(seed): score for seed, score in scores.items()},
        "iqm": statistics.iqm([list(scores.values())], chance())._asdict() if scores else None,
        "success": statistics.mean(successes, 0.0, 1.0)._asdict() if successes else None,
    }


def _diagnostics(runs: Runs) -> dict[str, Any] | None:
    """Scores of trained joint agents as they are, without their interactions, and with a modality of other worlds."""
    told = {trial: one["diagnostics"] for trial, one in runs.of("joint").items() if one.get("diagnostics")}

    def over_seeds(values: Mapping[Trial, float | None]) -> dict[str, Any] | None:
        scores = [score for trial, value in values.items() if (score := runs.score(trial, value)) is not None]
        return statistics.mean(scores)._asdict() if scores else None

    if not told:
        return None
    names = dict.fromkeys(name for one in told.values() for name in one["shuffle"])
    shuffle = {name: over_seeds({trial: one["shuffle"].get(name) for trial, one in told.items()}) for name in names}
    whole, emap = (over_seeds({trial: one.get(key) for trial, one in told.items()}) for key in ("whole", "emap"))
    return {"shuffle": shuffle, "emap": emap, "whole": whole}


def chance() -> np.random.Generator:
    """Draws of bootstraps, the same each time."""
    return np.random.default_rng(_SEED)
