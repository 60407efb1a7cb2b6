"""The figures of the page of a bridge study, each an element of the page and "" where there is nothing to draw."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from experiments.bridge import summary as read
from experiments.bridge.charts import (
    DASHED,
    FAMILY,
    MARKERS,
    NAMES,
    PARTS,
    Line,
    Point,
    Series,
    chart,
    dots,
    fitting,
    shades,
)
from experiments.bridge.summary import FAMILIES, Mean, Summary, at, bounds, mean, told
from experiments.page import CURVE, INK, MUTED, finite, points_of, rows_of

# Name and colour of the text heads.
_HEADS = {
    "words": ("independent", MUTED),
    "autoregressive": ("autoregressive", FAMILY["autoregressive"]),
    "latent": ("p(x|z)", FAMILY["latent"]),
}
_SPLITS = {"held out": "test", "train": "train"}


def colour_of(family: str) -> str:
    """The variable of the page with a family's colour."""
    return NAMES[FAMILY[family]]


def name_of(head: str) -> str:
    """What the page calls a text head."""
    return _HEADS.get(head, (head, INK))[0]


def rate_distortion(summary: Summary) -> str:
    """Curve 1: distortion against information, a line for each d, and the bound D = H - R."""
    curves = list(read.by_latent(summary))
    series = [
        Series(f"d = {width}", shade, [Point(rate.middle, d, x_ends=rate.ends) for _, d, rate in points], marker)
        for (width, points), (shade, marker) in zip(curves, shades(len(curves)), strict=True)
    ]
    entropy = read.entropy_per_token(summary, read.split_of_rates(summary))
    bound = [] if entropy is None else [Line("bound H \u2212 R", (0.0, entropy), (entropy, 0.0))]
    labels = "information R, nats a token", "distortion D, nats a token"
    return chart("distortion by information", series, labels, bound, wide=True, zero=True)


def prior(summary: Summary) -> str:
    """Curve 2: KL(qbar || p) against training FLOPs for each width."""
    curves = read.priors(summary)
    series = [
        Series(f"width {width}", shade, [Point(x, r.middle, None, r.ends) for x, r in points], marker, band=True)
        for (width, points), (shade, marker) in zip(curves, shades(len(curves)), strict=True)
    ]
    labels = "training FLOPs", "KL(qbar || p), nats a text"
    return chart("prior matching by training", series, labels, wide=True, log=10)


def gap(summary: Summary) -> str:
    """Curve 3: IWAE_k - ELBO against k."""
    found = at(summary, "curves", "gap")
    pairs = zip(rows_of(at(found, "ks"), object), rows_of(at(found, "values"), object), strict=False)
    values = [(k, value) for k, value in ((finite(k), mean(v)) for k, v in pairs) if k and k > 0 and value]
    series = [Series("", CURVE, [Point(k, value.value, None, value.bounds) for k, value in values])]
    labels = "draws k", "IWAE_k \u2212 ELBO, nats a text"
    return chart("inference gap by draws", series, labels, log=2, zero=True)


def gap_parts(summary: Summary) -> str:
    """The gap as a ladder: in all, of amortisation, of the family."""
    found = at(summary, "curves", "gap")
    rows = [("total", CURVE), ("amortisation", INK), ("family", INK)]
    bars = [(name, colour, value) for name, colour in rows if (value := mean(found, name))]
    return dots("parts of the inference gap", bars, "nats a text", wide=False)


def noised(summary: Summary) -> str:
    """Share of tokens that come back from a noised latent against the time t of the noise."""
    points = [Point(*pair) for pair in points_of(at(summary, "reconstruction", "noised"), 0, 1)]
    labels = "time t of the flow, 0 clean to 1 noise", "tokens that come back"
    return chart("accuracy by noise", [Series("", CURVE, points)], labels, wide=True, share=True)


def scaling(summary: Summary) -> dict[str, str]:
    """Against training FLOPs for each family: held-out nats a token, a curve a size, and validity, a point a size."""
    nats, valid = [], []
    for family, marker in zip(FAMILIES, MARKERS, strict=False):
        colour, bound = FAMILY[family], " (at most)" * (read.model(summary, family).get("kind") == "at most")
        for number, course in enumerate(read.courses(summary, family)):
            losses = [Point(x, loss.value, None, loss.bounds) for x, loss, _ in course if loss]
            nats.append(Series("" if number else family + bound, colour, losses, marker))
        shares = [Point(x, of.value, None, of.share_bounds) for x, _, of in read.sizes(summary, family) if of]
        valid.append(Series(family, colour, shares, marker))
    entropy = read.entropy_per_token(summary)
    reach = [point.x for each in nats for point in each.points]
    level = [Line("H", (min(reach), entropy), (max(reach), entropy))] if entropy and reach else []
    x = "training FLOPs"
    return {
        "plot_scaling": chart("held-out nats by training", nats, (x, "held-out nats a token"), level, log=10),
        "plot_scaling_valid": chart("validity by training", valid, (x, "valid samples"), log=10, share=True),
    }


