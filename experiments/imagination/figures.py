"""The figures of the page of an imagination study, each an element of it and "" where there is nothing to draw."""

from collections.abc import Iterator, Sequence

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from experiments import page
from experiments.ablation.summary import bounds, signless, told
from experiments.bridge.charts import DASHED, NARROW
from experiments.imagination.summary import BASE, NAMES, Placed, World
from experiments.page import CURVE, INK, MUTED, nats
from experiments.studies.reading import ZERO

# Colours as matplotlib draws them; variables of the page take their place.
_PARTS = {"signal": CURVE, "text": "#7a4fa3", "image": "#2b7a4b"}
_PALETTE = page.PALETTE | {colour: name for name, colour in _PARTS.items() if name != "signal"}
_MARKERS = "os^DvPX*"  # of worlds
_LINEAR = 0.01  # nats, up to which the axes are linear; logarithmic beyond
_TICKS = (-10, -1, -0.1, -0.01, 0, 0.01, 0.1, 1, 10)
_APART = 0.011  # of the figure's width, between parts of one place
_LONG = 16  # letters of a name in a figure
_WIDE, _HEIGHT, _PANEL = 6.2, 4.6, 3.9  # inches


def headline(points: Sequence[Placed]) -> str:
    """What the product form loses against what it must: a point a cell and part, and the diagonal."""
    if not points:
        return ""
    keys = sorted({point.part.key for point in points}, key=lambda key: ([*NAMES, key].index(key), key))
    envs = dict.fromkeys(point.part.env for point in points)
    markers = {env: _MARKERS[i % len(_MARKERS)] for i, env in enumerate(envs)}

    def draw(axes: Axes) -> None:
        low, high = _scale(axes, points)
        axes.plot([low, high], [low, high], color=MUTED, linestyle=DASHED, linewidth=1.2)
        axes.axhline(0, color=MUTED, linewidth=0.8)
        for point, aside in _spread(sorted(points, key=lambda point: keys.index(point.part.key))):
            _draw_point(axes, point, aside, markers[point.part.env])
        for key in keys:
            axes.plot([], [], linewidth=5, color=_PARTS.get(key, INK), label=_short(NAMES.get(key, key)))
        for env, marker in markers.items():
            axes.plot([], [], marker, color=MUTED, label=_short(env))
        axes.set(xlabel="must be lost, nats a step", ylabel="lost, nats a step")
        columns = 3 if axes.bbox.width > rcParams["figure.dpi"] * NARROW else 2
        legend = axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=columns, frameon=False, labelcolor=INK)
        for text in legend.get_texts():
            text.set_parse_math(False)

    said = ", ".join(f"{part.told} {told(lost, 4)} at {nats(exact)}" for part, exact, lost in points)
    sizes = {"wide": (_WIDE, _HEIGHT), "narrow": (NARROW, _HEIGHT)}
    return page.plots(draw, sizes, f"nats that the product form loses: {said}", _PALETTE)


def _scale(axes: Axes, points: Sequence[Placed]) -> tuple[float, float]:
    """The same ends on both axes, far enough for all points and intervals."""
    reached = [end for point in points for end in (point.exact, *bounds(point.lost))]
    low, high = min(-0.7 * _LINEAR, 1.3 * min(reached)), max(2 * _LINEAR, 1.5 * max(reached))
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    names = [f"{tick:g}".replace("-", "\u2212") for tick in ticks]
    axes.set_xscale("symlog", linthresh=_LINEAR)
    axes.set_yscale("symlog", linthresh=_LINEAR)
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    axes.minorticks_off()
    axes.set(xlim=(low, high), ylim=(low, high))
    return low, high


def _spread(points: Sequence[Placed]) -> Iterator[tuple[Placed, float]]:
    """Each point, and how far aside it is drawn, so that those of one exact figure stand side by side."""
    for point in points:
        here = [other for other in points if abs(other.exact - point.exact) <= ZERO]
        yield point, _APART * (here.index(point) - (len(here) - 1) / 2)


def _draw_point(axes: Axes, point: Placed, aside: float, marker: str) -> None:
    figure, colour = axes.get_figure(root=True), _PARTS.get(point.part.key, INK)
    assert figure is not None
    place = axes.transData + ScaledTranslation(aside, 0, figure.transFigure)  # type: ignore[arg-type]
    axes.plot([point.exact] * 2, bounds(point.lost), color=colour, linewidth=1.6, alpha=0.75, transform=place, zorder=3)
    axes.plot(point.exact, point.lost.value, marker, color=colour, markersize=6, transform=place, zorder=4)


def scores(world: World) -> str:
    """Normalised return of the learners of a world: seeds, and their mean with its interval."""
    known = [(learner, learner.score) for learner in world.learners if learner.score]
    if not known:
        return ""

    def draw(axes: Axes) -> None:
        beside = axes.get_yaxis_transform()  # x in parts of the axes, y in data
        above = axes.get_xaxis_transform()
        for x, name in ((0.0, "random"), (1.0, "oracle")):
            axes.axvline(x, color=MUTED, linestyle=DASHED, linewidth=1.1)
            axes.text(x, 1.0, name, color=MUTED, ha="center", va="bottom", transform=above)
        for y, (learner, score) in enumerate(known):
            colour = MUTED if learner.name == BASE else CURVE
            seeds = list(learner.scores.values())
            axes.plot(seeds, [y + 0.22] * len(seeds), "o", color=colour, markersize=3, alpha=0.6, markeredgewidth=0)
            axes.plot(bounds(score), [y, y], color=colour, linewidth=2)
            axes.plot(score.value, y, "o", color=colour, markersize=7, zorder=3)
            axes.text(1.03, y, signless(score.value), color=colour, va="center", transform=beside)
        axes.set(ylim=(len(known) - 0.4, -0.6), xlabel="normalised return")
        axes.set_yticks(range(len(known)), [_short(learner.name) for learner, _ in known], parse_math=False)
        axes.tick_params("y", length=0, labelcolor=INK)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)

    said = ", ".join(f"{learner.name} {told(score)}" for learner, score in known)
    size = _PANEL, 0.9 + 0.36 * len(known)
    return f'<div class="plot">{page.plot(draw, size, f"scores in {world.env}: {said}", _PALETTE)}</div>'


def _short(name: str) -> str:
    return name if len(name) <= _LONG else name[: _LONG - 1] + "\u2026"
