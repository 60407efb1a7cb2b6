"""Tables of the page of an ablation study, as elements of the page; "" where there is nothing."""

from collections.abc import Iterable, Sequence
from html import escape

from experiments.ablation.figures import form_colour, probe_names, probes
from experiments.ablation.summary import (
    AHEAD,
    BEHIND,
    EQUAL,
    SLIGHT,
    SLIGHTLY_BEHIND,
    CellResult,
    Control,
    Estimate,
    Summary,
    Tests,
    ends,
    forms_of,
    signless,
)
from experiments.page import brief, finite, percent, rows_of

_MARKS = {AHEAD: ("▲", "ahead"), SLIGHT: ("▲", "ahead"), EQUAL: ("=", "equal")}
_MARKS |= dict.fromkeys((BEHIND, SLIGHTLY_BEHIND), ("▼", "behind"))
_JUDGED = {"holds": ("\u2713", "equal"), "does not hold": ("\u2717", "behind")}
_NUMBERS = {"J": 3, "success": 3, "score": 3, "seconds": 0}  # of a trial, and their digits


def cells(found: Sequence[CellResult]) -> str:
    """All cells: non-separability, scores by form, gap and tests."""
    if not found:
        return ""
    forms = [form for form in forms_of(found) if any(form in cell.forms for cell in found)]
    heads = ["Cell", "NS, nats a step"]
    last = ["Gap, joint \u2212 late", "p, corrected", "P(joint &gt; late)"]
    named = [f'<span style="color:var(--{form_colour(form)})">{escape(form)}</span>' for form in forms]
    rows = []
    for cell in found:
        cells_of_row = [
            _with(cell.ns.told, escape(cell.ns.note)) if cell.ns else "n/a",
            *(_form(cell, form) for form in forms),
            _estimate(cell.gap),
            _tests(cell.tests),
            _estimate(cell.improvement),
        ]
        rows.append(f'<tr><th scope="row">{escape(cell.name)}{_verdict(cell.verdict)}</th>{_cells(cells_of_row)}</tr>')
    return f"{_head([*heads, *named, *last])}<tbody>{''.join(rows)}</tbody>"


def _form(cell: CellResult, form: str) -> str:
    found = cell.forms.get(form)
    if found is None:
        return "n/a"
    success = f"<small>{percent(found.success.value)}</small>" if found.success else ""
    return _estimate(found.iqm) + success


def _estimate(value: Estimate | None, digits: int = 2) -> str:
    """A value, and below it its interval."""
    return _with(signless(value and value.value, digits), ends(value, digits))


def _tests(found: Tests) -> str:
    note = f"Holm {brief(found.holm)}<br>alone {brief(found.alone)}" if found.alone is not None else ""
    return _with(brief(found.corrected), note)


def _with(text: str, note: str) -> str:
    return f"{text}<small>{note}</small>" if note else text


def _verdict(verdict: str) -> str:
    mark, kind = _MARKS.get(verdict, ("?", "open"))
    return f'<small class="{kind}">{mark} {escape(verdict)}</small>'


def _head(names: Iterable[str]) -> str:
    cells_of_head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f"<thead><tr>{cells_of_head}</tr></thead>"


def _cells(texts: Iterable[str]) -> str:
    return "".join(f"<td>{text}</td>" for text in texts)


def claims(summary: Summary) -> str:
    """What the study set out to test, and what came of it."""
    rows = []
    for row in rows_of(summary.get("claims"), dict):
        claim, verdict, evidence = (str(row.get(name) or "") for name in ("claim", "verdict", "evidence"))
        mark, kind = _JUDGED.get(verdict, ("?", "open"))
        told_verdict = f'<td class="{kind}">{mark}\u00a0{escape(verdict)}</td><td>{escape(evidence)}</td>'
        rows.append(f'<tr><th scope="row">{escape(claim)}</th>{told_verdict}</tr>')
    return "".join(rows)


def controls(found: Sequence[Control]) -> str:
    """Verdict of equivalence of each cell without non-separability."""
    said = {True: ("equal", "=\u00a0equivalent"), False: ("open", "?\u00a0not shown"), None: ("open", "n/a")}
    rows = []
    for control in found:
        kind, verdict = said[control.equivalent]
        name, gap = escape(control.name), _estimate(control.gap, 3)
        rows.append(f'<tr><th scope="row">{name}</th><td>{gap}</td><td class="{kind}">{verdict}</td></tr>')
    return "".join(rows)


def diagnostics(found: Sequence[CellResult]) -> str:
    """Normalised return of joint agents, and what diagnostics leave of it."""
    known = [(cell.name, shown) for cell in found if len(shown := probes(cell)) > 1]
    if not known:
        return ""
    names = probe_names(found)
    rows = (
        f'<tr><th scope="row">{escape(cell)}</th>{_cells(_estimate(shown.get(name)) for name in names)}</tr>'
        for cell, shown in known
    )
    return f"{_head(['Cell', *map(escape, names)])}<tbody>{''.join(rows)}</tbody>"


def commands(found: Sequence[CellResult]) -> str:
    """The command that measures the non-separability of each cell, where it is known."""
    known = ((cell.name, cell.ns.command) for cell in found if cell.ns and cell.ns.command)
    return "".join(
        f'<tr><th scope="row">{escape(name)}</th><td><code>{escape(command)}</code></td></tr>'
        for name, command in known
    )


def trials(summary: Summary) -> str:
    """Each trial, what it reached, and the command that does it again."""
    rows = []
    for row in rows_of(summary.get("trials"), dict):
        values = [signless(finite(row.get(name)), digits) for name, digits in _NUMBERS.items()]
        command = f"<code>{escape(str(row.get('command') or 'n/a'))}</code>"
        rows.append(f'<tr><th scope="row">{escape(str(row.get("name")))}</th>{_cells([*values, command])}</tr>')
    if not rows:
        return ""
    heads = ("Trial", "J", "Success", "Normalised", "Seconds", "Command")
    return f"{_head(heads)}<tbody>{''.join(rows)}</tbody>"
