"""Curves and dots with their intervals, in colours that follow the page."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from experiments import page
from experiments.bridge.summary import Mean, told, told_share
from experiments.page import CURVE, INK, MUTED

Spread = tuple[float, float]  # ends of an interval
WIDE, NARROW, PANEL = 8.6, 3.7, 4.2  # inches; of a figure across the page it shows the one that fits
_HEIGHT = 3.2
_LONG = 16  # letters of a name beside a plot
MARKERS = "os^D"
DASHED: Any = (0, (5, 3))

# Colours as matplotlib draws them -> variables of the page. Families keep theirs through the page; shades are sizes.
FAMILY = {"latent": CURVE, "autoregressive": "#96560d", "masked": "#7a4fa3"}
PARTS = {"distortion": "#8a6d1f", "information": "#2b7a4b", "matching": "#b03a6f"}
SHADES = ("#7db4c8", "#3f8fac", "#1b6580", "#0d3a4c")
NAMES = {colour: name for name, colour in (FAMILY | PARTS).items()}
_PALETTE = page.PALETTE | NAMES | {colour: f"shade{i}" for i, colour in enumerate(SHADES)}


class Point(NamedTuple):
    """A point of a curve, with the ends of its intervals."""

    x: float
    y: float
    x_ends: Spread | None = None
    y_ends: Spread | None = None


class Series(NamedTuple):
    """A curve; `band` shades its intervals where bars would hide each other."""

    label: str
    colour: str
    points: Sequence[Point]
    marker: str = "o"
    band: bool = False


class Line(NamedTuple):
    """A reference, from one point to another."""

    label: str
    start: Spread
    end: Spread


def shades(count: int) -> list[tuple[str, str]]:
    """A colour and a marker for each of `count` sizes, ascending."""
    last = max(count - 1, 1)
    return [(SHADES[round(i * (len(SHADES) - 1) / last)], MARKERS[i % len(MARKERS)]) for i in range(count)]


def chart(
    alt: str,
    series: Sequence[Series],
    labels: tuple[str, str],
    references: Sequence[Line] = (),
    wide: bool = False,
    log: int = 0,
    zero: bool = False,
    share: bool = False,
) -> str:
    """Curves against x.

    Args:
        alt: the figure in a few words.
        series: curves; those without points are left out.
        labels: of x and y.
        references: drawn in dashes.
        wide: across the page, or in a panel.
        log: base of x, 0 for none.
        zero: keeps y = 0 in sight.
        share: y goes up to 1.
    """
    series = [each for each in series if each.points]
    if not series:
        return ""
    ends = ((each.label, each.points[0], each.points[-1]) for each in series)
    said = ", ".join(f"{label} {a.y:.4g} at {a.x:.4g} to {b.y:.4g} at {b.x:.4g}".strip() for label, a, b in ends)

    def draw(axes: Axes) -> None:
        for each in series:
            _draw_series(axes, each)
        for label, *line in references:
            axes.plot(*zip(*line, strict=True), color=MUTED, linestyle=DASHED, linewidth=1.2, label=label)
        axes.set(xlabel=labels[0], ylabel=labels[1])
        _scale_x(axes, [point.x for each in series for point in each.points], log)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if share:
            least = min(min(point.y_ends or (point.y,)) for each in series for point in each.points)
            axes.set_ylim(-0.03 if least < 0.5 else least - 0.03, 1.02)
        elif zero:
            axes.set_ylim(min(0.0, axes.get_ylim()[0]), None)
        if any(each.label for each in series):
            columns = 4 if axes.bbox.width > rcParams["figure.dpi"] * PANEL else 2
            axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, frameon=False, labelcolor=INK)

    return fitting(draw, f"{alt}: {said}", _HEIGHT, wide)


def _draw_series(axes: Axes, series: Series) -> None:
    label, colour, points, marker, band = series
    x, y = [point.x for point in points], [point.y for point in points]
    axes.plot(x, y, marker + "-", color=colour, markersize=5, label=label, zorder=3, clip_on=False)
    if band:
        low, high = zip(*(point.y_ends or (point.y, point.y) for point in points), strict=True)
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        return
    for point in points:
        if point.y_ends:
            axes.plot([point.x, point.x], point.y_ends, color=colour, linewidth=1.4, alpha=0.6)
        if point.x_ends:
            axes.plot(point.x_ends, [point.y, point.y], color=colour, linewidth=1.4, alpha=0.6)


def _scale_x(axes: Axes, x: Sequence[float], log: int) -> None:
    if not log or min(x) <= 0:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        return
    axes.set_xscale("log", base=log)
    axes.xaxis.set_minor_locator(NullLocator())
    if log == 2:
        axes.set_xticks(sorted(set(x)), [f"{k:g}" for k in sorted(set(x))])
    else:
        near = max(x) < 100 * min(x)
        axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5) if near else (1,), numticks=8))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def dots(alt: str, rows: Sequence[tuple[str, str, Mean]], xlabel: str, wide: bool, share: bool = False) -> str:
    """A dot with its interval a row, and its value beside; intervals of a `share` stay in [0, 1]."""
    if not rows:
        return ""

    def draw(axes: Axes) -> None:
        beside = axes.get_yaxis_transform()  # x in parts of the axes, y in data
        for y, (_, colour, value) in enumerate(rows):
            axes.plot(value.share_bounds if share else value.bounds, [y, y], color=colour, linewidth=2)
            axes.plot(value.value, y, "o", color=colour, markersize=7, zorder=3, clip_on=False)
            beside_it = page.percent(value.value) if share else told(value)
            axes.text(1.03, y, beside_it, color=colour, va="center", transform=beside, parse_math=False)
        axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel=xlabel)
        axes.set_xlim(*((0.0, 1.0) if share else (min(0.0, axes.get_xlim()[0]), None)))
        names = [name if len(name) <= _LONG else name[: _LONG - 1] + "\u2026" for name, *_ in rows]
        axes.set_yticks(range(len(rows)), names, parse_math=False)
        axes.tick_params("y", length=0, labelcolor=INK)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)

    said = ", ".join(f"{name} {told_share(value) if share else told(value)}" for name, _, value in rows)
    return fitting(draw, f"{alt}: {said}", 0.9 + 0.36 * len(rows), wide)


def fitting(draw: Callable[[Axes], None], alt: str, height: float, wide: bool) -> str:
    """A figure across the page, in two sizes, or one of a panel."""
    if wide:
        return page.plots(draw, {"wide": (WIDE, height), "narrow": (NARROW, height)}, alt, _PALETTE)
    return f'<div class="plot">{page.plot(draw, (PANEL, height), alt, _PALETTE)}</div>'
