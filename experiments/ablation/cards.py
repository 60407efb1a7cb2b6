"""Cards of the worlds of an ablation study, as elements of its page: what they show, ask for and are measured at."""

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from experiments.ablation.summary import CellResult, Summary, at, by_world, signless
from experiments.page import finite, number, rows_of, settings, table

_PICTURE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+=*")
_SCALE = ("random", "oracle")  # anchors that are 0 and 1 in every cell


def cards(summary: Summary, found: Sequence[CellResult]) -> str:
    """A card for each world that has a cell; of a file without "worlds" with what its cells tell."""
    return "".join(_card(env, at(summary.get("worlds"), env), cells) for env, cells in by_world(found).items())


def _card(env: str, world: Any, cells: Sequence[CellResult]) -> str:
    facts = f"<table>{table((name, value) for name, value in _facts(world, cells) if value)}</table>"
    text = f"<div>{_about(world)}{facts}{_measures(cells)}</div>"
    return f'<article class="card world"><h3>{escape(env)}</h3>{_examples(env, world)}{text}</article>'


def _about(world: Any) -> str:
    """What a world is, and why it is separable or not, in its own words."""
    why = at(world, "why")
    reasons = [(heading, _words(text)) for heading, text in (why.items() if isinstance(why, dict) else ())]
    told = "".join(f"<p><b>{escape(heading)}:</b> {escape(text)}</p>" for heading, text in reasons if text)
    return f"<p>{escape(_words(at(world, 'about')))}</p>{told}"


def _examples(env: str, world: Any) -> str:
    """Starts of episodes: pictures, and below them the text and what the oracle does."""
    coupling = finite(at(world, "coupling"))
    version = "" if coupling is None else f", at coupling {coupling:g}"
    shown = [_example(f"{env}, example {i}", row) for i, row in enumerate(rows_of(at(world, "examples"), dict), 1)]
    heading = f"<small>Two starts{version}</small>" if len(shown) == 2 else ""
    return f'<div class="starts">{heading}{"".join(shown)}</div>' if shown else ""


def _example(name: str, row: dict[str, Any]) -> str:
    frames = rows_of(row.get("video"), str)
    pictures = [_picture(row.get("image"), f"image of {name}")]
    pictures += [_picture(frame, f"frame {i} of {len(frames)} of {name}") for i, frame in enumerate(frames, 1)]
    text, best = _words(row.get("text")), _words(row.get("oracle"))
    right = f"<small>the oracle: {escape(best)}</small>" if best else ""
    said = f"<figcaption>\u201c{escape(text)}\u201d{right}</figcaption>"
    return f'<figure><div class="strip">{"".join(pictures)}</div>{said}</figure>'


def _picture(uri: Any, alt: str) -> str:
    known = isinstance(uri, str) and _PICTURE.fullmatch(uri)
    return f'<img alt="{escape(alt)}" src="{uri}">' if known else ""


def _facts(world: Any, cells: Sequence[CellResult]) -> list[tuple[str, str]]:
    """Names and values; "" for what is not known."""
    spaces, limit, end = at(world, "observation"), finite(at(world, "horizon")), _words(at(world, "end"))
    shapes = spaces.items() if isinstance(spaces, dict) else ()
    small = any(cell.ns and "small" in cell.ns.how for cell in cells)
    return [
        ("not shown", _words(at(world, "error"))),
        ("id", _words(at(world, "id"))),
        ("observes", "; ".join(_space(world, modality, shape) for modality, shape in shapes)),
        ("actions", _words(at(world, "actions"))),
        ("signal", _words(at(world, "signal"))),
        ("episode", "; ".join(filter(None, (f"at most {limit:.0f} steps" if limit else "", end)))),
        ("training", _shared([f"{number(cell.steps, 0)} env steps" for cell in cells if cell.steps is not None])),
        ("parameters", settings(at(world, "parameters")) or _given(cells)),
        ("small version", settings(at(world, "small")) if small else ""),
    ]


def _space(world: Any, modality: str, shape: Any) -> str:
    """A modality and its shape; of text, how many words of how many."""
    sizes = " \u00d7 ".join(f"{size:g}" for size in map(finite, rows_of(shape, object)) if size is not None)
    known = finite(at(world, "vocabulary"))
    return f"{modality} {sizes}" + (f" words, vocabulary {known:.0f}" if modality == "text" and known else "")


def _given(cells: Sequence[CellResult]) -> str:
    """Parameters that trials set; several values in the order of the dial."""
    names = dict.fromkeys(name for cell in cells for name in cell.parameters if name != "coupling")
    return settings({name: _shared([str(c.parameters[name]) for c in cells if name in c.parameters]) for name in names})


def _shared(values: Sequence[str]) -> str:
    """One value where all cells have the same, else all of them."""
    return ", ".join(values if len(set(values)) > 1 else values[:1])


def _measures(cells: Sequence[CellResult]) -> str:
    """Non-separability at each coupling, and the best that policies of a form can do, where it was counted."""
    ladder = list(dict.fromkeys(name for cell in cells for name in cell.anchors if name not in _SCALE))
    heads = ["Coupling", "NS, nats a step", *(f"Best {name.removesuffix(' optimum')}" for name in ladder), "How"]
    rows = "".join(f"<tr>{_measure(cell, ladder)}</tr>" for cell in cells)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    region = f'tabindex="0" role="region" aria-label="measurements of {escape(cells[0].env)}"'
    return f'<div class="scroll" {region}><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _measure(cell: CellResult, ladder: Sequence[str]) -> str:
    dial = "no dial" if cell.coupling is None else f"{cell.coupling:g}"
    best = (signless(cell.anchors.get(name)) for name in ladder)
    values = (cell.ns.told if cell.ns else "n/a", *best, escape(cell.ns.note) if cell.ns else "")
    return f'<th scope="row">{dial}</th>{"".join(f"<td>{value}</td>" for value in values)}'


def _words(value: Any) -> str:
    return value if isinstance(value, str) else ""
