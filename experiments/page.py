"""What the pages of a run share: style sheet, plots in the colours of the page, tables, numbers and clear errors."""

import base64
import io
import json
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import matplotlib
import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from unienv.aside import write_aside
from unienv.errors import said

_SHEET = Path(__file__).with_suffix(".css")
_HEAD = Path(__file__).with_suffix(".html")
_LONG = 14  # letters of a name beside a plot, for narrow screens

# Colours as matplotlib draws them, and the variables of the page's light or dark palette that take their place.
CURVE, MUTED, RULE, INK = "#1f6f8c", "#596469", "#dedbd5", "#1f2528"
PALETTE = {CURVE: "curve", MUTED: "muted", RULE: "rule", INK: "ink"}
Rung = tuple[str, str, float | None, float | None]  # name, colour, value, upper bound where it is no exact value
_STYLE: Any = {
    **dict.fromkeys(("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"), RULE),
    **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), MUTED),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    **{"axes.grid": True, "grid.linewidth": 0.6, "font.size": 9},
    "svg.fonttype": "none",  # text stays text, in the font of the page
}


def check_files(folder: Path, needed: Mapping[str, str]) -> None:
    """FileNotFoundError, one line, unless all `needed` files, name -> what it is, are in the folder ("" is itself)."""
    for name, what in needed.items():
        if not (folder / name).exists():
            raise FileNotFoundError(f"expected {what} at {folder / name}, but there is nothing")


def read_mapping(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """Names and values of a JSON or YAML file; ValueError, one line, when it is damaged or holds something else."""
    try:
        values = parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is damaged: {said(error)}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} should hold names and values, not {type(values).__name__}")
    return values


def fill(template: str, fields: Mapping[str, Any], elements: Mapping[str, str]) -> str:
    """A page: what pages share as $head and $style, `fields` as text that can't break out, `elements` as they are."""
    shared = {"head": _HEAD.read_text(encoding="utf-8"), "style": _SHEET.read_text(encoding="utf-8")}
    texts = {name: escape(str(value)) for name, value in fields.items()}
    return Template(template).substitute(shared | texts | dict(elements))


def write_page(path: Path, page: str) -> Path:
    """Write a page aside and move it into place, so that it appears whole or not at all."""
    write_aside(path, page)
    return path


def plot(
    draw: Callable[[Axes], None], size: tuple[float, float], alt: str, palette: Mapping[str, str] = PALETTE
) -> str:
    """A figure as an element of the page, in colours that follow the page.

    Args:
        draw: draws into axes.
        size: inches.
        alt: the figure in words; with `size` unlike that of any other figure of the page.
        palette: colour as drawn -> variable of the page that takes its place.
    """
    text = io.StringIO()
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": f"{alt} {size}"}), warnings.catch_warnings():
        # ids that no two figures share; and a glyph that matplotlib's font lacks is in a font of the reader
        warnings.filterwarnings("ignore", "Glyph ")
        figure = Figure(size, layout="constrained")
        draw(figure.add_subplot())
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=no_metadata)
    svg = re.sub(r'<g id="[^"]*"', "<g", text.getvalue().partition("<svg")[2])
    for colour, name in palette.items():
        svg = svg.replace(colour, f"var(--{name})")
    return f'<svg role="img" aria-label="{escape(alt)}"{svg}'


def plots(
    draw: Callable[[Axes], None],
    sizes: Mapping[str, tuple[float, float]],
    alt: str,
    palette: Mapping[str, str] = PALETTE,
) -> str:
    """A figure drawn in several sizes, of which the page shows the one that fits: `wide` and `narrow`."""
    return "".join(f'<div class="plot {kind}">{plot(draw, size, alt, palette)}</div>' for kind, size in sizes.items())


def picture_uri(pixels: np.ndarray) -> str:
    """A picture (H, W, 3) uint8 as a PNG that stands in the page itself."""
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


def table(rows: Iterable[Iterable[Any]]) -> str:
    """Rows of a table, their first cell a heading."""
    texts = ([escape(v if isinstance(v, str) else json.dumps(v, default=str)) for v in row] for row in rows)
    return "".join(f'<tr><th scope="row">{name}</th><td>{"</td><td>".join(rest)}</td></tr>' for name, *rest in texts)


