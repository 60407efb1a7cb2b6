"""What the numbers of a separability study mean, in words: rows of a table, a verdict, and what may be claimed."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_SAMPLES = "from samples"
_UNMEASURED = {"enumeration": "not enumerated", "unsampled": "not estimated from samples"}
ZERO = 1e-9  # nats: below it exact figures are rounding
_MEANINGS = {
    "nonseparability": ("NS_fb", "feedback that no sum of per-modality scores expresses"),
    "one_modality": ("L1", "lost with the best single modality; 0: one is enough"),
    "information": ("I(X;Y)", "what observation and action tell of the feedback: the whole"),
    "entropy": ("H(Y|X)", "chance that is left in the feedback"),
}


def rows(study: dict[str, Any]) -> list[dict[str, Any]]:
    """The table: name, nats a step, share of I(X;Y), interval, source and meaning of each figure; None is "n/a"."""
    table = []
    if study["exact"]:
        table += _exact_rows(study["exact"])
    if study["estimate"]:
        table += _estimate_rows(study["estimate"])
    return table


def verdict(study: dict[str, Any]) -> str:
    """One or two sentences."""
    said = []
    if study["exact"]:
        said.append(_exact_verdict(study))
    if study["estimate"]:
        said.append(_estimate_verdict(study["estimate"]))
    return " ".join(said)


def claims(study: dict[str, Any]) -> dict[str, list[str]]:
    """What these figures allow to be said, and what they do not."""
    may, may_not = [], []
    exact, rungs, estimate = study["exact"], study["ladder"], study["estimate"]
    if exact:
        version = "The small version" if exact["small"] else "This world"
        told = _mean(exact, "feedback", "nonseparability")
        if told > ZERO:
            may.append(f"{version} is non-separable under {exact['rho']}: Eq. (10) fails for its feedback.")
            may.append(f"The coupling has order {_order(exact)}.")
        else:
            may.append(f"The feedback of {version[0].lower()}{version[1:]} is separable under {exact['rho']}.")
            if len(exact["steps"]) > 1:
                may_not.append("The same for who does not know the step: each step was measured by itself.")
        may_not.append("The same figure under another behaviour; where the state is hidden, not even the same zero.")
        if exact["small"]:
            may_not.append("The same figure for the full-sized world.")
    if rungs and rungs["steps"] > 1:
        may_not.append("What whole plans lose by late fusion: the ladder values one decision at a time.")
    if rungs and rungs["gap_bound"] > 1e-6:
        may.append(f"Late fusion loses at least {rungs['gap_bound']:.4f} of the signal in {rungs['decision']}.")
    else:
        may_not.append("That a unified model is needed: no value is known to be lost by late fusion.")
    if estimate:
        if estimate["detected"]:
            may.append(f"Separability is rejected (p = {estimate['p_value']:.3g}, parametric bootstrap).")
        else:
            may_not.append("That the environment is separable: not detected is not absent.")
        may_not.append("The size from its interval alone: that covers sampling, not what nets fail to learn.")
        if estimate["method"] != "table":
            may_not.append("Anything beyond what these networks can see in the pixels.")
    return {"may": may, "may_not": may_not}


def print_tables(study: dict[str, Any], console: Console) -> None:
    """Verdict, figures and ladder, for a terminal."""
    console.print(Text.assemble((study["env"], "bold"), f": {study['verdict']}"), soft_wrap=True)
    for title, told in _sections(study):
        console.print(_figures(title, told))
    if study["ladder"]:
        console.print(_ladder_table(study["ladder"]))
    cautions = [f"{what}: {study[key]}" for key, what in _UNMEASURED.items() if key in study]
    for caution in [*cautions, *(study["estimate"] or {}).get("warnings", ())]:
        console.print(Text.assemble(("mind:", "yellow"), f" {caution}"), soft_wrap=True)


def _sections(study: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows by where they come from, each with a title."""
    exact, estimate, told = study["exact"], study["estimate"], study["rows"]
    sections = []
    if exact:
        version = f", small version ({settings(exact['parameters'])})" if exact["small"] else ""
        sections.append((f"nats a step, exact{version}", [row for row in told if row["source"] != _SAMPLES]))
    if estimate:
        title = f"nats a step, from {estimate['n']:,} transitions by {estimate['method']}"
        sections.append((title, [row for row in told if row["source"] == _SAMPLES]))
    return sections


