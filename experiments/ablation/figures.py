"""The figures of the page of an ablation study, each an element of the page and "" where there is nothing to draw."""

from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator, MultipleLocator

from experiments import page
from experiments.ablation.summary import (
    NS,
    CellResult,
    Control,
    Estimate,
    Form,
    Progress,
    bounds,
    by_world,
    forms_of,
    signless,
    told,
    unit,
)
from experiments.bridge.charts import DASHED, NARROW, PANEL, WIDE
from experiments.page import CURVE, INK, MUTED, RULE

# Colours as matplotlib draws them; variables of the page take their place.
_FORMS = {"joint": CURVE, "late": "#96560d", "text": "#7a4fa3", "image": "#2b7a4b", "video": "#b03a6f"}
_WORLDS = ("#33608f", "#b5542a", "#4e7f22", "#8b4a90", "#8c6d1c", "#1d7f7a", "#a63d57", "#5b5f6a")
_MARKERS = "os^DvPX*"
_CARD = "#fefefe"
_NAMES = {colour: name for name, colour in _FORMS.items() if name != "joint"}
_NAMES |= {colour: f"world{i}" for i, colour in enumerate(_WORLDS)}
_PALETTE = page.PALETTE | _NAMES | {_CARD: "card"}
_ANCHORS = {"late optimum": "late", "joint optimum": "joint", "text": "text", "image": "image", "video": "video"}
_HEADLINE = 7.0  # inches; what it says stands beside it
_SCORES_SIZE, _CURVE_SIZE = (3.4, 2.9), (3.3, 2.3)
_POINTS = 100  # of a learning curve
_LONG, _LEGEND = 22, 30  # letters of a name beside a plot, and above it


def form_colour(form: str) -> str:
    """The variable of the page with a form's colour."""
    return _PALETTE[_FORMS.get(form, INK)]


def headline(cells: Sequence[CellResult], margin: float | None) -> str:
    """Gap against non-separability: a dot a cell, those of a world joined along its dial, and the band of no gap."""
    return _gap_by_ns([cell for cell in cells if placed(cell)], "gap in normalised return", margin)


def estimated(cells: Sequence[CellResult]) -> str:
    """The same of cells whose NS is estimated and whose return has no scale, and so no margin."""
    return _gap_by_ns([cell for cell in cells if placed_aside(cell)], "gap in return J", None)


def _gap_by_ns(cells: Sequence[CellResult], ylabel: str, margin: float | None) -> str:
    worlds = by_world(cells)
    if not worlds:
        return ""
    reached = [0.0, *(end for cell in cells if cell.ns for end in _ends(cell.ns))]  # an estimate may lie below 0
    most = max(reached) - min(reached) or 1.0
    said = ", ".join(f"{cell.name} {told(cell.gap)} at {cell.ns.nats:.3g}" for cell in cells if cell.ns)

    def draw(axes: Axes) -> None:
        _band(axes.axhspan, margin)
        axes.axhline(0, color=MUTED, linewidth=1)
        for i, (env, found) in enumerate(worlds.items()):
            colour, marker = _WORLDS[i % len(_WORLDS)], _MARKERS[i % len(_MARKERS)]
            aside = (i - (len(worlds) - 1) / 2) * 0.008 * most  # so that worlds of equal NS do not hide each other
            points = [(cell.ns.nats + aside, cell.gap, cell.ns) for cell in found if cell.ns and cell.gap]
            axes.plot([x for x, *_ in points], [gap.value for _, gap, _ in points], color=colour, alpha=0.45, zorder=2)
            for x, gap, ns in points:
                axes.plot([x, x], bounds(gap), color=colour, linewidth=1.6, alpha=0.75, zorder=3)
                axes.plot([end + aside for end in _ends(ns)], [gap.value] * 2, color=colour, linewidth=1.6, alpha=0.75)
                inside = _CARD if "small" in ns.how or (ns.estimated and not ns.detected) else colour
                axes.plot(x, gap.value, marker, color=colour, markerfacecolor=inside, markersize=7, zorder=4)
            axes.plot([], [], marker + "-", color=colour, label=_short(env, _LEGEND))
        axes.set(xlabel="NS of the feedback, nats a step", ylabel=ylabel)
        axes.set_xlim(min(reached) - 0.06 * most, max(reached) + 0.06 * most)
        _ticks(axes)
        _legend(axes)

    return _fitting(draw, f"return gap by non-separability: {said}", 4.1, _HEADLINE)


def _ends(ns: NS) -> tuple[float, float]:
    """Of its interval; what is exact has none."""
    return bounds(Estimate(ns.nats, ns.low, ns.high))


def placed(cell: CellResult) -> bool:
    """Whether a cell has a place in the headline figure."""
    return cell.normalised and cell.ns is not None and cell.gap is not None


def placed_aside(cell: CellResult) -> bool:
    """Whether a cell has a place in the figure of estimates."""
    return not cell.normalised and cell.ns is not None and cell.ns.estimated and cell.gap is not None


