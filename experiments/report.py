"""The report of a run: one HTML file that needs nothing else, written from the files of the run's folder.

    config.yaml     settings                       summary.json    final evaluation
    metrics.jsonl   one line an update             episodes.npz    a few episodes of the evaluation
                                                   dreams.npz      what the world model foresaw of some of them

The last three may be missing; then the report says so and shows what there is. Equal folders give equal bytes.
"""

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator

from experiments.colophon import configuration
from experiments.columns import read_columns
from experiments.evaluate import judged
from experiments.page import (
    CURVE,
    INK,
    MUTED,
    PALETTE,
    assemble,
    check_files,
    number,
    picture_uri,
    plot,
    plots,
    read_mapping,
    table,
    write_page,
)
from experiments.recorder import read_metrics
from experiments.strips import STYLE, strips
from experiments.values import read_yaml

_TEMPLATE = Path(__file__).with_suffix(".html")
_BINS = 100  # points of a drawn curve, at most
_NEEDED = {"": "a run folder", "config.yaml": "settings of a run", "metrics.jsonl": "metrics, one line an update,"}
_PANELS = ("return", "length", "entropy", "kl", "value_loss", "explained_variance")
_COLUMNS = ("frames", "text", "action", "said", "reward", "episode", "success", "probabilities")  # of episodes.npz
_DIGITS = {"success": 3, "J": 3, "steps": 0, "seconds": 0, "steps_per_second": 0, "parameters": 0}
_SIZES = {"wide": (8.6, 3.4), "narrow": (3.7, 3.0)}  # inches of the learning curve
_ABOUT = "Non-separability of the feedback: {:.4f} nats, in closed form; 0 where modalities could be judged apart."
_UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))

_ANCHORS = {"random": "#96560d", "oracle": "#2b7a4b"}
_PALETTE = PALETTE | {colour: name for name, colour in _ANCHORS.items()}

Row = Mapping[str, Any]


