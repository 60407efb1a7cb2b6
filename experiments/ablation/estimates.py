"""The part of the page on environments whose NS is estimated: the gap by NS, and what may be claimed of each."""

from collections.abc import Sequence
from html import escape

from experiments.ablation import figures, findings
from experiments.ablation.summary import CellResult, told
from experiments.page import items


def section(cells: Sequence[CellResult]) -> dict[str, str]:
    """Elements of the section; each "" where no cell has an estimate."""
    return {"plot_estimates": figures.estimated(cells), "estimate_cards": "".join(map(_card, cells))}


def finding(cells: Sequence[CellResult]) -> str:
    """What the section shows, and why it stands apart."""
    said = findings.estimated(cells)
    return said and f"{said} These cells enter neither the trend nor the controls."


def _card(cell: CellResult) -> str:
    """One environment: its estimate, its gap, and both lists of claims."""
    if cell.ns is None or not cell.ns.estimated:
        return ""
    unit = "of normalised return" if cell.normalised else "of J"
    said = f"NS in nats a step: {cell.ns.told} ({cell.ns.note}). Gap: {told(cell.gap)} {unit}, {cell.verdict}."
    lists = "".join(
        f"<div><h4>{title}</h4><ul>{items(claims) or '<li>Nothing.</li>'}</ul></div>"
        for title, claims in (("May be claimed", cell.may), ("May not be claimed", cell.may_not), ("Mind", cell.mind))
    )
    head = f"<h3>{escape(cell.name)}</h3><p>{escape(said)}</p>"
    return f'<div class="card estimate">{head}<div class="claimed">{lists}</div></div>'
