"""The report of an ablation study: one HTML file that needs nothing else, written from ablation.json.

Any part may be missing, as when trials failed: then the page says so and shows what there is. Equal folders give equal
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
from experiments.ablation import cards, estimates, figures, findings, tables
from experiments.ablation import summary as read
from experiments.ablation.plain import to_csv, to_markdown
from experiments.ablation.summary import AHEAD, SLIGHT, CellResult, Summary, ends, signless
from experiments.colophon import configuration, machine
from experiments.page import brief, finite, number, rows_of
from unienv.aside import write_aside

_TEMPLATE = Path(__file__).with_suffix(".html")
_FILE = "ablation.json"
_NEEDED = {"": "a run folder", _FILE: "figures of an ablation study"}
_EXPECTED = {  # sections that a whole study fills
    "headline": "gap against non-separability",
    "scores": "scores by form",
    "learning": "learning curves",
    "cells": "the cells",
    "controls": "controls",
    "diagnostics": "diagnostics",
    "worlds": "the worlds",
    "trials": "trials",
}


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run folder.

    Args:
        folder: holds ablation.json.

    Returns:
        Path of the report, which appears whole or not at all.

    Raises:
        FileNotFoundError: one line, when the folder or the file is missing.
        ValueError: one line, when the file is damaged.
    """
    page.check_files(folder, _NEEDED)
    return page.write_page(folder / "report.html", _page(folder))


def leave(summary: Summary, folder: Path, console: Console) -> None:
    """The study as table, text and page, written from the folder's ablation.json, and what it says on the terminal."""
    write_aside(folder / "ablation.csv", to_csv(summary))
    write_aside(folder / "ablation.md", to_markdown(summary))
    write_report(folder)
    tell(summary, console)
    console.print(f"run folder  {folder}\nreport      {folder / 'report.html'}", soft_wrap=True)


def _page(folder: Path) -> str:
    summary = page.read_mapping(folder / _FILE, json.loads)
    cells, controls, margin = read.cells(summary), read.controls(summary), read.margin(summary)
    worlds, names = read.by_world(cells), [cell.name for cell in cells]
    sections = {
        "claims": {"claim_rows": tables.claims(summary)},
        "headline": {"plot_headline": figures.headline(cells, margin)},
        "estimates": estimates.section(cells),
        "scores": {"plots_scores": _panels(worlds, map(figures.scores, worlds.values()))},
        "cells": {"cell_rows": tables.cells(cells)},
        "controls": {"plot_controls": figures.controls(controls, margin), "control_rows": tables.controls(controls)},
        "learning": {"plots_learning": _panels(names, map(figures.learning, cells))},
        "diagnostics": {
            "plot_diagnostics": figures.diagnostics(cells),
            "diagnostic_rows": tables.diagnostics(cells),
        },
        "failures": {"failed": _failed(summary)},
        "worlds": {"world_cards": cards.cards(summary, cells)},
        "measurements": {"measurement_rows": tables.commands(cells)},
        "trials": {"trial_rows": tables.trials(summary)},
    }
    missing = [what for name, what in _EXPECTED.items() if not any(sections[name].values())]
    fields = {"title": ", ".join(worlds) or folder.name, "command": summary.get("command") or "n/a"}
    fields |= {"verdict": findings.verdict(summary), "margin": f"\u00b1{signless(margin)}" if margin else "the margin"}
    fields |= {"trial_count": number(len(rows_of(summary.get("trials"), dict)), 0), "about": _about(summary, cells)}
    elements = {
        "alerts": _alerts(summary, missing),
        "cards": "".join(starmap(_card, _headline(summary, cells))),
        "forms": figures.legend(read.forms_of(cells)),
        "configuration": configuration(summary.get("config")),
        "machine": machine(summary),
    }
    return page.assemble(
        _TEMPLATE.read_text(encoding="utf-8"), fields | _trend(summary) | _findings(summary, cells), elements, sections
    )


def _about(summary: Summary, cells: Sequence[CellResult]) -> str:
    """What was run, in a line; of tables that were put together, that they were."""
    seeds = {seed for cell in cells for form in cell.forms.values() for seed in form.scores}
    counts = {"world": len(read.by_world(cells)), "cell": len(cells), "form": len(read.forms_of(cells))}
    counts |= {"seed": len(seeds), "trial": _done(summary)}
    said = ", ".join(f"{count:,} {name}{'s' * (count > 1)}" for name, count in counts.items() if count)
    return f"{said}. {summary.get('note', '')}".rstrip(" .")


