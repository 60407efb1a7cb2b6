"""What the figures of an ablation study say, in words; "" where there is nothing to say."""

from collections.abc import Sequence

from experiments.ablation import summary as read
from experiments.ablation.figures import placed, placed_aside, probes
from experiments.ablation.summary import AHEAD, LEVEL, SLIGHT, CellResult, Control, Summary, signless, told
from experiments.page import brief

_STILL = 0.05  # rise of success over the last fifth of training that counts as one
_COMPARED = ("joint", "late")


def verdict(summary: Summary) -> str:
    """The study in a few sentences."""
    cells = read.cells(summary)
    if not cells:
        return "No cell was measured."
    return " ".join(filter(None, (trend(summary), controls(summary), ahead(cells), estimated(cells))))


def trend(summary: Summary) -> str:
    """The pre-stated test of gap and non-separability."""
    found = read.trend(summary)
    if found.rho is None:
        return "The trend of gap and non-separability was not measured."
    said = f"rank correlation {told(found.rho)}, p\u00a0=\u00a0{brief(found.p)}"
    over = f"Over {found.n:.0f} cells" if found.n else "Over the cells"
    if found.p is not None and found.p <= LEVEL:
        return f"{over} the return gap rises with measured non-separability: {said}."
    return f"{over} it is not shown that the return gap rises with measured non-separability: {said}."


def controls(summary: Summary) -> str:
    """How many controls pass the test of equivalence."""
    found = read.controls(summary)
    if not found:
        return ""
    margin = read.margin(summary)
    inside = f"inside \u00b1{signless(margin)}" if margin else "inside the margin"
    whole = f"On {equivalent(found)} of {len(found)} controls, cells with NS = 0, the gap's interval lies {inside}"
    open_ones = [control.name for control in found if not control.equivalent]
    return f"{whole}; not on {', '.join(open_ones)}." if open_ones else f"{whole}."


def equivalent(found: Sequence[Control]) -> int:
    """Controls whose interval lies inside the margin."""
    return sum(bool(control.equivalent) for control in found)


def ahead(cells: Sequence[CellResult]) -> str:
    """In how many cells joint agents do better than late ones."""
    tested = joint(cells)
    won = sum(cell.verdict in (AHEAD, SLIGHT) for cell in tested)
    return f"Joint is ahead of late in {won} of {len(tested)} cells with NS > 0." if tested else ""


def joint(cells: Sequence[CellResult]) -> list[CellResult]:
    """Cells with a gap whose feedback is known exactly not to be separable."""
    return [cell for cell in cells if cell.gap and cell.ns and cell.ns.detected and not cell.ns.estimated]


def estimated(cells: Sequence[CellResult]) -> str:
    """What came of cells whose NS is estimated."""
    known = [(cell, cell.ns.detected) for cell in cells if cell.gap and cell.ns and cell.ns.estimated]
    if not known:
        return ""
    said = []
    for rejected, where in ((True, "where separability is rejected"), (False, "where it is not")):
        verdicts = [cell.verdict for cell, detected in known if detected == rejected]
        if verdicts:
            said.append(f"in {sum(v in (AHEAD, SLIGHT) for v in verdicts)} of {len(verdicts)} {where}")
    return f"In environments with an estimated NS joint is ahead of late {' and '.join(said)}."


def unmeasured(cells: Sequence[CellResult]) -> str:
    """Cells that have no place in the headline figure."""
    names = [cell.name for cell in cells if not placed(cell) and not placed_aside(cell)]
    return f"Without NS, gap or oracle, and so not drawn: {', '.join(names)}." if names else ""


def scores(summary: Summary) -> str:
    """IQM of each form over all cells, and of several cells its range."""
    cells, overall = read.cells(summary), read.at(summary, "overall", "iqm")
    normalised = [cell for cell in cells if cell.normalised]  # J has another scale in every world
    whole = [f"{form} {told(iqm)}" for form in read.forms_of(cells) if (iqm := read.estimate(read.at(overall, form)))]
    said = f"IQM over all cells that have every form: {', '.join(whole)}. " if whole else ""
    parts = []
    for form in read.forms_of(cells):
        values = [iqm.value for cell in normalised if form in cell.forms and (iqm := cell.forms[form].iqm)]
        if values:
            low, high = (signless(end(values)) for end in (min, max))
            parts.append(f"{form} {low}" if low == high else f"{form} {low} to {high}")
    ranged = parts and len(normalised) > 1
    return f"{said}From the worst cell to the best: {', '.join(parts)}." if ranged else said.strip()


def learning(cells: Sequence[CellResult]) -> str:
    """Cells whose training may have ended too early to compare forms."""
    known = [cell for cell in cells if any(form in cell.curves for form in _COMPARED)]
    if not known:
        return ""
    names = [cell.name for cell in known if any(_rise(cell, form) > _STILL for form in _COMPARED)]
    if not names:
        return f"In none of {len(known)} cells did joint or late still rise by more than {_STILL} over the last fifth."
    return f"Joint or late still rose by more than {_STILL} over the last fifth in {', '.join(names)}."


def _rise(cell: CellResult, form: str) -> float:
    points = cell.curves.get(form, ())
    if len(points) < 2:
        return 0.0
    before = [point for point in points if point.steps <= 0.8 * points[-1].steps]
    return points[-1].mean - (before or points)[-1 if before else 0].mean


def diagnostics(cells: Sequence[CellResult]) -> str:
    """Where joint agents lose most and least by being made additive."""
    losses, shown_cells = [], [cell for cell in cells if cell.normalised] or cells
    for cell in shown_cells:
        shown = probes(cell)
        if "joint" in shown and cell.emap:
            losses.append((shown["joint"].value - cell.emap.value, cell.name))
    if not losses:
        return ""
    (least, lowest), (most, highest) = min(losses), max(losses)
    said = f"Made additive, joint agents lose {signless(most)} of {read.unit(shown_cells)} in {highest}"
    return f"{said}." if len(losses) == 1 else f"{said} (the most) and {signless(least)} in {lowest} (the least)."


def seeds(cells: Sequence[CellResult]) -> str:
    """What so few seeds can show."""
    counts = sorted({len(form.scores) for cell in cells for form in cell.forms.values() if form.scores})
    if not counts:
        return ""
    many = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    least = min((p for cell in cells if (p := cell.tests.smallest) is not None), default=None)
    bound = "" if least is None else f" No p of a cell can be below {brief(least)} with so few."
    return (
        f"Each form ran with {many} seed{'s' * (counts[-1] > 1)} a cell: enough to see a gap that is large beside the "
        "spread of seeds, too few to rule out a small one where the interval is wide. Intervals and tests are of these "
        f"runs alone, and tell nothing of other settings or longer training.{bound}"
    )
