"""The card of a separability study: one HTML file that needs nothing else, written from separability.json.

A number that is missing is "n/a", and a section without data is absent. Equal folders give equal bytes.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import page
from experiments.page import CURVE, INK, MUTED, brief, finite, nats, number, percent, points_of, rows_of, settings

_TEMPLATE = Path(__file__).with_suffix(".html")
_FILE = "separability.json"
_NEEDED = {"": "a run folder", _FILE: "figures of a separability study"}
_OBJECTS = ("parameters", "exact", "ladder", "estimate", "claims", "versions", "hardware")
_PANEL = (4.2, 2.3)  # inches

# Colours, the same through the card: what sums of scores express is what late fusion can do.
_LATE, _TRIPLE = "#96560d", "#0d3a4c"
_MODALITIES = {"text": "#7a4fa3", "image": "#2b7a4b", "video": "#b03a6f"}
_PALETTE = page.PALETTE | {_LATE: "late", _TRIPLE: "triple"} | {c: name for name, c in _MODALITIES.items()}

Row = Mapping[str, Any]
Elements = dict[str, str]  # of the page, by name; without any, a section is left out


class Parts(NamedTuple):
    """Where I(X;Y) goes, in nats; `connected` is C_2 .. C_M, empty where it was not told."""

    alive: float
    information: float
    nonseparability: float
    certificate: float
    connected: tuple[float, ...]

    @property
    def order(self) -> int | None:
        """The largest k whose C_k is more than rounding; 1 without any, None where it is not known."""
        least = max(1e-9, 10 * self.certificate)
        if not self.connected and self.nonseparability > least:
            return None
        return max((k for k, part in enumerate(self.connected, start=2) if part > least), default=1)

    @property
    def pieces(self) -> list[tuple[str, str, float]]:
        """(label, colour, nats) of each part; rounding may have left one below 0."""
        pieces = [("separable: sums of per-modality scores", _LATE, self.information - self.nonseparability)]
        for k, part in enumerate(self.connected, start=2):
            pieces.append((f"C{chr(0x2080 + k)}: {k} modalities together", CURVE if k == 2 else _TRIPLE, part))
        pieces += [] if self.connected else [("non-separable", CURVE, self.nonseparability)]
        return [(label, colour, max(0.0, part)) for label, colour, part in pieces]


def write_card(folder: Path) -> Path:
    """Write `card.html` into a run folder.

    Args:
        folder: holds separability.json.

    Returns:
        Path of the card, which appears whole or not at all.

    Raises:
        FileNotFoundError: one line, when the folder or the file is missing.
        ValueError: one line, when the file is damaged.
    """
    page.check_files(folder, _NEEDED)
    return page.write_page(folder / "card.html", _page(folder))


def _page(folder: Path) -> str:
    study = page.read_mapping(folder / _FILE, json.loads)
    for name in _OBJECTS:
        if not isinstance(study.get(name) or {}, dict):
            raise ValueError(f"{folder / _FILE} should hold names and values as {name!r}, not {study[name]!r:.40}")
        study[name] = study.get(name) or {}
    exact, ladder, estimate = study["exact"], study["ladder"], study["estimate"]
    steps = [_parts(step) for step in rows_of(exact.get("steps"), dict)]
    known = [step for step in steps if step] if all(steps) else []  # a sum over some of the steps is no total
    if len({len(step.connected) for step in known}) > 1:
        known = [step._replace(connected=()) for step in known]
    total = _total(known)
    small, dial = _small(exact), _small(exact.get("dial_of"))
    modalities = " and ".join(map(str, rows_of(study.get("modalities"), str)))
    dots = points_of(estimate.get("calibration"), 0, 1)
    square = partial(page.line, size=(3.6, 3.3), alt="estimated by true nats", palette=_PALETTE, colour=CURVE)
    sections = {
        "numbers": {"rows": _rows(study.get("rows"))},
        "split": _split(total),
        "steps": _steps(known),
        "ladder": _ladder(ladder),
        "null": _null(estimate),
        "starved": _starved(estimate),
        "calibration": {"plot_calibration": square(dots, draw=page.draw_identity)},
        "dial": _dial(exact.get("dial"), finite(study["parameters"].get("coupling"))),
        "claims": {name: page.items(study["claims"].get(name)) for name in ("may", "may_not")},
        "measured": {"measures": page.table(_measures(study, total))},
    }
    fields = {
        "env": study.get("env") or folder.name,
        "about": "; ".join(part for part in (modalities, settings(study["parameters"])) if part),
        "verdict": study.get("verdict") or "No verdict noted.",
        "version": small and f"Of a {small}.",
        "dial_version": dial and f"Of a {dial}.",
        "command": study.get("command") or "n/a",
        **_headline(total, len(steps), study),
    }
    warned = sections["starved"]["warnings"].count("<li>")
    see = f'<p><a href="#starved">{warned} warning{"s" * (warned > 1)}</a> about the estimate, see below.</p>'
    took = number(finite(study.get("seconds")), 1)
    elements = {
        "alerts": (f"<p>{escape(f'Exact figures are of a {small}.')}</p>" if small else "") + (see if warned else ""),
        "machine": page.table([("seconds", took), *study["versions"].items(), *study["hardware"].items()]),
    }
    return page.assemble(_TEMPLATE.read_text(encoding="utf-8"), fields, elements, sections)


def _small(told: Any) -> str:
    """The small version that figures are of; nothing where they are of the world as it was given."""
    return f"small version: {settings(told.get('parameters'))}" if isinstance(told, dict) and told.get("small") else ""


def _headline(total: Parts | None, steps: int, study: Row) -> Elements:
    """The four figures; of the estimate where what is exact is only a small version."""
    exact, ladder, estimate = study["exact"], study["ladder"], study["estimate"]
    of, of_gap = (", small version" * bool(told.get("small")) for told in (exact, ladder))
    value, whole, gap = finite(estimate.get("nonseparability")), None, finite(ladder.get("gap"))
    ns, note, share, p = "n/a", "nats", None, brief(finite(estimate.get("p_value")))
    if total and not (of and value is not None):
        whole, ns = total.information, nats(total.nonseparability)
        note = f"nats{' an episode' * (steps > 1)}, exact{of}"
        share = total.nonseparability / whole if whole > 1e-12 else None
    elif value is not None and estimate.get("detected") is False:
        ns, note = "not detected", f"estimate {nats(value)} nats, p\u00a0=\u00a0{p}"
    elif value is not None:
        whole, share = finite(estimate.get("information")), finite(estimate.get("share"))
        bounds = ", ".join(nats(finite(bound)) for bound in rows_of(estimate.get("interval"), object))
        ns, note = nats(value), f"nats{bounds and f' [{bounds}]'}, estimated, p\u00a0=\u00a0{p}"
    fourth = ("Method", str(estimate.get("method") or "n/a"), f"{number(finite(estimate.get('n')), 0)} transitions")
    if total:
        together = {None: "", 1: "separable"}.get(total.order, f"{total.order} modalities together")
        fourth = ("Order of coupling", {None: "n/a", 1: "none"}.get(total.order, str(total.order)), f"{together}{of}")
    return {
        "ns": ns,
        "ns_note": note,
        "share": percent(share),
        "share_note": "nothing to share" if whole is None else f"of {nats(whole)} nats",
        "gap": "at most " * (gap is not None and ladder.get("certified") is not True) + nats(gap),
        "gap_note": "no ladder" if gap is None else f"joint less late fusion{of_gap}",
        **dict(zip(("fourth", "fourth_value", "fourth_note"), fourth, strict=True)),
    }


def _rows(rows: Any) -> str:
    cells, table = [], rows_of(rows, dict)
    mixed = len({str(row.get("source")) for row in table}) > 1
    for row in table:
        low, high = (finite(row.get(name)) for name in ("low", "high"))
        bounds = "" if low is None and high is None else f"<small>[{nats(low)}, {nats(high)}]</small>"
        name, meaning, source = (escape(str(row.get(key) or "")) for key in ("name", "meaning", "source"))
        name += f" ({source})" * mixed
        figures = f"<td>{nats(finite(row.get('nats')))}{bounds}</td><td>{percent(finite(row.get('share')))}</td>"
        cells.append(f'<tr><th scope="row">{name}<small>{meaning}</small></th>{figures}</tr>')
    return "".join(cells)


def _parts(step: Row) -> Parts | None:
    """The parts of one step; None where a number is missing."""
    feedback = step["feedback"] if isinstance(step.get("feedback"), dict) else {}
    whole, part = (finite(feedback.get(name)) for name in ("information", "nonseparability"))
    alive = finite(step.get("alive"))
    if alive is None or whole is None or part is None:
        return None
    told = [finite(value) for value in rows_of(feedback.get("connected"), object)]
    connected = () if None in told else tuple(value for value in told if value is not None)
    return Parts(alive, whole, part, finite(feedback.get("certificate")) or 0.0, connected)


def _total(steps: Sequence[Parts]) -> Parts | None:
    """Nats an episode: steps add up, weighted by the probability that the episode is still going on."""
    if not steps:
        return None
    rows = [[1.0, *step[1:4], *step.connected] for step in steps]
    alive, whole, part, certificate, *connected = np.array([step.alive for step in steps]) @ np.array(rows)
    return Parts(alive, whole, part, certificate, tuple(connected))


def _split(total: Parts | None) -> Elements:
    if total is None:
        return {}
    whole = sum(part for _, _, part in total.pieces) or 1.0
    bar, key, alt = "", "", []
    for label, colour, part in total.pieces:
        fill = f"background:var(--{_PALETTE[colour]})"
        share = percent(part / whole if total.information > 1e-12 else None)
        bar += f'<i style="width:{100 * part / whole:.3f}%;{fill}"></i>' if part / whole > 1e-5 else ""
        key += f'<tr><th scope="row"><i style="{fill}"></i>{label}</th><td>{nats(part)}</td><td>{share}</td></tr>'
        alt.append(f"{label} {nats(part)} nats, {share}")
    return {"split_of": nats(total.information), "split_bar": bar, "split_key": key, "split_alt": "; ".join(alt)}


def _steps(steps: Sequence[Parts]) -> Elements:
    if len(steps) < 2:
        return {}
    pieces = zip(*([(colour, step.alive * part) for _, colour, part in step.pieces] for step in steps), strict=False)
    layers = [(layer[0][0], [part for _, part in layer]) for layer in pieces]
    alive = [step.alive for step in steps]
    told = ", ".join(nats(step.alive * step.nonseparability) for step in steps[:12])
    draw, draw_alive = (partial(page.draw_columns, layers=each) for each in (layers, [(MUTED, alive)]))
    return {
        "plot_steps": page.plot(draw, _PANEL, f"non-separable nats by step: {told}", _PALETTE),
        "plot_alive": page.plot(draw_alive, _PANEL, f"still going on: {alive[0]:.2f} to {alive[-1]:.2f}", _PALETTE),
    }


def _ladder(ladder: Row) -> Elements:
    late, bound, gap = (finite(ladder.get(name)) for name in ("late", "late_bound", "gap"))
    certified = ladder.get("certified") is True
    names = map(str, rows_of(ladder.get("modalities"), object))
    singles = zip(names, map(finite, rows_of(ladder.get("single"), object)), strict=False)
    rungs: list[page.Rung] = [
        ("blind", MUTED, finite(ladder.get("blind")), None),
        *((name, _MODALITIES.get(name, INK), value, None) for name, value in singles),
        ("late", _LATE, late, None if certified else bound),
        ("joint", CURVE, finite(ladder.get("joint")), None),
    ]
    if all(value is None for _, _, value, _ in rungs):
        return {}
    label = None if gap is None else f"GAP {'' if certified else 'at most '}{nats(gap)}"
    if gap is None:
        said = "GAP = joint \u2212 late is n/a."
    elif certified:
        said = f"GAP = joint \u2212 late = {nats(gap)}: late fusion loses {'that' if gap > 1e-6 else 'nothing'} here."
    else:
        least = "" if bound is None or late is None else f" and at least {nats(max(0.0, gap + late - bound))}"
        said = f"GAP is at most {nats(gap)}{least}: the search for the best late fusion did not end."
    told = ", ".join(f"{name} {nats(value)}" for name, _, value, _ in rungs)
    sizes = {"wide": (8.6, 0.9 + 0.36 * len(rungs)), "narrow": (3.7, 1.0 + 0.36 * len(rungs))}
    draw = partial(page.draw_rungs, rungs=rungs, bracket=label)
    plots = page.plots(draw, sizes, f"value of a decision: {told}; {label or 'GAP n/a'}", _PALETTE)
    return {"decision": escape(str(ladder.get("decision") or "n/a")), "ladder_finding": said, "plot_ladder": plots}


def _null(estimate: Row) -> Elements:
    """The test; what it compares with the null may be another statistic than the estimate."""
    null = [x for value in rows_of(estimate.get("null"), object) if (x := finite(value)) is not None]
    detected, p = estimate.get("detected"), finite(estimate.get("p_value"))
    mark = finite(estimate.get("statistic", estimate.get("nonseparability")))
    said = "" if detected is None else f"{'Detected' if detected else 'Not detected'}: p = {brief(p)}."
    if detected and null and p is not None and p <= 1.0001 / (len(null) + 1):
        said += f" That is the least that {len(null)} replicates can show."
    elif detected is False:
        said += " Separable data show as much that often. This is no proof of separability."
    if not null:
        return {"null_finding": said, "plot_null": ""}
    label, xlabel = f"recorded {nats(mark)}, p = {brief(p)}", f"nats; the null reaches {nats(max(null))}"
    draw = partial(page.draw_histogram, values=null, mark=mark, label=label, xlabel=xlabel, colours=(MUTED, CURVE))
    told = f"{len(null)} values under the null, {nats(min(null))} to {nats(max(null))} nats; {label}"
    plots = page.plots(draw, {"wide": (8.6, 2.5), "narrow": (3.7, 2.5)}, told, _PALETTE)
    return {"null_finding": said, "plot_null": plots}


def _starved(estimate: Row) -> Elements:
    losses, found = (points_of(estimate.get("ladder"), 0, column) for column in (1, 2))
    line = partial(page.line, size=_PANEL, palette=_PALETTE, xlabel="width", widths=True)
    return {
        "warnings": page.items(estimate.get("warnings")),
        "plot_loss": line(losses, alt="held-out separable loss by width", colour=_LATE),
        "plot_width": line(found, alt="estimate by width", colour=CURVE, zero=True),
    }


def _dial(dial: Any, now: float | None) -> Elements:
    parts, gaps = (points_of(dial, 0, column) for column in (1, 2))
    xlabel = "coupling" if now is None else f"coupling; dashed {now:g}, of this study"
    line = partial(page.line, size=_PANEL, palette=_PALETTE, xlabel=xlabel, now=now, zero=True)
    return {
        "plot_dial_ns": line(parts, alt="non-separability by coupling", colour=CURVE),
        "plot_dial_gap": line(gaps, alt="GAP by coupling", colour=INK),
    }


def _measures(study: Row, total: Parts | None) -> list[tuple[str, str]]:
    exact, estimate = study["exact"], study["estimate"]
    sizes = {name: number(finite(estimate.get(name)), 0) for name in ("n", "episodes", "folds", "net_seeds", "df")}
    found = {
        "Reference law, rho": study.get("rho"),
        "What every expert knows": study.get("conditioning") or estimate.get("conditioning"),
        "States enumerated": exact and number(finite(exact.get("states")), 0),
        "Version enumerated": settings(exact.get("parameters")),
        "Certificate": total and total.certificate and f"exact figures are right to {total.certificate:.0e} nats",
        "Decision of the ladder": study["ladder"].get("decision"),
        "Method of the estimate": estimate.get("method"),
        "Recorded with": estimate.get("policy"),
        "Data": estimate and f"{sizes['n']} transitions in {sizes['episodes']} episodes",
        "Standard error": estimate and f"{nats(finite(estimate.get('standard_error')))} nats, of sampling alone",
        "Nets": estimate.get("folds") and f"{sizes['folds']} folds, {sizes['net_seeds']} nets each",
        "Degrees of freedom": estimate and sizes["df"],
        "Test": estimate and f"{len(rows_of(estimate.get('null'), object))} replicates of a parametric bootstrap",
    }
    return [(name, str(value)) for name, value in found.items() if value]