def scores(found: Sequence[CellResult]) -> str:
    """Normalised return by form along the dial of a world: seeds, IQM with its interval, anchors in dashes."""
    forms = [form for form in forms_of(found) if any(_iqm(cell, form) for cell in found)]
    if not forms:
        return ""
    places = [cell.coupling or 0.0 for cell in found] if len(found) > 1 else [0.0]
    gaps = [b - a for a, b in pairwise(places) if b > a]
    room = 0.6 * (min(gaps) if gaps else 1.0)  # for the forms of a cell
    said = "; ".join(
        f"{cell.name} " + ", ".join(f"{form} {told(_iqm(cell, form))}" for form in forms if _iqm(cell, form))
        for cell in found
    )

    def draw(axes: Axes) -> None:
        for name in ("random", "oracle"):
            values = [cell.anchors[name] for cell in found if name in cell.anchors]
            if values:
                axes.axhline(values[0], color=MUTED, linestyle=DASHED, linewidth=1.1)
                beside = axes.get_yaxis_transform()  # x in parts of the axes, y in data
                axes.text(1.01, values[0], name, color=MUTED, va="center", transform=beside)
        for name, form in _ANCHORS.items():
            _draw_anchor(axes, places, [cell.anchors.get(name) for cell in found], _FORMS[form], room)
        for i, form in enumerate(forms):
            slot = room / len(forms)
            aside = slot * (i - (len(forms) - 1) / 2)
            colour, marker = _FORMS.get(form, INK), _MARKERS[i % len(_MARKERS)]
            shown = [(x + aside, cell.forms[form]) for x, cell in zip(places, found, strict=True) if _iqm(cell, form)]
            _draw_form(axes, shown, slot, colour, marker)
        axes.set(
            ylabel="normalised return" if found[0].normalised else "return J",
            xlim=(min(places) - room, max(places) + room),
        )
        if len(found) > 1:
            axes.set_xlabel("coupling")
            axes.set_xticks(places, [f"{x:g}" for x in places])
        else:
            axes.set_xticks([])
        axes.yaxis.set_major_locator(MaxNLocator(5))

    return _panel(draw, f"scores in {found[0].env}: {said}", _SCORES_SIZE)


def _iqm(cell: CellResult, form: str) -> Estimate | None:
    return cell.forms[form].iqm if form in cell.forms else None


def _draw_anchor(axes: Axes, places: Sequence[float], values: Sequence[float | None], colour: str, room: float) -> None:
    """A dash across each cell: what is best there says nothing of what lies between."""
    for x, value in zip(places, values, strict=True):
        if value is not None:
            axes.plot([x - 0.6 * room, x + 0.6 * room], [value, value], color=colour, linestyle=(0, (3, 2)))


def _draw_form(axes: Axes, shown: Sequence[tuple[float, Form]], slot: float, colour: str, marker: str) -> None:
    """IQM along the dial with their intervals, and the seeds beside them."""
    known = [(x, form.iqm, list(form.scores.values())) for x, form in shown if form.iqm]
    axes.plot([x for x, *_ in known], [iqm.value for _, iqm, _ in known], color=colour, alpha=0.4, linewidth=1)
    for x, iqm, seeds in known:
        left = [x - 0.4 * slot] * len(seeds)
        axes.plot(left, seeds, "o", color=colour, markersize=2.5, alpha=0.6, markeredgewidth=0, zorder=3)
        axes.plot([x, x], bounds(iqm), color=colour, linewidth=1.6, zorder=4)
        axes.plot(x, iqm.value, marker, color=colour, markersize=4.5, zorder=5)


def learning(cell: CellResult) -> str:
    """Success against env steps for each form, over seeds."""
    forms = forms_of([cell])
    curves = {form: _thinned(cell.curves[form]) for form in forms if form in cell.curves}
    if not curves:
        return ""
    said = ", ".join(f"{form} {points[-1].mean:.3g} at the end" for form, points in curves.items())

    def draw(axes: Axes) -> None:
        for form, points in curves.items():
            steps, means, lows, highs = zip(*points, strict=True)
            axes.fill_between(steps, lows, highs, color=_FORMS.get(form, INK), alpha=0.15, linewidth=0)
            axes.plot(steps, means, color=_FORMS.get(form, INK), linewidth=1.5)
        axes.set(xlabel="env steps", ylabel="success", ylim=(-0.03, 1.03))
        axes.set_xlim(0, None)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))

    return _panel(draw, f"learning in {cell.name}: {said}", _CURVE_SIZE)


