"""Tables and texts to read of the page of a bridge study, as elements of the page; "" where there is nothing."""

from collections.abc import Callable, Iterable
from difflib import SequenceMatcher
from html import escape
from typing import Any

from experiments.bridge import summary as read
from experiments.bridge.figures import colour_of, name_of
from experiments.bridge.summary import FAMILIES, Mean, Summary, at, bounds, mean, told, told_range, told_share
from experiments.page import finite, number, rows_of

_SHOWN = 12  # texts of a column
_NAMES = {"latent": "Latent", "autoregressive": "Auto\u00adregressive", "masked": "Masked diffusion"}
_PARTS = {
    "distortion": "what the decoder misses of a text it is given z of",
    "information": "I(X;Z), what tells texts apart",
    "matching": "KL(qbar || p), what a better prior would save",
}


def reconstruction(summary: Summary) -> str:
    """Texts beside what came back; words that differ are marked."""
    pairs = [pair for pair in rows_of(at(summary, "reconstruction", "examples"), list) if len(pair) >= 2]
    rows = []
    for text, back in pairs[:_SHOWN]:
        before, after = str(text).split(), str(back).split()
        edits = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
        lost = {i for tag, start, end, _, _ in edits if tag != "equal" for i in range(start, end)}
        wrong = {i for tag, _, _, start, end in edits if tag != "equal" for i in range(start, end)}
        rows.append(f"<tr><td>{_marked(before, lost)}</td><td>{_marked(after, wrong)}</td></tr>")
    return "".join(rows)


def _marked(words: list[str], wrong: set[int]) -> str:
    return " ".join(f"<mark>{escape(word)}</mark>" if i in wrong else escape(word) for i, word in enumerate(words))


def samples(summary: Summary) -> str:
    """Samples of the families, a column each."""
    columns = []
    for family in FAMILIES:
        found = rows_of(read.model(summary, family).get("samples"), str | dict)  # type: ignore[arg-type]
        if found:
            texts = "".join(f"<li>{_sample(entry)}</li>" for entry in found[:_SHOWN])
            columns.append(f"<div>{_heading(family)}<ul>{texts}</ul></div>")
    return "".join(columns)


def completions(summary: Summary) -> str:
    """Prefixes and how each family goes on."""
    rows = []
    for row in rows_of(summary.get("completions"), dict):
        prefix = str(row.get("prefix") or "")
        parts = (f"<div>{_heading(name)}{_sample(row[name], prefix)}</div>" for name in FAMILIES if row.get(name))
        rows.append(f'<div class="card"><p>{escape(prefix)} \u2026</p><div class="beside">{"".join(parts)}</div></div>')
    return "".join(rows[:_SHOWN])


def _heading(family: str) -> str:
    return f'<h3 style="color:var(--{colour_of(family)})">{_NAMES[family]}</h3>'


def _sample(entry: Any, prefix: str = "") -> str:
    """A text, without the prefix that it goes on from; marked where it is known to be invalid."""
    text, valid = (entry.get("text"), entry.get("valid")) if isinstance(entry, dict) else (entry, None)
    said = escape(str("" if text is None else text).removeprefix(prefix).strip()) or "<em>nothing</em>"
    return f'<span class="invalid" title="not valid">{said}</span>' if valid is False else said


