"""The report of an imagination study: one HTML file that needs nothing else, written from imagination.json.

Any part may be missing, as when jobs failed: then the page says so and shows what there is. Equal folders give equal
bytes.
"""

import json
from collections.abc import Iterable, Sequence
from html import escape
from itertools import starmap
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments import page
from experiments.ablation.statistics import Estimate
from experiments.ablation.summary import ends, failures, signless, told
from experiments.ablation.tables import claims
from experiments.colophon import configuration, machine
from experiments.imagination import figures
from experiments.imagination import summary as read
from experiments.imagination.plain import conditions
from experiments.imagination.summary import IMAGINE, CellResult, Learner, Placed, Summary, World
from experiments.page import brief, nats, number, rows_of, settings

_TEMPLATE = Path(__file__).with_suffix(".html")
_FILE = "imagination.json"
_NEEDED = {"": "a run folder", _FILE: "figures of an imagination study"}
_EXPECTED = {  # sections that a whole study fills
    "forms": "what the product form loses",
    "cells": "log-losses",
    "agents": "agents that imagine",
}
_HEADS = ("Learner", "Return", "Less model-free", "p", "Success", "Seconds")


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run folder.

    Args:
        folder: holds imagination.json.

    Returns:
        Path of the report, which appears whole or not at all.

    Raises:
        FileNotFoundError: one line, when the folder or the file is missing.
        ValueError: one line, when the file is damaged.
    """
    page.check_files(folder, _NEEDED)
    return page.write_page(folder / "report.html", _page(folder))


def _page(folder: Path) -> str:
    summary = page.read_mapping(folder / _FILE, json.loads)
    cells, worlds = read.cells(summary), read.worlds(summary)
    points = read.placed(cells)
    sections = {
        "claims": {"claim_rows": claims(summary)},
        "forms": {"plot_forms": figures.headline(points)},
        "cells": {"cell_rows": "".join(map(_cell, cells))},
        "agents": {"agents_of_worlds": "".join(map(_world, worlds))},
        "failures": {"failed": "".join(f"<li>{escape(f'{job}: {why}')}</li>" for job, why in failures(summary))},
        "runs": {"run_rows": "".join(_runs(worlds))},
    }
    missing = [what for name, what in _EXPECTED.items() if not any(sections[name].values())]
    fields = {
        "about": _about(cells, worlds),
        "verdict": _verdict(summary),
        "command": summary.get("command") or "n/a",
        "forms_finding": _lost(points),
        "agents_finding": _imagined(worlds),
        "least_p": _least(worlds),
    }
    elements = {
        "alerts": _alerts(summary, missing),
        "cards": "".join(starmap(_card, _headline(summary, points, worlds))),
        "configuration": configuration(summary.get("config")),
        "machine": machine(summary),
    }
    return page.assemble(_TEMPLATE.read_text(encoding="utf-8"), fields, elements, sections)


def _about(cells: Sequence[CellResult], worlds: Sequence[World]) -> str:
    """What was run, in a line."""
    models = max((part.seeds for cell in cells for part in cell.parts), default=0)
    agents = max((len(one.scores) for world in worlds for one in world.learners), default=0)
    counts = ("World models in", len(cells), "cell", models), ("Agents in", len(worlds), "world", agents)
    return " ".join(
        f"{begin} {_count(many, place)}, {_count(seeds, 'seed')} each." for begin, many, place, seeds in counts if many
    )


def _count(many: int, name: str) -> str:
    return f"{many} {name}{'' if many == 1 else 's'}"


def _verdict(summary: Summary) -> str:
    verdicts = [str(row.get("verdict")) for row in rows_of(summary.get("claims"), dict)]
    if not verdicts:
        return "No claim was tested."
    holds, fails = (verdicts.count(verdict) for verdict in ("holds", "does not hold"))
    return f"Claims that hold: {holds}; that do not: {fails}; not decided: {len(verdicts) - holds - fails}."


def _alerts(summary: Summary, missing: Sequence[str]) -> str:
    said = [f"Not in this run: {', '.join(missing)}."] if missing else []
    if failed := len(failures(summary)):
        said.append(f"Jobs that failed: {failed}, listed below. What follows is without them.")
    return "".join(f"<p>{escape(text)}</p>" for text in said)


def _card(name: str, value: str, note: str) -> str:
    name, value, note = map(escape, (name, value, note))
    return f"<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>"


def _headline(summary: Summary, points: Sequence[Placed], worlds: Sequence[World]) -> list[tuple[str, str, str]]:
    """The main figures: name, value, note."""
    shown = []
    if points:
        most, far = max(points, key=lambda point: point.exact), max(points, key=lambda point: point.miss)
        shown.append(("Most to lose", nats(most.exact), f"nats, {most.part.told}; {told(most.lost, 3)} lost"))
        shown.append(("Farthest off", nats(far.miss), f"nats from exact, {far.part.told}"))
    for world in worlds:
        for learner in world.learners:
            if learner.name == IMAGINE and learner.difference:
                value, around = signless(learner.difference.value), ends(learner.difference)
                note = f"{around} of return over model-free, p\u00a0=\u00a0{brief(learner.p)}"
                shown.append((f"Imagined, {world.env}", value, note.strip()))
    return [*shown, ("Jobs that failed", number(len(failures(summary)), 0), "")]


def _lost(points: Sequence[Placed]) -> str:
    """What lies on the diagonal, and what does not."""
    said = []
    if some := [point for point in points if point.exact > 0]:
        far = max(some, key=lambda point: point.miss)
        said.append(
            f"Of {_count(len(some), 'part')} where something must be lost, farthest off is {far.part.told}: "
            f"{told(far.lost, 4)} for {nats(far.exact)}."
        )
    if none := [point.lost.value for point in points if point.exact <= 0]:
        low, high = (signless(end(none), 4) for end in (min, max))
        said.append(f"Of {_count(len(none), 'part')} where nothing must be, {low} to {high} nats are lost.")
    return " ".join(said)


def _imagined(worlds: Sequence[World]) -> str:
    """Differences of agents that imagine."""
    said = [
        f"{told(one.difference)} in {world.env}, p\u00a0=\u00a0{brief(one.p)}"
        for world in worlds
        for one in world.learners
        if one.name == IMAGINE and one.difference
    ]
    return f"Normalised return with imagined rollouts, less model-free: {'; '.join(said)}." if said else ""


def _least(worlds: Sequence[World]) -> str:
    """What so few seeds can show."""
    counts = [len(one.scores) for world in worlds for one in world.learners if one.p is not None and one.scores]
    if not counts:
        return ""
    return f"With {_count(max(counts), 'seed')} no p can be below {brief(2 / 2 ** max(counts))}."


def _cell(cell: CellResult) -> str:
    """Rows of a cell: a part each, below its name."""
    name = f"{escape(cell.name)} <small>{escape(settings(cell.parameters))}</small>"
    rows = "".join(_row(part.name, map(_nats, (part.exact, part.lost, part.joint, part.late))) for part in cell.parts)
    return f'<tbody><tr><th colspan="5" scope="rowgroup">{name}</th></tr>{rows}</tbody>'


def _nats(value: Estimate | float | None) -> str:
    return _estimate(value, 4) if isinstance(value, Estimate) else nats(value)


def _estimate(value: Estimate | None, digits: int = 2) -> str:
    """A value, and below it its interval."""
    around = ends(value, digits)
    return signless(value and value.value, digits) + (f"<small>{around}</small>" if around else "")


def _row(name: str, cells: Iterable[str]) -> str:
    return f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{text}</td>" for text in cells)}</tr>'


def _world(world: World) -> str:
    """A card: how its agents were trained, what they reach, and the differences."""
    heads = "".join(f'<th scope="col">{name}</th>' for name in _HEADS)
    rows = "".join(_row(learner.name, _agents(learner)) for learner in world.learners)
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    label = f'tabindex="0" role="region" aria-label="agents of {escape(world.env)}"'
    return (
        f'<article class="card"><h3>{escape(world.env)}</h3><p><small>{escape(conditions(world))}</small></p>'
        f'{figures.scores(world)}<div class="scroll" {label}>{table}</div></article>'
    )


def _agents(learner: Learner) -> list[str]:
    figures_of = [_estimate(learner.score), _estimate(learner.difference), brief(learner.p)]
    return [*figures_of, _estimate(learner.success), number(learner.seconds, 0)]


def _runs(worlds: Sequence[World]) -> Iterable[str]:
    """Each agent, what it reached, and the command that trains it again."""
    for world in worlds:
        for learner in world.learners:
            for seed in dict.fromkeys([*learner.scores, *learner.commands]):
                command = f"<code>{escape(learner.commands.get(seed, 'n/a'))}</code>"
                yield _row(f"{world.env}, {learner.name}, {seed}", [signless(learner.scores.get(seed), 3), command])


def tell(summary: Summary, console: Console) -> None:
    """Print what the product form loses, the agents, the claims and the jobs that failed."""
    shown = Table("cell", "part", title="What the product form loses, nats a step", title_justify="left")
    for name in ("exact", "lost"):
        shown.add_column(name, justify="right")
    for part, exact, lost in read.placed(read.cells(summary)):
        shown.add_row(*map(Text, (part.cell, part.name, nats(exact), told(lost, 4))))  # never markup
    agents = Table("world", "learner", title="Agents at equal steps, normalised return", title_justify="left")
    for name in ("score", "less model-free", "p", "seconds"):
        agents.add_column(name, justify="right")
    for world in read.worlds(summary):
        for one in world.learners:
            figures_of = told(one.score), told(one.difference), brief(one.p), number(one.seconds, 0)
            agents.add_row(*map(Text, (world.env, one.name, *figures_of)))
    for table in (shown, agents):
        if table.row_count:
            console.print(table)
    for row in rows_of(summary.get("claims"), dict):
        console.print(Text(f"{row.get('verdict')}: {row.get('claim')}"), soft_wrap=True)
    for job, why in failures(summary):
        console.print(Text(f"failed: {job}: {why}", "red"), soft_wrap=True)