class Curve(NamedTuple):
    """A column of the metrics in B bins of updates: their steps, mean, and 10th and 90th percentile, all (B,)."""

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run folder.

    Args:
        folder: holds config.yaml and metrics.jsonl and, once the run has ended, summary.json, episodes.npz and, with a
            world model, dreams.npz.

    Returns:
        Path of the report, which appears whole or not at all.

    Raises:
        FileNotFoundError: one line, when the folder or a file that it must hold is missing.
        ValueError: one line, when a file is damaged.
    """
    check_files(folder, _NEEDED)
    return write_page(folder / "report.html", _page(folder))


def _page(folder: Path) -> str:
    config = read_mapping(folder / "config.yaml", read_yaml)
    summary = read_mapping(folder / "summary.json", json.loads) if (folder / "summary.json").exists() else {}
    episodes = _episodes(folder / "episodes.npz") if (folder / "episodes.npz").exists() else None
    rows = read_metrics(folder)
    curves = {key: _curve(rows, key) for key in ("success", *_PANELS)}
    env, joint = config.get("env"), summary.get("nonseparability")
    held_out = {"trained, held out": summary["held_out"]} if summary.get("held_out") else {}
    policies = {"trained": summary, **held_out, **summary["anchors"]} if summary else {}
    fields = {
        "env": summary.get("env") or (env.get("id") if isinstance(env, dict) else env) or folder.name,
        "verdict": _verdict(rows, summary, curves["success"]),
        "about": "" if joint is None else _ABOUT.format(joint),
        "command": summary.get("command", "# noted when the run ends"),
        **_headline(rows, summary, curves["success"]),
    }
    elements = {
        "learning": _learning(rows, summary, curves["success"]),
        **{f"plot_{key}": _panel(key, curves[key]) for key in _PANELS},
        "comparison": table([name, _interval(s, "success"), _interval(s, "J")] for name, s in policies.items()),
        "no_episodes": "" if episodes else "hidden",
        "episodes": json.dumps(episodes).replace("<", "\\u003c"),  # where "</script>" would end the data
        "configuration": configuration(config),
        "strips_style": STYLE,
        "versions": table({**summary.get("versions", {}), **summary.get("hardware", {})}.items()),
    }
    dreams = folder / "dreams.npz"
    sections = {"dreams": {"strips": strips(dreams) if dreams.exists() else ""}}
    return assemble(_TEMPLATE.read_text(encoding="utf-8"), fields, elements, sections)


def _episodes(path: Path) -> dict[str, Any] | None:
    """What the player needs: columns with an entry a frame, and all frames as the tiles of one picture."""
    columns = read_columns(path, _COLUMNS)
    frames, *rest = (columns[name] for name in _COLUMNS)
    if not len(frames):
        return None
    count, height, width, _ = frames.shape
    across = math.isqrt(count - 1) + 1
    tiles = np.zeros((-(-count // across) * across, height, width, 3), np.uint8)
    tiles[:count] = frames
    sheet = tiles.reshape(-1, across, height, width, 3).swapaxes(1, 2).reshape(-1, across * width, 3)
    return {
        **{name: _plain(column) for name, column in zip(_COLUMNS[1:], rest, strict=True)},
        "names": _plain(columns["action_names"]) if "action_names" in columns else None,
        "sheet": picture_uri(sheet),
        "size": [width, height, across],
    }


def _plain(column: np.ndarray) -> list:
    """An array as JSON knows it, with null for what is no number."""
    if column.dtype.kind == "f":
        return np.where(np.isfinite(column), np.round(column, 4), np.array(None)).tolist()
    return column.tolist()


def _curve(rows: Sequence[Row], key: str) -> Curve | None:
    """One column in bins, or None without a single value; means over episodes are weighted by their number."""
    steps, values, weights = (np.array([row.get(name) for row in rows], float) for name in ("steps", key, "episodes"))
    told = np.flatnonzero(np.isfinite(values))
    if not len(told):
        return None
    if key not in ("success", "return", "length"):
        weights = np.ones(len(rows))
    bins = np.array_split(told, min(len(told), _BINS))
    low, high = np.array([np.percentile(values[part], (10, 90)) for part in bins]).T
    mean = np.array([np.average(values[part], weights=weights[part]) for part in bins])
    return Curve(np.array([steps[part].mean() for part in bins]), mean, low, high)


def _learning(rows: Sequence[Row], summary: Row, curve: Curve | None) -> str:
    """Success against env steps, drawn wide and, for small screens, narrow."""
    if curve is None:
        return "<p>No episode has ended yet.</p>"

    def draw(axes: Axes) -> None:
        _draw(axes, curve)
        axes.set(ylim=(-0.03, 1.06), xlabel="env steps", ylabel="success")
        _wall_time(axes, rows)
        for name, scores in summary.get("anchors", {}).items():
            _anchor(axes, name, scores)
        if summary:
            low, level, high = (summary[key] for key in ("success_low", "success", "success_high"))
            spread = [[max(0.0, level - low)], [max(0.0, high - level)]]  # rounding may put a bound beyond the level
            axes.errorbar(summary["steps"], level, spread, color=INK, fmt="o", markersize=5)

    return plots(draw, _SIZES, f"success {_course(curve)}", _PALETTE)


def _panel(key: str, curve: Curve | None) -> str:
    if curve is None:
        return ""
    if key == "explained_variance":  # of nearly constant returns it may be thousands below zero
        curve = Curve(*(np.maximum(values, -1.0) for values in curve))
    return plot(partial(_draw, curve=curve), (3.5, 1.9), f"{key.replace('_', ' ')} {_course(curve)}")


def _draw(axes: Axes, curve: Curve) -> None:
    axes.fill_between(curve.steps, curve.low, curve.high, color=CURVE, alpha=0.2, linewidth=0)
    axes.plot(curve.steps, curve.mean, color=CURVE, marker="o" if len(curve.steps) == 1 else None)
    axes.set_xlim(0, curve.steps[-1] * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _wall_time(axes: Axes, rows: Sequence[Row]) -> None:
    """A second axis above: how long the training took to come so far."""
    timed = [row for row in rows if row.get("seconds") is not None]
    steps, seconds = (np.array([0.0] + [row[key] for row in timed]) for key in ("steps", "seconds"))
    length, unit = next((u for u in _UNITS if seconds[-1] >= 2 * u[0]), _UNITS[-1])
    ticks = [tick for tick in MaxNLocator(4).tick_values(0.0, seconds[-1] / length) if tick * length <= seconds[-1]]
    above = axes.secondary_xaxis("top")
    above.set_xticks(np.interp(np.array(ticks) * length, seconds, steps), [f"{tick:g}" for tick in ticks])
    above.set_xlabel(f"{unit} of training")


def _anchor(axes: Axes, name: str, scores: Row) -> None:
    colour, level = _ANCHORS.get(name, MUTED), scores["success"]
    axes.axhspan(scores["success_low"], scores["success_high"], color=colour, alpha=0.18, linewidth=0)
    axes.axhline(level, color=colour, linewidth=1, linestyle=(0, (5, 3)))
    beside = axes.get_yaxis_transform()  # x in parts of the axes, y in data
    axes.text(1.01, level, f"{name} {level:.3f}", color=colour, va="center", transform=beside, parse_math=False)


def _course(curve: Curve) -> str:
    return "against env steps: " + ", ".join(f"{curve.mean[i]:.3g} at {curve.steps[i]:,.0f}" for i in (0, -1))


def _verdict(rows: Sequence[Row], summary: Row, success: Curve | None) -> str:
    if summary:
        told = judged(summary)
        anchors = "".join(f"; {name} {number(scores['success'])}" for name, scores in told["anchors"].items())
        return f"Success {_interval(told, 'success')}{_where(summary)} after {summary['steps']:,} steps{anchors}."
    if not rows:
        return "In progress or interrupted, before the end of the first update."
    last = f"success {number(success.mean[-1])} in training" if success else "no episode has ended"
    return f"In progress or interrupted: {last} after {rows[-1]['steps']:,} steps; no final evaluation yet."


def _where(summary: Row) -> str:
    """What the evaluation that counts is of, if not of all."""
    return " on what was held out" if summary.get("held_out") else ""


def _headline(rows: Sequence[Row], summary: Row, success: Curve | None) -> dict[str, str]:
    """The headline figures: of the final evaluation or, where there is none, of the latest update."""
    now = {**summary, **judged(summary)} or {**(rows[-1] if rows else {}), "success": success and success.mean[-1]}
    notes = {"success_note": "of the latest training episodes", "J_note": "known once the run ends"}
    if summary:
        notes["success_note"] = f"{_bounds(now, 'success')} over {now['episodes']:,} episodes{_where(summary)}"
        notes["J_note"] = f"{_bounds(now, 'J')} at discount {now['gamma']}"
    return {name: number(now.get(name), digits) for name, digits in _DIGITS.items()} | notes


def _interval(scores: Row, key: str) -> str:
    return f"{number(scores.get(key))} {_bounds(scores, key)}"


def _bounds(scores: Row, key: str) -> str:
    return f"[{number(scores.get(f'{key}_low'))},\u00a0{number(scores.get(f'{key}_high'))}]"