def _thinned(points: Sequence[Progress]) -> Sequence[Progress]:
    """As many as an eye tells apart, the last among them."""
    return points if len(points) <= _POINTS else points[:: -(-len(points) // _POINTS)][:-1] + points[-1:]  # type: ignore[operator]


def controls(found: Sequence[Control], margin: float | None) -> str:
    """The gap's interval of each cell without non-separability, and the margin."""
    rows = [(control.name, control.gap) for control in found if control.gap]
    if not rows:
        return ""

    def draw(axes: Axes) -> None:
        _band(axes.axvspan, margin)
        axes.axvline(0, color=MUTED, linewidth=1)
        for y, (_, gap) in enumerate(rows):
            axes.plot(bounds(gap), [y, y], color=CURVE, linewidth=2)
            axes.plot(gap.value, y, "o", color=CURVE, markersize=7)
        reach = max(1.4 * (margin or 0.0), *(abs(end) * 1.15 for _, gap in rows for end in bounds(gap)), 0.01)
        axes.set(xlim=(-reach, reach), ylim=(len(rows) - 0.4, -0.6), xlabel="gap in normalised return")
        _row_names(axes, [name for name, _ in rows])
        if margin and reach < 4 * margin:
            axes.xaxis.set_major_locator(MultipleLocator(margin))

    said = ", ".join(f"{name} {told(gap)}" for name, gap in rows)
    return _fitting(draw, f"gap of controls: {said}", 0.9 + 0.36 * len(rows))


def diagnostics(cells: Sequence[CellResult]) -> str:
    """What is left of the return of joint agents when a modality tells of another world, and of their additive part."""
    told_of = [cell for cell in cells if len(probes(cell)) > 1]
    if not told_of:
        return ""
    known, measure = [(cell.name, probes(cell)) for cell in told_of], unit(told_of)
    names = probe_names(cells)
    looks = {name: (_probe_colour(name), _MARKERS[i % len(_MARKERS)]) for i, name in enumerate(names)}

    def draw(axes: Axes) -> None:
        for y, (_, shown) in enumerate(known):
            for i, name in enumerate(names):
                if name in shown:
                    colour, marker = looks[name]
                    level = y + 0.13 * (i - (len(names) - 1) / 2)
                    axes.plot(bounds(shown[name]), [level, level], color=colour, linewidth=1.4, alpha=0.7)
                    axes.plot(shown[name].value, level, marker, color=colour, markersize=5, zorder=3)
        for name, (colour, marker) in looks.items():
            axes.plot([], [], marker, color=colour, label=_short(name))
        for y in range(1, len(known)):
            axes.axhline(y - 0.5, color=RULE, linewidth=0.6)
        axes.set(ylim=(len(known) - 0.5, -0.6), xlabel=measure)
        _row_names(axes, [name for name, _ in known])
        _legend(axes)

    said = "; ".join(f"{cell} " + ", ".join(f"{name} {told(v)}" for name, v in shown.items()) for cell, shown in known)
    return _fitting(draw, f"diagnostics: {said}", 1.2 + 0.5 * len(known))


def probes(cell: CellResult) -> dict[str, Estimate]:
    """The score of the joint agents, what diagnostics leave of it, and the score of late ones."""
    if not cell.emap and not cell.shuffle:
        return {}
    found = {"joint": cell.whole or _iqm(cell, "joint"), "additive": cell.emap}
    found |= {f"other {name}": value for name, value in cell.shuffle.items()} | {"late": _iqm(cell, "late")}
    return {name: value for name, value in found.items() if value}


def probe_names(cells: Sequence[CellResult]) -> list[str]:
    """All names of probes, late ones last."""
    names = dict.fromkeys(name for cell in cells for name in probes(cell))
    return sorted(names, key=lambda name: name == "late")


def _probe_colour(name: str) -> str:
    return _FORMS.get(name.removeprefix("other "), INK)


def legend(forms: Sequence[str]) -> str:
    """Forms in their colours, for plots side by side."""
    return "".join(
        f'<span><i style="background:var(--{form_colour(form)})"></i>{escape(form)}</span>' for form in forms
    )


def _band(span: Callable[..., Any], margin: float | None) -> None:
    if margin:
        span(-margin, margin, color=MUTED, alpha=0.14, linewidth=0, label=f"\u00b1{signless(margin)}: no gap", zorder=1)


def _ticks(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(6 if _width(axes) > PANEL else 3))
    axes.yaxis.set_major_locator(MaxNLocator(6))


def _width(axes: Axes) -> float:
    """In inches, before names beside it take their part."""
    return axes.bbox.width / rcParams["figure.dpi"]


def _legend(axes: Axes) -> None:
    labels = axes.get_legend_handles_labels()[1]
    columns = max(1, int((_width(axes) + 0.25) / (0.08 * max(map(len, labels)) + 0.5)))  # as many as there is room for
    legend = axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, frameon=False, labelcolor=INK)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _short(name: str, most: int = _LONG) -> str:
    """What fits beside a plot: names of one family differ at their ends. Legends leave out what begins with "_"."""
    name = f"\u200b{name}" if name.startswith("_") else name
    return name if len(name) <= most else f"{name[: most // 3]}\u2026{name[-most // 2 :]}"


def _row_names(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), list(map(_short, names)), parse_math=False)
    axes.tick_params("y", length=0, labelcolor=INK)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)


def _fitting(draw: Callable[[Axes], None], alt: str, height: float, wide: float = WIDE) -> str:
    """A figure in two sizes, of which the page shows the one that fits."""
    return page.plots(draw, {"wide": (wide, height), "narrow": (NARROW, max(height, 2.6))}, alt, _PALETTE)


def _panel(draw: Callable[[Axes], None], alt: str, size: tuple[float, float]) -> str:
    return f'<div class="plot">{page.plot(draw, size, alt, _PALETTE)}</div>'
