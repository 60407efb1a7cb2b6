"""Reading ablation.json, of which any part may be missing or damaged: whatever cannot be read is left out."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.ablation.statistics import LEVEL, Estimate
from experiments.page import brief, finite, nats, number, percent, rows_of
from experiments.studies.reading import ZERO

Summary = Mapping[str, Any]
_TESTS = ("p", "p_corrected", "p_step_down", "smallest", "p_behind")
FORMS = ("joint", "late", "text", "image", "video")  # in the order of the page; others follow
AHEAD, SLIGHT, EQUAL, SLIGHTLY_BEHIND, BEHIND, OPEN = (
    "joint ahead", "joint ahead, within the margin", "no gap", "late ahead, within the margin", "late ahead",
    "not decided",
)  # fmt: skip


class NS(NamedTuple):
    """Non-separability of a cell's feedback, in nats a step."""

    nats: float
    share: float | None  # of I(X;Y)
    how: str
    command: str
    low: float | None  # of an estimate: 95 %, of sampling alone
    high: float | None
    p: float | None  # of an estimate: of its test against a separable law

    @property
    def estimated(self) -> bool:
        """From samples, where only a test can tell it from 0."""
        return self.p is not None

    @property
    def detected(self) -> bool:
        """Whether the feedback is known not to be separable."""
        return self.nats > 0 if self.p is None else self.p <= LEVEL

    @property
    def told(self) -> str:
        """The figure, as an estimate where it is one."""
        if not self.estimated:
            return nats(self.nats)
        return f"\u2248\u00a0{nats(self.nats)}" if self.detected else "not detected"

    @property
    def note(self) -> str:
        """What belongs beside the figure: share or interval and test, and how it was found."""
        share = "" if self.share is None or (self.estimated and not self.detected) else f"{percent(self.share)} of I"
        if not self.estimated:
            return ", ".join(filter(None, (share, self.how)))
        ends = f"[{nats(self.low)},\u00a0{nats(self.high)}]"
        around = ends if self.detected else f"{nats(self.nats)} {ends}"
        return ", ".join(filter(None, (around, share, f"p\u00a0=\u00a0{brief(self.p)}", self.how)))


class Form(NamedTuple):
    """What the agents of one form reach; scores by seed."""

    scores: Mapping[str, float]
    iqm: Estimate | None
    success: Estimate | None


class Tests(NamedTuple):
    """p of a paired one-sided test of a gap above 0: alone, corrected for all cells, and the least that can be.

    behind is that of a gap below 0, corrected by step-down.
    """

    alone: float | None
    holm: float | None
    step_down: float | None
    smallest: float | None
    behind: float | None

    @property
    def corrected(self) -> float | None:
        """By step-down, which few seeds can pass, where it is known; else by Holm."""
        return self.holm if self.step_down is None else self.step_down


class Progress(NamedTuple):
    """Success at a time of training, over seeds."""

    steps: float
    mean: float
    low: float
    high: float


class CellResult(NamedTuple):
    """A world at one setting of its dial."""

    env: str
    coupling: float | None
    normalised: bool  # 0 for random actions, 1 for the oracle; else scores are J itself
    parameters: Mapping[str, Any]
    steps: float | None
    ns: NS | None
    anchors: Mapping[str, float]
    forms: Mapping[str, Form]
    gap: Estimate | None
    tests: Tests
    equivalent: bool | None
    improvement: Estimate | None
    shuffle: Mapping[str, Estimate]
    emap: Estimate | None
    whole: Estimate | None
    curves: Mapping[str, Sequence[Progress]]
    may: Sequence[str]  # what an estimate of NS allows to be said, what not, and what to mind
    may_not: Sequence[str]
    mind: Sequence[str]

    @property
    def name(self) -> str:
        """For people."""
        return self.env if self.coupling is None else f"{self.env} {self.coupling:g}"

    @property
    def verdict(self) -> str:
        """What the gap's corrected p say, in either direction, and whether it lies inside the margin."""
        ahead, behind = (p is not None and p <= LEVEL for p in (self.tests.corrected, self.tests.behind))
        if self.gap and ahead and self.gap.value > 0:
            return SLIGHT if self.equivalent else AHEAD
        if self.gap and behind and self.gap.value < 0:
            return SLIGHTLY_BEHIND if self.equivalent else BEHIND
        return EQUAL if self.equivalent else OPEN


class Trend(NamedTuple):
    """Rank correlation of gap and non-separability over cells, and its pre-stated test."""

    rho: Estimate | None
    p: float | None
    smallest: float | None
    n: float | None
    statement: str


class Control(NamedTuple):
    """A cell without non-separability."""

    name: str
    gap: Estimate | None
    equivalent: bool | None


