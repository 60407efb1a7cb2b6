"""The report of a bridge study: one HTML file that needs nothing else, written from bridge.json.

Any part may be missing, as when a job failed: then the page says so and shows what there is. A sample or a completion
is a string, or {"text", "valid"} where it is known whether it is valid. A picture is (H, W, 3), nested
numbers from 0 to 255. Equal folders give equal bytes.
"""

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from experiments import page
from experiments.bridge import figures, pictures, tables
from experiments.bridge import summary as read
from experiments.bridge.claims import FAILS, HOLDS, OPEN, claims
from experiments.bridge.summary import FAMILIES, Mean, Summary, at, bounds, mean, told, told_range, told_share
from experiments.colophon import configuration, machine
from experiments.page import finite, number, percent, rows_of

_TEMPLATE = Path(__file__).with_suffix(".html")
_FILE = "bridge.json"
_NEEDED = {"": "a run folder", _FILE: "figures of a bridge study"}
_MARKS = {HOLDS: "✓", FAILS: "✗", OPEN: "?"}
_EXPECTED = {  # sections that a whole study fills
    "reconstruction": "reconstruction",
    "samples": "samples",
    "completions": "completions",
    "models": "the three models side by side",
    "split": "the split of the ELBO",
    "rate_distortion": "curve 1",
    "prior": "curve 2",
    "gap": "curve 3",
    "scaling": "scaling",
    "speaker": "the text heads in describe",
    "modalities": "text and picture from one latent",
}

# Sections that repeat claims, and how those claims begin.
_SAYS = {"reconstruction": "Reconstruction", "samples": "Samples", "models": "Likelihood", "scaling": "Scaling"}
_SAYS |= {"rate": "Curve 1", "prior": "Curve 2", "gap": "Curve 3", "speaker": "Speaking"}


def write_report(folder: Path) -> Path:
    """Write `report.html` into a run folder.

    Args:
        folder: holds bridge.json.

    Returns:
        Path of the report, which appears whole or not at all.

    Raises:
        FileNotFoundError: one line, when the folder or the file is missing.
        ValueError: one line, when the file, or one that it names, is damaged.
    """
    page.check_files(folder, _NEEDED)
    return page.write_page(folder / "report.html", _page(folder))


def _page(folder: Path) -> str:
    summary = page.read_mapping(folder / _FILE, json.loads)
    judged = rows_of(summary.get("claims"), dict) or claims(summary)
    sections = {
        "claims": {"claims": _claims(judged)},
        "reconstruction": {"examples": tables.reconstruction(summary), "plot_noised": figures.noised(summary)},
        "samples": {"samples": tables.samples(summary)},
        "completions": {"completions": tables.completions(summary)},
        "models": {"models": tables.models(summary), "guidance": tables.guidance(summary)},
        "split": {"plot_split": figures.split(summary), "split_key": tables.split(summary)},
        "rate_distortion": {"plot_rate": figures.rate_distortion(summary)},
        "prior": {"plot_prior": figures.prior(summary)},
        "gap": {"plot_gap": figures.gap(summary), "plot_gap_parts": figures.gap_parts(summary)},
        "scaling": figures.scaling(summary),
        "speaker": {"plot_speaker": figures.speaker(summary), "speaker_rows": tables.speaker(summary)},
        "modalities": {"modalities": pictures.gallery(summary)},
    }
    missing = [what for name, what in _EXPECTED.items() if not any(sections[name].values())]
    fields = {
        "title": str(at(summary, "corpus", "name") or folder.name),
        "about": _about(summary),
        "verdict": _verdict(summary, judged),
        "command": summary.get("command") or "n/a",
        "split_finding": _split_finding(summary),
        "modalities_finding": _modalities_finding(summary),
        "accuracy": _accuracy(summary),
        "gap_k": number(finite(at(summary, "curves", "gap", "k")), 0),
        "world": str(at(summary, "modalities", "world") or "n/a"),
    }
    elements = {
        "alerts": _alerts(summary, missing),
        "cards": "".join(map(_card, _headline(summary))),
        **{f"{name}_says": _findings(judged, start) for name, start in _SAYS.items()},
        "configuration": configuration(summary.get("config")),
        "machine": machine(summary),
    }
    return page.assemble(_TEMPLATE.read_text(encoding="utf-8"), fields, elements, sections)


def _about(summary: Summary) -> str:
    corpus = summary.get("corpus")
    train, test, size = (finite(at(corpus, name)) for name in ("train", "test", "V"))
    length = finite(at(corpus, "tokens_per_text", "test"))
    parts = [
        f"{number(train, 0)} texts to learn from" if train else "",
        f"{number(test, 0)} held out" if test else "",
        f"{number(length, 1)} tokens in each on average" if length else "",
        f"tokens are {at(corpus, 'tokens')}" if at(corpus, "tokens") else "",
        f"V = {number(size, 0)}" if size else "",
    ]
    return ", ".join(filter(None, parts))


