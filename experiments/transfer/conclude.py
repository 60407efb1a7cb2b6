"""The end of the transfer study: tokens against latents, on manuals trained with and on manuals held out."""

import math
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from rich.console import Console
from rich.table import Table

from agents.bridge import TEXTS
from encoders.text.corpus import SPLITS
from experiments.ablation.claims import said
from experiments.ablation.statistics import mean, sign_flip
from experiments.evaluate import hardware, versions
from experiments.jobs import results
from experiments.markdown import bullets, table
from experiments.page import brief, number, settings
from experiments.studies import reproduce
from experiments.transfer.jobs import Study
from experiments.transfer.plan import run_config, tasks

Found = Mapping[str, Any]


class Measure(NamedTuple):
    """What agents are compared by: in words, 1 where more is better and -1 where less is, and the most there can be."""

    told: str
    sign: int
    most: float = 1.0


MEASURES = {
    "success": Measure("episodes in which the door opens", 1),
    "foreseen": Measure("attempts at the door whose end is foreseen, 0.5 by chance", 1),
    "nats": Measure("-log p of that end, 0.693 by chance, more where sure and wrong", -1, math.inf),
}
_HOW = """\
Agents are trained with `env.split=train`; "test" are manuals that neither they nor the bridge have seen. Means over
seeds with Student's t intervals at the 95 % level. latent - tokens is paired by seed; `p` is the exact one-sided
sign-flip test that latents are better, which with n seeds gives no less than 1/2^n; it is not corrected for the number
of measures. Carried over is test less train, 0 for an agent that reads new manuals as well as those it knows. Attempts
are those of random actions, with a key in hand, weighted so that half of them succeed."""


def conclude(study: Study, failed: Mapping[str, str]) -> dict[str, Any]:
    """What all agents have shown; None where too little is done.

    Args:
        study: whose jobs are done, but for those that failed.
        failed: what went wrong, by job.
    """
    config, found = study.config, results(study.folder)
    done = {task: found[name] for name, task in tasks(config).items() if name in found}
    agents = {kind: {t.seed: one for t, one in done.items() if t.kind == kind} for kind in TEXTS}
    run = run_config(config, next(task for task in tasks(config).values() if task.kind == "tokens"), study.folder)
    first = next((one["summary"] for of in agents.values() for one in of.values()), {})
    return {
        "command": " ".join([reproduce(replace(config, trial=[])), *map(shlex.quote, config.trial)]),
        "versions": first.get("versions") or versions(),
        "hardware": first.get("hardware") or hardware("cpu"),
        "config": asdict(config),
        "env": run.env,
        "steps": run.steps,
        "failed": dict(failed),
        "measures": {name: _measure(agents, name) for name in MEASURES},
        "anchors": {name: _anchor(agents["tokens"].values(), name) for name in ("random", "oracle")},
        "given_back": _told([one["given_back"] for task, one in done.items() if task.kind == "bridge"], 0.0, 1.0),
        "agents": [_agent(kind, seed, one) for kind, of in agents.items() for seed, one in of.items()],
    }


def _anchor(found: Iterable[Found], name: str) -> dict[str, Any] | None:
    return _told([one["summary"]["anchors"][name]["success"] for one in found], 0.0, 1.0)


def _measure(agents: Mapping[str, Mapping[int, Found]], name: str) -> dict[str, Any]:
    of = {
        kind: {split: {seed: _value(one, name, split) for seed, one in found.items()} for split in SPLITS}
        for kind, found in agents.items()
    }
    both = sorted(of["latent"]["train"].keys() & of["tokens"]["train"])
    gaps = {split: [of["latent"][split][seed] - of["tokens"][split][seed] for seed in both] for split in SPLITS}
    forward = {split: [MEASURES[name].sign * gap for gap in gaps[split]] for split in SPLITS}
    most = MEASURES[name].most
    return {
        "means": {
            kind: {split: _told(list(of[kind][split].values()), 0.0, most) for split in SPLITS} for kind in TEXTS
        },
        "carried": {kind: _told([of[kind]["test"][s] - x for s, x in of[kind]["train"].items()]) for kind in TEXTS},
        "gap": {split: _told(gaps[split]) for split in SPLITS},
        "p": {split: sign_flip(forward[split], np.random.default_rng(0)).p if both else None for split in SPLITS},
    }


def _value(one: Found, name: str, split: str) -> float:
    if name != "success":
        return one["foresight"][split][name]
    return one["summary"]["success"] if split == "train" else one["summary"]["held_out"]["success"]


def _told(values: ArrayLike, least: float = -math.inf, most: float = math.inf) -> dict[str, Any] | None:
    return mean(values, least, most)._asdict() if np.size(values) else None


def _agent(kind: str, seed: int, one: Found) -> dict[str, Any]:
    values = {name: {split: _value(one, name, split) for split in SPLITS} for name in MEASURES}
    size = one["summary"]["parameters"]
    return {"text": kind, "seed": seed, **values, "parameters": size, "seconds": one["seconds"]}


def _rows(summary: Found, say: Callable[[Found | None], str]) -> list[list[str]]:
    """A line for each measure and split."""
    rows = []
    for name, one in summary["measures"].items():
        for split in SPLITS:
            means = [say(one["means"][kind][split]) for kind in TEXTS]
            rows.append([name, split, *means, say(one["gap"][split]), brief(one["p"][split])])
        rows.append([name, "carried over", *(say(one["carried"][kind]) for kind in TEXTS), "", ""])
    return rows


def _short(estimate: Found | None) -> str:
    """An estimate for narrow terminals."""
    if estimate is None:
        return "n/a"
    reach = "" if estimate["high"] is None else f" \u00b1 {number(estimate['high'] - estimate['value'])}"
    return number(estimate["value"]) + reach


_HEAD = ["measure", "manuals", *TEXTS, "latent - tokens", "p"]


def to_markdown(summary: Found) -> str:
    """The study as text."""
    told = [f"`{name}`: {what.told}." for name, what in MEASURES.items()]
    anchors = ", ".join(f"{name} {said(value)}" for name, value in summary["anchors"].items())
    told.append(f"Success of {anchors}.")
    told.append(f"Share of the manuals held out that a bridge gives back whole: {said(summary['given_back'])}.")
    told += [f"Failed: `{name}`: {why}." for name, why in summary["failed"].items()]
    blocks = [
        "# Transfer: the text of `manual` as tokens and as latents of a bridge",
        f"{settings(summary['env'])}; {summary['steps']:,} steps.",
        table(_HEAD, _rows(summary, said)),
        bullets(told),
        _HOW,
        f"```\n{summary['command']}\n```",
        settings(summary["versions"]),
        settings(summary["hardware"]),
    ]
    return "\n\n".join(blocks) + "\n"


def tell(summary: Found, console: Console) -> None:
    """The table in the terminal."""
    shown = Table(title="manual: tokens against latents, means over seeds with 95 % intervals", title_justify="left")
    for name in _HEAD:
        shown.add_column(name)
    for row in _rows(summary, _short):
        shown.add_row(*row)
    console.print(shown)