def at(value: Any, *path: str) -> Any:
    """What lies inside objects at a path of names; None where there is nothing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def estimate(value: Any) -> Estimate | None:
    """{"value", "low", "high"}, or a number alone; None where there is no value."""
    if not isinstance(value, dict):
        value = {"value": value}
    known, low, high = (finite(value.get(name)) for name in Estimate._fields)
    return None if known is None else Estimate(known, low, high)


def cells(summary: Summary) -> list[CellResult]:
    """All cells that have a name, in the order of the file, those of a world by ascending coupling."""
    found = [_cell(row) for row in rows_of(summary.get("cells"), dict) if isinstance(row.get("env"), str)]
    worlds = list(dict.fromkeys(cell.env for cell in found))
    return sorted(found, key=lambda cell: (worlds.index(cell.env), cell.coupling or 0.0))


def unit(found: Sequence[CellResult]) -> str:
    """What scores of these cells are."""
    kinds = {cell.normalised for cell in found}
    return "return J" if kinds == {False} else "normalised return" + ", J where there is no oracle" * (False in kinds)


def by_world(found: Sequence[CellResult]) -> dict[str, list[CellResult]]:
    """Cells of each world."""
    return {env: [cell for cell in found if cell.env == env] for env in dict.fromkeys(cell.env for cell in found)}


def forms_of(found: Sequence[CellResult]) -> list[str]:
    """Forms that any cell knows, in the order of the page."""
    known = dict.fromkeys(form for cell in found for form in (*cell.forms, *cell.curves))
    return [form for form in FORMS if form in known] + [form for form in known if form not in FORMS]


def trend(summary: Summary) -> Trend:
    """The trend over cells, its parts None where they are not known."""
    found = summary.get("trend")
    p, smallest, n = (finite(at(found, name)) for name in ("p", "smallest", "n"))
    return Trend(estimate(at(found, "rho")), p, smallest, n, _text(at(found, "statement")))


def margin(summary: Summary) -> float | None:
    """Of normalised return, within which a gap counts as none."""
    known = (finite(at(summary, *path)) for path in (("trend", "margin"), ("config", "margin")))
    return next((value for value in known if value is not None and value > 0), None)


def controls(summary: Summary) -> list[Control]:
    """Cells without non-separability, as the file lists them."""
    found = []
    for row in rows_of(summary.get("controls"), dict):
        gap, coupling = estimate(row.get("gap")), finite(row.get("coupling"))
        if isinstance(row.get("env"), str):
            name = row["env"] if coupling is None else f"{row['env']} {coupling:g}"
            found.append(Control(name, gap, _flag(row.get("equivalent"))))
    return found


def failures(summary: Summary) -> list[tuple[str, str]]:
    """Jobs, trials and measurements, that failed, and why."""
    failed = summary.get("failed")
    return [(str(trial), str(why)) for trial, why in failed.items()] if isinstance(failed, dict) else []


def bounds(value: Estimate) -> tuple[float, float]:
    """Ends of an interval; the value itself where they are not known."""
    low, high = (value.value if end is None else end for end in (value.low, value.high))
    return low, high


def told(value: Estimate | None, digits: int = 2) -> str:
    """An estimate with its interval, "n/a" without one."""
    around = ends(value, digits)
    return signless(value and value.value, digits) + (f"\u00a0{around}" if around else "")


def ends(value: Estimate | None, digits: int = 2) -> str:
    """The interval alone, "" where it is not known."""
    if value is None or value.low is None or value.high is None:
        return ""
    return f"[{signless(value.low, digits)},\u00a0{signless(value.high, digits)}]"


def signless(value: float | None, digits: int = 2) -> str:
    """A number without a minus before zero, and with a true minus before others."""
    return "n/a" if value is None else number(round(value, digits) + 0.0, digits).replace("-", "\u2212")


def _cell(row: Summary) -> CellResult:
    gap, diagnostics = row.get("gap"), row.get("diagnostics")
    forms = {name: _form(value) for name, value in _items(row.get("forms")) if isinstance(value, dict)}
    return CellResult(
        env=row["env"],
        coupling=finite(row.get("coupling")),
        normalised=row.get("score") != "J",
        parameters=dict(_items(row.get("parameters"))),
        steps=finite(row.get("steps")),
        ns=_ns(row.get("ns")),
        anchors=_numbers(row.get("anchors")),
        forms=forms,
        gap=estimate(gap),
        tests=Tests(*(finite(at(gap, name)) for name in _TESTS)),
        equivalent=_flag(at(gap, "equivalent")),
        improvement=estimate(row.get("improvement")),
        shuffle=_estimates(at(diagnostics, "shuffle")),
        emap=estimate(at(diagnostics, "emap")),
        whole=estimate(at(diagnostics, "whole")),
        curves={name: curve for name, value in _items(row.get("curves")) if (curve := _curve(value))},
        **{name: _texts(at(row, "claims", name)) for name in ("may", "may_not", "mind")},
    )


def _ns(value: Any) -> NS | None:
    found, p = (finite(at(value, name)) for name in ("nats", "p"))
    if found is None:
        return None
    return NS(
        nats=0.0 if p is None and found <= ZERO else found,  # an estimate may lie below 0
        share=finite(at(value, "share")),
        how=_text(at(value, "how")),
        command=_text(at(value, "command")),
        low=finite(at(value, "low")),
        high=finite(at(value, "high")),
        p=p,
    )


def _form(value: Summary) -> Form:
    return Form(_numbers(value.get("scores")), estimate(value.get("iqm")), estimate(value.get("success")))


def _curve(value: Any) -> list[Progress]:
    steps, means, lows, highs = (rows_of(at(value, name), object) for name in ("steps", "mean", "low", "high"))
    columns = steps, means, *(ends if len(ends) == len(means) else means for ends in (lows, highs))
    rows = (tuple(map(finite, row)) for row in zip(*columns, strict=False))
    known = ((x, y, *(y if end is None else end for end in ends)) for x, y, *ends in rows if x is not None)
    return sorted(Progress(x, y, low, high) for x, y, low, high in known if y is not None)  # type: ignore[arg-type]


def _numbers(value: Any) -> dict[str, float]:
    return {name: known for name, entry in _items(value) if (known := finite(entry)) is not None}


def _estimates(value: Any) -> dict[str, Estimate]:
    return {name: known for name, entry in _items(value) if (known := estimate(entry)) is not None}


def _items(value: Any) -> list[tuple[str, Any]]:
    return [(str(name), entry) for name, entry in value.items()] if isinstance(value, dict) else []


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _texts(values: Any) -> list[str]:
    return [value for value in rows_of(values, str) if value]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