def _done(summary: Summary) -> int:
    """Trials that came to their end."""
    return sum(finite(row.get("J")) is not None for row in rows_of(summary.get("trials"), dict))


def _alerts(summary: Summary, missing: Sequence[str]) -> str:
    failed = len(read.failures(summary))
    said = [f"Not in this run: {', '.join(missing)}."] if missing else []
    if failed:
        said.append(f"Jobs that failed: {failed}, listed below. What follows is without them.")
    return "".join(f"<p>{escape(text)}</p>" for text in said)


def _failed(summary: Summary) -> str:
    return "".join(f"<li>{escape(f'{trial}: {why}')}</li>" for trial, why in read.failures(summary))


def _card(name: str, value: str, note: str) -> str:
    name, value, note = map(escape, (name, value, note))
    return f"<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>"


def _headline(summary: Summary, cells: Sequence[CellResult]) -> list[tuple[str, str, str]]:
    """The main figures: name, value, note."""
    trend, controls, tested = read.trend(summary), read.controls(summary), findings.joint(cells)
    won = sum(cell.verdict in (AHEAD, SLIGHT) for cell in tested)
    gaps = [(cell.gap, cell.name) for cell in cells if cell.gap and cell.normalised]
    best, where = max(gaps, key=lambda pair: pair[0].value, default=(None, ""))
    margin = read.margin(summary)
    return [
        ("Rank correlation", signless(trend.rho and trend.rho.value), f"{ends(trend.rho)} of gap and NS".strip()),
        ("p", brief(trend.p), f"of the pre-stated test, {number(trend.n, 0)} cells"),
        (
            "Controls",
            f"{findings.equivalent(controls)} of {len(controls)}",
            f"with NS = 0 inside \u00b1{signless(margin)}",
        ),
        ("Joint ahead", f"{won} of {len(tested)}", "cells with NS > 0, p \u2264 0.05, corrected"),
        ("Largest gap", signless(best and best.value), f"{ends(best)} {where}".strip()),
        ("Trials", number(_done(summary), 0), f"jobs that failed: {len(read.failures(summary))}"),
    ]


def _trend(summary: Summary) -> dict[str, str]:
    found = read.trend(summary)
    return {
        "rho": signless(found.rho and found.rho.value),
        "rho_ends": ends(found.rho) or "n/a",
        "p": brief(found.p),
        "smallest": brief(found.smallest),
        "trend_n": number(found.n, 0),
    }


def _findings(summary: Summary, cells: Sequence[CellResult]) -> dict[str, str]:
    return {
        "headline_finding": read.trend(summary).statement or findings.trend(summary),
        "unmeasured": findings.unmeasured(cells),
        "scores_finding": findings.scores(summary),
        "cells_finding": findings.ahead(cells),
        "controls_finding": findings.controls(summary),
        "estimates_finding": estimates.finding(cells),
        "learning_finding": findings.learning(cells),
        "diagnostics_finding": findings.diagnostics(cells),
        "seeds": findings.seeds(cells),
    }


def _panels(names: Iterable[str], plots: Iterable[str]) -> str:
    """Plots side by side, each below its name."""
    pairs = zip(names, plots, strict=True)
    return "".join(f'<div class="card"><h3>{escape(name)}</h3>{plot}</div>' for name, plot in pairs if plot)


def tell(summary: Summary, console: Console) -> None:
    """Print the cells, the trend over them and the trials that failed."""
    cells = read.cells(summary)
    shown = Table("cell", title=f"Joint against late, {read.unit(cells)}", title_justify="left")
    for name in ("NS, nats", "joint", "late", "gap", "95 %"):
        shown.add_column(name, justify="right")
    shown.add_column("verdict")
    for cell in cells:
        iqms = [cell.forms[form].iqm if form in cell.forms else None for form in ("joint", "late")]
        values = [signless(value and value.value) for value in (*iqms, cell.gap)]
        row = cell.name, cell.ns.told if cell.ns else "n/a", *values, ends(cell.gap), cell.verdict
        shown.add_row(*map(Text, row))  # never markup
    if cells:
        console.print(shown)
    for line in filter(None, (findings.trend(summary), findings.controls(summary))):
        console.print(Text(line))
    for trial, why in read.failures(summary):
        console.print(Text(f"failed: {trial}: {why}", "red"))