def models(summary: Summary) -> str:
    """The families side by side, a column each."""
    entries = [read.model(summary, family) for family in FAMILIES]
    if not any(entries):
        return ""
    orders = sorted({n for entry in entries for n in at(entry, "generation", "distances") or {} if str(n).isdigit()})
    rows: list[tuple[str, Callable[[Summary], str]]] = [
        ("Parameters", lambda entry: number(finite(entry.get("parameters")), 0)),
        ("Training FLOPs", lambda entry: _large(finite(entry.get("training_flops")))),
        ("Training FLOPs a token", lambda entry: _large(finite(entry.get("training_flops_per_token")))),
        ("Tokens/s of training", lambda entry: _speed(entry, "training")),
        ("Tokens/s of generation", lambda entry: _speed(entry, "generation")),
        ("Nats a text, train", lambda entry: _bound(entry, "nats", "train")),
        ("Nats a text, held out", lambda entry: _bound(entry, "nats", "test")),
        ("Perplexity a token, train", lambda entry: _bound(entry, "perplexity", "train")),
        ("Perplexity a token, held out", lambda entry: _bound(entry, "perplexity", "test")),
        ("Valid", lambda entry: told_share(mean(entry, "generation", "valid"))),
        ("Novel", lambda entry: told_share(mean(entry, "generation", "novel"))),
        *((f"Distinct-{n}", lambda entry, n=n: told(mean(entry, "generation", "distinct", n), 3)) for n in "12"),
        *((f"Distance of {n}-grams", lambda entry, n=n: _distance(entry, n)) for n in orders),
    ]
    head = "".join(f'<th scope="col">{_heading(family)}</th>' for family in FAMILIES)
    body = _rows((name, *(cell(entry) if entry else "n/a" for entry in entries)) for name, cell in rows)
    return f'<thead><tr><th scope="col"></th>{head}</tr></thead><tbody>{body}</tbody>'


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    """Rows that hold something; of elements, not of texts."""
    told_rows = ((name, cells) for name, *cells in rows if any(cell != "n/a" for cell in cells))
    return "".join(
        f'<tr><th scope="row">{name}</th><td>{"</td><td>".join(cells)}</td></tr>' for name, cells in told_rows
    )


def _large(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3g}" if value < 1e4 else f"{value:.2e}".replace("e+", "e")


def _speed(entry: Summary, what: str) -> str:
    speed = mean(entry, "tokens_per_second", what)
    return number(speed and speed.value, 0)


def _bound(entry: Summary, *path: str) -> str:
    found, kind = mean(entry, *path), entry.get("kind")
    note = f"<small>{escape(str(kind))}</small>" if kind else ""
    return f"{told(found)}{note}" if found else "n/a"


def _distance(entry: Summary, n: str) -> str:
    found = at(entry, "generation", "distances", n)
    divergence, floor = mean(found, "divergence"), mean(found, "floor")
    note = f"<small>floor {number(floor.value, 4)}</small>" if floor else ""
    return f"{number(divergence.value, 4)}{note}" if divergence else "n/a"


def guidance(summary: Summary) -> str:
    """Validity and novelty of latent samples by strength of guidance."""
    rows = [row for row in rows_of(summary.get("guidance"), dict) if finite(row.get("guidance")) is not None]
    names = ("valid", "novel")
    return _rows((f"{row['guidance']:g}", *(told_share(mean(row, name)) for name in names)) for row in rows)


def split(summary: Summary) -> str:
    """The parts of -ELBO in nats a text, held out and train."""
    found = [at(summary, "split", key) for key in ("test", "train")]
    if not any(found):
        return ""
    parts = {
        "distortion": [told(_negative(mean(each, "realisation"))) for each in found],
        "information": [told_range(bounds(each, "information")) for each in found],
        "matching": [told_range(bounds(each, "matching")) for each in found],
    }
    key = '<i style="background:var(--{0})"></i>{1}<small>{2}</small>'
    rows = [(key.format(name, name.capitalize(), _PARTS[name]), *cells) for name, cells in parts.items()]
    rows.append(("Rate<small>information and matching together</small>", *(told(mean(each, "rate")) for each in found)))
    rows.append(("\u2212ELBO<small>all of it</small>", *(told(_negative(mean(each, "elbo"))) for each in found)))
    return _rows(rows)


def _negative(value: Mean | None) -> Mean | None:
    return value and value._replace(value=-value.value + 0.0)


def speaker(summary: Summary) -> str:
    """The text heads in describe side by side, a column each."""
    heads = rows_of(summary.get("speaker"), dict)
    if not heads:
        return ""
    rows: list[tuple[str, Callable[[Summary], str]]] = [
        ("Success", lambda head: told_share(mean(head, "success"))),
        ("Consistent", lambda head: told_share(mean(head, "consistent"))),
        ("Nats", lambda head: told(mean(head, "nats"))),
        ("Parameters", lambda head: number(finite(head.get("parameters")), 0)),
        ("Steps of training", lambda head: number(finite(head.get("steps")), 0)),
    ]
    names = (name_of(str(head.get("head"))).replace("autoreg", "auto\u00adreg") for head in heads)  # where it may break
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = _rows((name, *map(cell, heads)) for name, cell in rows)
    return f'<thead><tr><th scope="col"></th>{head}</tr></thead><tbody>{body}</tbody>'
