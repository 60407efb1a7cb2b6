"""What the ablation study shows: tests that were stated before it, "not decided" where an interval allows both."""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.ablation.statistics import LEVEL
from experiments.page import brief, number
from experiments.studies.reading import ZERO

HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"

_ENDS = ("value", "low", "high")

Found = Mapping[str, Any]


def claims(summary: Found, margin: float) -> list[dict[str, str]]:
    """The two tests stated before the study, and what its cells show besides."""
    unknown = [name_of(cell) for cell in summary["cells"] if cell["ns"] is None]
    told = [_increases(summary["trend"]), _nothing(summary["controls"], margin), _ahead(summary["cells"])]
    for one in told[1:] if unknown else ():  # among these cells may be one where it does not hold
        one["verdict"] = OPEN if one["verdict"] == HOLDS else one["verdict"]
        one["evidence"] += f" NS is not known of {', '.join(unknown)}."
    return told + _ahead_of_estimates(summary["cells"])


def _increases(trend: Found) -> dict[str, str]:
    verdict = OPEN
    if trend["p"] is not None and trend["p"] <= LEVEL:
        verdict = HOLDS
    elif trend["rho"] and trend["rho"]["high"] is not None and trend["rho"]["high"] <= 0:
        verdict = FAILS
    return {"claim": "Stated before: the gap increases with NS", "verdict": verdict, "evidence": trend["statement"]}


def _nothing(controls: Sequence[Found], margin: float) -> dict[str, str]:
    """All cells have to pass, so that no correction is needed."""
    claim = f"Stated before: no gap where NS = 0, the 95 % interval lies inside \u00b1{margin:g} in every such cell"
    known = [control for control in controls if control["gap"] and control["equivalent"] is not None]
    gaps = [control["gap"] for control in known if control["gap"]["low"] is not None]
    verdict = OPEN
    if controls and len(known) == len(controls) and all(control["equivalent"] for control in known):
        verdict = HOLDS
    elif any(gap["low"] >= margin or gap["high"] <= -margin for gap in gaps):
        verdict = FAILS
    told = [f"{name_of(control)} {said(control['gap'])}" for control in known]
    return {"claim": claim, "verdict": verdict, "evidence": "; ".join(told) or "No such cell has a gap."}


def _ahead(told: Sequence[Found]) -> dict[str, str]:
    claim = "The joint form is ahead of late fusion in every cell with NS > 0, corrected for the number of cells"
    return _ahead_in([cell for cell in told if (nats_of(cell) or 0.0) > 0.0], claim)


def _ahead_of_estimates(told: Sequence[Found]) -> list[dict[str, str]]:
    """Nothing where no cell has an estimate."""
    if not any(is_estimated(cell) for cell in told):
        return []
    claim = (
        "Where NS is estimated and separability rejected, each at the level of 5 %, the joint form is ahead of late "
        "fusion, corrected for the number of cells"
    )
    return [_ahead_in([cell for cell in told if rejected(cell)], claim)]


def _ahead_in(coupled: Sequence[Found], claim: str) -> dict[str, str]:
    known = [cell for cell in coupled if cell["gap"]]
    ahead = [cell for cell in known if cell["gap"]["p_step_down"] <= LEVEL]
    behind = [cell for cell in known if cell["gap"]["p_behind"] <= LEVEL]
    verdict = HOLDS if coupled and len(ahead) == len(coupled) else FAILS if behind else OPEN
    cells = [f"{name_of(cell)} {said(cell['gap'])}, p = {brief(cell['gap']['p_step_down'])}" for cell in known]
    evidence = f"{len(ahead)} of {len(coupled)}: {'; '.join(cells)}" if known else "No such cell has a gap."
    return {"claim": claim, "verdict": verdict, "evidence": evidence}


def allowed(cell: Found) -> dict[str, list[str]] | None:
    """What an environment whose NS is estimated allows to be said, what not, and what to mind; None for other cells.

    No dial turns such an environment's coupling, nothing enumerates it, and no oracle plays it.
    """
    if not is_estimated(cell):
        return None
    may, may_not = (list(cell["ns"]["claims"][name]) for name in ("may", "may_not"))
    may_not.append("The same NS under another behaviour than uniform actions, as that of the trained agents.")
    if cell["memory"] != "none":
        may_not.append("What NS is to agents that remember, as these do: it is given the present observation alone.")
    gap = cell["gap"]
    if gap and gap["p_step_down"] <= LEVEL:
        may.append(f"With these settings and seeds joint agents earn more than late ones: {_gap(cell)}.")
    elif gap and gap["p_behind"] <= LEVEL:
        may.append(f"With these settings and seeds joint agents earn less than late ones: {_gap(cell)}.")
    elif gap:
        may_not.append(f"That the forms differ here: {_gap(cell)}. Nor that they do not: no margin was stated for J.")
    may_not.append("What late fusion must lose: the best late agent is not known, only those that were trained.")
    may_not.append("That non-separability is the cause: no dial turns it while all else stays.")
    if cell["score"] == "J":
        may_not.append("A gap larger or smaller than in other environments: without an oracle J is not normalised.")
    return {"may": may, "may_not": may_not, "mind": list(cell["ns"]["warnings"])}


def _gap(cell: Found) -> str:
    unit = "of J" if cell["score"] == "J" else "of normalised return"
    return f"gap {said(cell['gap'])} {unit}, p = {brief(cell['gap']['p_step_down'])} corrected for all cells"


def rejected(cell: Found) -> bool:
    """Whether an estimate rejects separability."""
    return is_estimated(cell) and cell["ns"]["p"] <= LEVEL


def is_estimated(cell: Found) -> bool:
    """Whether NS comes from samples and a test, not from an enumeration or a closed form."""
    return bool(cell["ns"]) and cell["ns"].get("p") is not None


def nats_of(cell: Found) -> float | None:
    """NS of a cell's feedback, 0.0 where it is nothing but rounding; None where it is not known exactly.

    An estimate has no place among these. Not detected is not 0, so that it makes no control; and what nets fail to
    learn differs between environments, so that their order by estimates need not be that by NS.
    """
    if cell["ns"] is None or is_estimated(cell):
        return None
    return round(cell["ns"]["nats"], 9) if cell["ns"]["nats"] > ZERO else 0.0


def name_of(cell: Found) -> str:
    """World and coupling, for people."""
    return cell["env"] if cell["coupling"] is None else f"{cell['env']} {cell['coupling']:g}"


def said(estimate: Found | None) -> str:
    """An estimate with its interval."""
    if estimate is None:
        return "n/a"
    value, low, high = (number(end if end is None else round(end, 3) + 0.0) for end in map(estimate.get, _ENDS))
    return value if estimate["low"] is None else f"{value} [{low}, {high}]"
