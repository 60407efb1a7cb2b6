"""ablation.csv, one row a trial, and ablation.md, the study as text."""

import csv
import io
from collections.abc import Mapping
from typing import Any

from experiments.ablation.claims import is_estimated, name_of, nats_of, rejected, said
from experiments.markdown import bullets, table
from experiments.page import brief, number, settings

Summary = Mapping[str, Any]

_COLUMNS = ("name", "env", "coupling", "psi", "seed", "J", "success", "score", "seconds", "command")
_HOW = """\
Scores are (J - J of chance) / (J of the oracle - J of chance), by the anchors of each trial; where a world has no
oracle they are J itself. Cells tell the interquartile mean over seeds with a bootstrap interval, widened for few seeds
(Hesterberg 2015). The gap is joint less late, paired by seed, with Student's t interval. All intervals are at the 95 %
level. `p` is the exact one-sided sign-flip test of a gap above 0, which with n seeds gives no less than 1/2^n; `Holm`
is corrected for k cells by Holm's method, which then gives no less than k/2^n; `step-down` is corrected by Westfall and
Young's maximum over cells, which again reaches 1/2^n. A cell is equivalent if the gap's 95 % interval lies inside the
margin, which is stricter than two one-sided tests at 5 %. P(joint > late) is over all pairs of runs, with Newcombe's
interval.
NS is exact unless it is told as estimated: from uniform actions, with the 95 % interval of sampling alone, which knows
nothing of what nets fail to learn, and p of its own test against a separable law. Such cells enter neither the trend
nor the controls."""


def to_csv(summary: Summary) -> str:
    """One row a trial, those that failed without figures."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(summary["trials"])
    return text.getvalue()


def to_markdown(summary: Summary) -> str:
    """Tests and claims in sentences, tables of cells, and how it came about."""
    trials = summary["trials"]
    done = sum(trial["J"] is not None for trial in trials)
    seconds = summary.get("seconds")
    took = "" if seconds is None else f" in {number(seconds / 60, 1)} minutes"
    sections = {
        "Tests and claims": bullets(f"**{c['verdict']}**: {c['claim']}. {c['evidence']}" for c in summary["claims"]),
        "Scores": _scores(summary),
        "Joint against late": _gaps(summary),
        "What trained joint agents use": _diagnostics(summary),
        "What estimates of NS allow to be said": _allowed(summary),
        "How to read this": _HOW,
        "Failed": bullets(f"`{name}`: {why}" for name, why in summary["failed"].items()),
        "Made by": _made_by(summary),
    }
    blocks = [f"## {title}\n\n{text}\n" for title, text in sections.items() if text]
    begin = f"{done} of {len(trials)} trials{took}. {summary.get('note', '')}".rstrip()
    return "\n".join([f"# Ablation: one shared latent, late fusion, one modality\n\n{begin}\n", *blocks])


def _scores(summary: Summary) -> str:
    """Forms beside the exact optima of the cells that have them."""
    cells = summary["cells"]
    forms = list(dict.fromkeys(form for cell in cells for form in cell["forms"]))
    rungs = ("late optimum", "joint optimum", "text", "image")
    head = ["cell", "NS, nats", "score", *forms, *(rung if " " in rung else f"{rung} optimum" for rung in rungs)]
    rows = []
    for cell in cells:
        scores = [said(cell["forms"].get(form, {}).get("iqm")) for form in forms]
        optima = [number(cell["anchors"].get(rung)) for rung in rungs]
        rows.append([name_of(cell), _nats(cell), cell["score"], *scores, *optima])
    overall = summary["overall"]
    if overall["cells"] > 1:
        told = [said(overall["iqm"].get(form)) for form in forms]
        rows.append([f"all {overall['cells']} with every form", "", "normalised", *told, *("" for _ in rungs)])
    return table(head, rows)


def _gaps(summary: Summary) -> str:
    head = ["cell", "NS, nats", "gap", "seeds", "p", "Holm", "step-down", "equivalent", "P(joint > late)"]
    rows = []
    for cell in summary["cells"]:
        gap = cell["gap"]
        if gap is not None:
            tests = [brief(gap[key]) for key in ("p", "p_corrected", "p_step_down")]
            inside = {True: "yes", False: "no", None: "n/a"}[gap["equivalent"]]
            rows.append(
                [name_of(cell), _nats(cell), said(gap), str(gap["n"]), *tests, inside, said(cell["improvement"])]
            )
    return table(head, rows)


def _diagnostics(summary: Summary) -> str:
    told = {name_of(cell): cell["diagnostics"] for cell in summary["cells"] if cell["diagnostics"]}
    if not told:
        return ""
    modalities = list(dict.fromkeys(name for one in told.values() for name in one["shuffle"]))
    head = ["cell", "as trained", *(f"{name} of other worlds" for name in modalities), "additive projection"]
    rows = [
        [name, said(one["whole"]), *(said(one["shuffle"].get(m)) for m in modalities), said(one["emap"])]
        for name, one in told.items()
    ]
    return table(head, rows)


def _allowed(summary: Summary) -> str:
    """Lists of what each cell whose NS is estimated allows to be said."""
    texts = []
    for cell in summary["cells"]:
        if cell["claims"]:
            texts.append(f"### {name_of(cell)}, {cell['ns']['how']}")
            for heading, name in (("May be said", "may"), ("May not be said", "may_not"), ("To mind", "mind")):
                texts += [f"{heading}:", bullets(cell["claims"][name] or ["nothing"])]
    return "\n\n".join(texts)


def _made_by(summary: Summary) -> str:
    where = settings(summary["versions"]), settings(summary["hardware"])
    note = "The command of each trial stands in ablation.csv, that of each NS and all else in ablation.json."
    return "\n\n".join((f"```\n{summary['command']}\n```", *filter(None, where), note))


def _nats(cell: Summary) -> str:
    ns, nats = cell["ns"], nats_of(cell)
    if is_estimated(cell):
        low, high = (number(ns[end], 4) for end in ("low", "high"))
        begin = "about" if rejected(cell) else "not detected:"
        return f"{begin} {number(ns['nats'], 4)} [{low}, {high}], p = {brief(ns['p'])}, estimated"
    return "n/a" if nats is None else f"{number(nats, 4)}{', small version' * ('small' in cell['ns']['how'])}"