def number(value: float | None, digits: int = 3) -> str:
    """A number as the pages write it, "n/a" for one that is missing or not finite."""
    return "n/a" if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def assemble(
    template: str, fields: Mapping[str, Any], elements: Mapping[str, str], sections: Mapping[str, Mapping[str, str]]
) -> str:
    """A page without the sections and figures that there is nothing for.

    Args:
        template: its sections, and figures named like their element, have ids where they may be left out.
        fields: as `fill` takes them.
        elements: likewise.
        sections: the elements of each section.
    """
    inside = {name: element for section in sections.values() for name, element in section.items()}
    present = {name for name, element in inside.items() if element}
    present |= {name for name, section in sections.items() if any(section.values())}
    for tag in ("figure", "section"):
        block = re.compile(rf'<{tag} id="(\w+)".*?</{tag}>\n', re.DOTALL)
        template = block.sub(lambda match: match[0] if match[1] in present else "", template)
    return fill(template, fields, {**elements, **inside})


def brief(value: float | None) -> str:
    """A number in two digits, as befits a p-value."""
    return "n/a" if value is None else f"{value:.2g}"


def percent(share: float | None) -> str:
    """A share as the pages write it."""
    return "n/a" if share is None else f"{number(100 * share, 1)}\u00a0%"


def nats(value: float | None) -> str:
    """Nats as the pages write them; + 0.0 as there is no "-0.0000"."""
    return number(value if value is None else round(value, 4) + 0.0, 4)


def items(texts: Any) -> str:
    """Items of a list; none for what is no list."""
    return "".join(f"<li>{escape(str(text))}</li>" for text in rows_of(texts, object) if text is not None)


def settings(values: Any) -> str:
    """Names and values in a line."""
    told = values.items() if isinstance(values, dict) else ()
    texts = (
        (name, value if isinstance(value, str) else json.dumps(value)) for name, value in told if value is not None
    )
    return ", ".join(f"{name} {text}" for name, text in texts)