def _figures(title: str, told: list[dict[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    intervals = any(row["low"] is not None for row in told)
    for heading in ("nats", *["95 %"] * intervals, "of I(X;Y)"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("meaning", overflow="fold")
    for row in told:
        span = [""] if row["low"] is None else [f"{row['low']:.4f} {row['high']:.4f}"]
        share = "" if row["share"] is None else f"{row['share']:.0%}"
        table.add_row(row["name"], row["told"] or _nats(row["nats"]), *span[:intervals], share, row["meaning"])
    return table


def _ladder_table(rungs: dict[str, Any]) -> Table:
    table = Table(title=f"value of a decision ({rungs['decision']})", title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("signal", justify="right")
    table.add_column("meaning", overflow="fold")
    table.add_row("blind", f"{rungs['blind']:.4f}", "the best fixed action")
    for name, value in zip(rungs["modalities"], rungs["single"], strict=True):
        table.add_row(name, f"{value:.4f}", f"the best choice that sees {name} alone")
    low, high = rungs["late"], rungs["late_bound"]
    late = f"{low:.4f}" if rungs["certified"] else f"{low:.4f} to {high:.4f}"
    table.add_row("late", late, "the best sum of per-modality scores" + ", proved" * rungs["certified"])
    table.add_row("joint", f"{rungs['joint']:.4f}", "the best choice that sees all jointly")
    gap = f"{rungs['gap']:.4f}" if rungs["certified"] else f"{rungs['gap_bound']:.4f} to {rungs['gap']:.4f}"
    table.add_row("GAP", gap, "joint less late: what late fusion costs")
    return table


def _exact_rows(exact: dict[str, Any]) -> list[dict[str, Any]]:
    whole = _mean(exact, "feedback", "information")
    table = []
    for key, (name, meaning) in _MEANINGS.items():
        nats = _mean(exact, "feedback", key)
        share = None if key == "entropy" else _share(nats, whole)
        table.append(_row(name, nats, share, meaning))
        if key == "nonseparability" and len(exact["modalities"]) > 2:
            for order, part in enumerate(_connected(exact), start=2):
                table.append(_row(f"  C_{order}", part, _share(part, whole), f"of it: between {order} modalities"))
    signal = _mean(exact, "signal", "nonseparability")
    share = _share(signal, _mean(exact, "signal", "information"))
    table.append(_row("NS_fb of l", signal, share, "the same of the learning signal, after G"))
    table.append(
        _row("NS_out", _mean(exact, "output", "nonseparability"), None, "lost when each modality foresees itself")
    )
    table.append(
        _row("  TC", _mean(exact, "output", "total_correlation"), None, "of it: next observations hang together")
    )
    for m, name in enumerate(exact["modalities"]):
        nats = sum(step["alive"] * step["output"]["influence"][m] for step in exact["steps"]) / exact["length"]
        table.append(_row(f"  on {name}", nats, None, f"of it: others tell of the next {name}"))
    source = "small version" if exact["small"] else "exact"
    return [row | {"source": source} for row in table]


def _estimate_rows(estimate: dict[str, Any]) -> list[dict[str, Any]]:
    (low, high), p = estimate["interval"], estimate["p_value"]
    row = _row("NS_fb", estimate["nonseparability"], estimate["share"], f"{_MEANINGS['nonseparability'][1]}")
    row |= {"low": low, "high": high, "source": _SAMPLES, "meaning": f"{row['meaning']}; p = {p:.3g} against separable"}
    if not estimate["detected"]:
        row |= {"told": "not detected", "share": None}
    whole = _row("I(X;Y)", estimate["information"], None, _MEANINGS["information"][1])
    return [row, whole | {"source": _SAMPLES}]


def _exact_verdict(study: dict[str, Any]) -> str:
    exact, rungs = study["exact"], study["ladder"]
    nats, whole = (_mean(exact, "feedback", key) for key in ("nonseparability", "information"))
    subject = f"The small version ({settings(exact['parameters'])})" if exact["small"] else "The feedback"
    if whole <= ZERO:
        return f"{subject} tells nothing: feedback does not depend on observation and action."
    if nats <= ZERO:
        where = ", in each step by itself" * (len(exact["steps"]) > 1)
        text = f"{subject} is separable: a sum of per-modality scores expresses it exactly{where} (0 nats)."
        if (signal := _mean(exact, "signal", "nonseparability")) > ZERO:
            text += f" The signal made of it is not: {signal:.4f} nats a step."
    else:
        text = f"{subject} is non-separable: {nats:.4f} nats a step, {nats / whole:.0%} of I(X;Y)."
    if rungs["gap_bound"] > 1e-6:
        at_least = "" if rungs["certified"] else "at least "
        return f"{text} Late fusion loses {at_least}{rungs['gap_bound']:.4f} of the signal in {rungs['decision']}."
    if rungs["certified"]:
        return f"{text} Late fusion loses nothing in {rungs['decision']} (GAP 0)."
    return f"{text} Whether late fusion loses value was not decided."


def _estimate_verdict(estimate: dict[str, Any]) -> str:
    n, p = estimate["n"], estimate["p_value"]
    if not estimate["detected"]:
        return f"From {n:,} transitions, non-separability is not detected (p = {p:.2g})."
    share = "" if estimate["share"] is None else f", {estimate['share']:.0%} of I(X;Y)"
    return (
        f"From {n:,} transitions, non-separability is detected: about {estimate['nonseparability']:.4f} nats a step"
        f"{share} (p = {p:.2g}). What it costs in value is not known from samples."
    )


def _nats(value: float) -> str:
    return "0" if abs(value) <= ZERO else f"{value:.4f}"


def _row(name: str, nats: float, share: float | None, meaning: str) -> dict[str, Any]:
    told: dict[str, Any] = {"name": name, "nats": nats, "share": share, "low": None, "high": None, "meaning": meaning}
    return told | {"source": "exact", "told": None}


def _share(nats: float, whole: float) -> float | None:
    return nats / whole if whole > ZERO else None


def _mean(exact: dict[str, Any], part: str, key: str) -> float:
    """Nats a step: over steps, weighted by the chance that the episode is still going on."""
    return sum(step["alive"] * step[part][key] for step in exact["steps"]) / exact["length"]


def _connected(exact: dict[str, Any]) -> list[float]:
    orders = len(exact["steps"][0]["feedback"]["connected"])
    steps = exact["steps"]
    return [sum(s["alive"] * s["feedback"]["connected"][k] for s in steps) / exact["length"] for k in range(orders)]


def _order(exact: dict[str, Any]) -> str:
    return " and ".join(str(order) for order, nats in enumerate(_connected(exact), start=2) if nats > ZERO)


def settings(parameters: Mapping[str, Any]) -> str:
    """Parameters in a line."""
    return ", ".join(f"{name}={value}" for name, value in parameters.items())