def speaker(summary: Summary) -> str:
    """Success of each head with its interval."""
    rows = rows_of(summary.get("speaker"), dict)
    bars = [(*_HEADS.get(str(row.get("head")), (str(row.get("head")), INK)), mean(row, "success")) for row in rows]
    known = [(name, colour, success) for name, colour, success in bars if success]
    return dots("success by text head", known, "success", wide=True, share=True)


def split(summary: Summary) -> str:
    """-ELBO as a bar of its parts, above what the other families need; H of the data is a line through all of them."""
    ladders = {name: Ladder(_rungs(summary, key), read.entropy(summary, key)) for name, key in _SPLITS.items()}
    ladders = {name: ladder for name, ladder in ladders.items() if ladder.rungs}
    if not ladders:
        return ""
    height = 0.5 + 0.38 * sum(1.6 + len(ladder.rungs) for ladder in ladders.values())
    said = "; ".join(f"{name} {rung.name} {rung.value}" for name, ladder in ladders.items() for rung in ladder.rungs)
    return fitting(partial(_draw_split, ladders=ladders), f"nats a text: {said}", height, wide=True)


class Rung(NamedTuple):
    """A bar: whose, its value in words, and its parts (part, length) from the left."""

    name: str
    value: str
    parts: Sequence[tuple[str, float]]


class Ladder(NamedTuple):
    """The bars of a split of the data, and its entropy."""

    rungs: Sequence[Rung]
    entropy: float | None


def _rungs(summary: Summary, key: str) -> list[Rung]:
    rungs = []
    found = at(summary, "split", key)
    elbo, realisation = mean(found, "elbo"), mean(found, "realisation")
    if elbo and realisation:
        whole, distortion = max(0.0, -elbo.value), max(0.0, -realisation.value)
        rate, information = max(0.0, whole - distortion), bounds(found, "information")
        least, most = (min(max(0.0, end), rate) for end in (information.ends if information else (0.0, rate)))
        parts = ("distortion", distortion), ("information", least), ("either", most - least), ("matching", rate - most)
        rungs.append(Rung("latent", f"\u2264 {told(Mean(whole, elbo.error))}", parts))
    for family in FAMILIES[1:]:
        model = read.model(summary, family)
        if nats := mean(model, "nats", key):
            bound = "\u2264 " * (model.get("kind") == "at most")
            rungs.append(Rung(family, bound + told(nats), [(family, nats.value)]))
    return rungs


def _draw_split(axes: Axes, ladders: Mapping[str, Ladder]) -> None:
    beside = axes.get_yaxis_transform()  # x in parts of the axes, y in data
    y, ticks = 0.0, []
    for name, (rungs, entropy) in ladders.items():
        y, top = y + 1.3, y + 0.75
        axes.text(0.0, top, f"{name} ", color=INK, weight="bold", ha="right", va="center", transform=beside)
        for rung in rungs:
            _draw_rung(axes, y, rung)
            axes.text(1.02, y, rung.value, color=INK, va="center", transform=beside, parse_math=False)
            ticks.append((y, rung.name))
            y += 1.0
        if entropy is not None:
            axes.plot([entropy, entropy], [top + 0.15, y - 0.55], color=INK, linewidth=1.6, linestyle=DASHED)
            axes.text(entropy, top + 0.1, f"H {entropy:.2f}", color=INK, ha="center", va="bottom")
        y -= 0.3
    axes.set(xlim=(0, None), ylim=(y - 0.2, 0.2), xlabel="nats a text")
    axes.set_yticks(*zip(*ticks, strict=True))
    axes.tick_params("y", length=0, labelcolor=INK)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(False, axis="y")
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)


def _draw_rung(axes: Axes, y: float, rung: Rung) -> None:
    start, colours = 0.0, PARTS | FAMILY
    for part, length in rung.parts:
        (bar,) = axes.barh(y, length, 0.62, start, linewidth=0, color=colours.get(part, colours["matching"]))
        if part == "either":
            bar.set(edgecolor=colours["information"], hatch="///", hatch_linewidth=2.5)
        start += length