def _verdict(summary: Summary, judged: Sequence[Summary]) -> str:
    costs = []
    for family in FAMILIES:
        entry = read.model(summary, family)
        if nats := mean(entry, "nats", "test"):
            kind = "at most " if entry.get("kind") == "at most" else ""
            costs.append(f"{family} {kind}{number(nats.value, 2)}")
    said = f"Nats a held-out text: {', '.join(costs)}. " if costs else "No model was measured. "
    holds, fails, others = (sum(row.get("verdict") == name for row in judged) for name in (HOLDS, FAILS, OPEN))
    return f"{said}Claims that hold: {holds}; that do not: {fails}; not decided: {others}."


def _alerts(summary: Summary, missing: Sequence[str]) -> str:
    failed = "".join(f"<li>{escape(f'{job} failed: {why}')}</li>" for job, why in read.failures(summary))
    absent = f"<p>Not in this run: {escape(', '.join(missing))}.</p>" if missing else ""
    return absent + (f"<ul>{failed}</ul>" if failed else "")


class _Card(NamedTuple):
    name: str
    value: str
    note: str


def _card(card: _Card) -> str:
    name, value, note = map(escape, card)
    return f"<div><dt>{name}</dt><dd>{value}<small>{note}</small></dd></div>"


def _headline(summary: Summary) -> list[_Card]:
    ours, theirs = (read.model(summary, name) for name in FAMILIES[:2])
    nats, valid = (
        [mean(entry, *path) for entry in (ours, theirs)] for path in (("nats", "test"), ("generation", "valid"))
    )
    speeds = [mean(entry, "tokens_per_second", "generation") for entry in (ours, theirs)]
    bound = "\u2264\u00a0" if ours.get("kind") == "at most" and nats[0] else ""
    gap, k = mean(summary, "curves", "gap", "total"), finite(at(summary, "curves", "gap", "k"))
    return [
        _Card("Latent text", bound + _short(nats[0]), f"nats a held-out text; autoregressive {_short(nats[1])}"),
        _Card("Reconstruction", _share(mean(summary, "reconstruction", "accuracy", "test")), "of held-out tokens"),
        _Card("Valid samples", _share(valid[0]), f"autoregressive {_share(valid[1])}"),
        _Card("KL(qbar || p)", told_range(bounds(summary, "split", "test", "matching")), "nats a held-out text"),
        _Card("Inference gap", f"\u2265\u00a0{_short(gap)}" if gap else "n/a", f"nats a text, by {number(k, 0)} draws"),
        _Card("Generation", _short(speeds[0], 0), f"tokens/s; autoregressive {_short(speeds[1], 0)}"),
    ]


def _short(value: Mean | None, digits: int = 2) -> str:
    return number(value and value.value, digits)


def _share(value: Mean | None) -> str:
    return percent(value and value.value)


def _claims(judged: Sequence[Summary]) -> str:
    return "".join(
        f'<tr><th scope="row">{escape(str(row.get("claim") or ""))}</th>{_judgement(row)}</tr>' for row in judged
    )


def _judgement(row: Summary) -> str:
    verdict = str(row.get("verdict") or OPEN)
    kind = {HOLDS: "holds", FAILS: "fails"}.get(verdict, "open")
    mark = f'<td class="{kind}">{_MARKS.get(verdict, "?")}\u00a0{escape(verdict)}</td>'
    return f"{mark}<td>{escape(str(row.get('evidence') or ''))}</td>"


def _findings(judged: Sequence[Summary], start: str) -> str:
    """What the claims whose text begins so say, as paragraphs."""
    said = []
    for row in judged:
        claim, verdict, evidence = (str(row.get(name) or "") for name in ("claim", "verdict", "evidence"))
        if claim.startswith(start):
            rest = claim.removeprefix(start).strip(": ")
            text = escape(f"{_MARKS.get(verdict, '?')} {rest[:1].upper()}{rest[1:]}: {verdict}.")
            said.append(f'<p class="finding">{text} <small>{escape(evidence)}.</small></p>')
    return "".join(said)


def _split_finding(summary: Summary) -> str:
    found, entropy = at(summary, "split", "test"), read.entropy(summary)
    elbo, matching = mean(found, "elbo"), bounds(found, "matching")
    if elbo is None or matching is None:
        return ""
    said = f"KL(qbar || p) is {told_range(matching)} of the {number(-elbo.value, 2)} nats a held-out text"
    if entropy is None:
        return said + "."
    return f"{said}; {number(-elbo.value - entropy, 2)} of them lie above H."


def _accuracy(summary: Summary) -> str:
    shares = [
        f"{told_share(value)} {name}"
        for key, name in (("test", "held out"), ("train", "train"))
        if (value := mean(summary, "reconstruction", "accuracy", key))
    ]
    return f"Tokens that come back from a sampled z: {', '.join(shares)}." if shares else ""


def _modalities_finding(summary: Summary) -> str:
    accuracy, psnr = (mean(summary, "modalities", name) for name in ("text_accuracy", "psnr"))
    said = [f"{told_share(accuracy)} of tokens are decoded right"] if accuracy else []
    said += [f"pictures come back at {told(psnr, 1)} dB PSNR"] if psnr else []
    return f"{'; '.join(said)}." if said else ""