def finite(value: Any) -> float | None:
    """A value of a JSON file as a number, None for whatever is no finite number."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def rows_of(value: Any, kind: type) -> list[Any]:
    """The entries of a kind in a list of a JSON file; none for what is no list."""
    entries = value if isinstance(value, list) else []
    return [entry for entry in entries if isinstance(entry, kind)]


def points_of(value: Any, x: int, y: int) -> list[tuple[float, float]]:
    """Two columns of a table in a JSON file as points, ascending; rows that lack a number are left out."""
    pairs = [(finite(row[x]), finite(row[y])) for row in rows_of(value, list) if len(row) > max(x, y)]
    return sorted((a, b) for a, b in pairs if a is not None and b is not None)


def _ticks(most: int, integer: bool = False) -> MaxNLocator:
    return MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], integer=integer)


def draw_columns(axes: Axes, layers: Sequence[tuple[str, Sequence[float]]]) -> None:
    """Columns at 1, 2, .. of stacked layers, (colour, heights) from the bottom."""
    base = np.zeros(len(layers[0][1]))
    at = np.arange(1, len(base) + 1)
    for colour, heights in layers:
        axes.bar(at, heights, 0.8, base, color=colour, linewidth=0)
        base = base + np.asarray(heights)
    axes.set(xlabel="step", xlim=(0.4, len(base) + 0.6), ylim=(0, 1.08 * max(float(base.max()), 1e-3)))
    axes.xaxis.set_major_locator(_ticks(8, integer=True))
    axes.yaxis.set_major_locator(_ticks(4))
    axes.grid(False, axis="x")
    axes.set_axisbelow(True)


def draw_rungs(axes: Axes, rungs: Sequence[Rung], bracket: str | None) -> None:
    """A dot a rung with its value in a column on the right, lowest first; the last two are `bracket`ed above."""
    beside = axes.get_yaxis_transform()  # x in parts of the axes, y in data
    for y, (_, colour, value, bound) in enumerate(rungs):
        text = "n/a" if value is None else f"{value:.4f}"
        if value is not None and bound is not None:
            text += f" to {bound:.4f}"
            axes.plot([value, bound], [y, y], color=colour, linewidth=2)
            axes.plot(bound, y, "|", color=colour, markersize=9, markeredgewidth=2)
        if value is not None:
            axes.plot(value, y, "o", color=colour, markersize=7, zorder=3)
        axes.text(1.02, y, text, color=colour, va="center", transform=beside, parse_math=False)
    ends, top = [value for _, _, value, _ in rungs[-2:] if value is not None], len(rungs)
    if bracket and len(ends) == 2:
        for y, end in zip((top - 2, top - 1), ends, strict=True):
            axes.plot([end, end], [y, top - 0.25], color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
        low, high = ends
        axes.plot([low, low, high, high], [top - 0.25, top, top, top - 0.25], color=INK, linewidth=1.4)
        axes.text(1.02, top, bracket, color=INK, va="center", weight="bold", transform=beside, parse_math=False)
    known = [value for _, _, *values in rungs for value in values if value is not None]
    pad = 0.08 * (max(known) - min(known)) or 0.05
    axes.set(xlim=(min(known) - pad, max(known) + pad), ylim=(-0.6, top + 0.5 if bracket else top - 0.4))
    names = [name if len(name) <= _LONG else name[: _LONG - 1] + "\u2026" for name, *_ in rungs]
    axes.set_yticks(range(top), names, parse_math=False)
    axes.tick_params("y", length=0, labelcolor=INK)
    axes.xaxis.set_major_locator(_ticks(4))
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)


def draw_histogram(
    axes: Axes, values: Sequence[float], mark: float | None, label: str, xlabel: str, colours: tuple[str, str]
) -> None:
    """Values in bins, and one value marked by a line with its label."""
    counts, edges = np.histogram(values, min(20, 2 + int(len(values) ** 0.5)))
    # The edge keeps bars visible where the mark is far out and they are thin.
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=colours[0], edgecolor=colours[0], linewidth=0.8)
    if mark is not None:
        axes.axvline(mark, color=colours[1], linewidth=2)
        left = mark > (min(*values, mark) + max(*values, mark)) / 2
        place = {"xytext": (-5 if left else 5, -2), "textcoords": "offset points", "ha": "right" if left else "left"}
        across = axes.get_xaxis_transform()  # x in data, y in parts of the axes
        axes.annotate(label, (mark, 1.0), xycoords=across, va="top", color=colours[1], **place)
    axes.set(xlabel=xlabel, ylabel="replicates", ylim=(0, 1.3 * counts.max()))
    axes.xaxis.set_major_locator(_ticks(4))
    axes.yaxis.set_major_locator(_ticks(4, integer=True))
    axes.grid(False, axis="x")
    axes.set_axisbelow(True)


def draw_line(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    colour: str,
    xlabel: str,
    zero: bool = False,
    widths: bool = False,
    now: float | None = None,
) -> None:
    """Points by ascending x; `zero` keeps y = 0 in sight, `widths` puts a tick at each x, `now` is marked."""
    x, y = zip(*points, strict=True)
    axes.plot(x, y, "o-", color=colour, markersize=5, clip_on=False, zorder=3)
    axes.set_xlabel(xlabel)
    if zero:
        axes.axhline(0, color=MUTED, linewidth=0.8)
    if widths and min(x) > 0:
        axes.set_xscale("log", base=2)
        axes.set_xticks(x, [f"{width:g}" for width in x])
        axes.minorticks_off()
    else:
        axes.xaxis.set_major_locator(_ticks(4))
    if now is not None:
        axes.axvline(now, color=MUTED, linewidth=1, linestyle=(0, (5, 3)))
    axes.yaxis.set_major_locator(_ticks(4))
    axes.ticklabel_format(axis="y", useOffset=False)


def draw_identity(axes: Axes, points: Sequence[tuple[float, float]], colour: str) -> None:
    """Points in a square, and the line y = x."""
    ends = (min(0.0, *map(min, points)), 1.06 * max(0.01, *map(max, points)))
    axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=(0, (5, 3)))
    axes.plot(*zip(*points, strict=True), "o", color=colour, markersize=6, clip_on=False, zorder=3)
    axes.set(xlabel="true", ylabel="estimated", aspect="equal", xlim=ends, ylim=ends)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(_ticks(4))


def line(
    points: Sequence[tuple[float, float]],
    size: tuple[float, float],
    alt: str,
    palette: Mapping[str, str],
    draw: Callable[..., None] = draw_line,
    **how: Any,
) -> str:
    """A plot of points, nothing without any."""
    told = ", ".join(f"{y:.4g} at {x:.4g}" for x, y in points)
    return plot(lambda axes: draw(axes, points, **how), size, f"{alt}: {told}", palette) if points else ""
