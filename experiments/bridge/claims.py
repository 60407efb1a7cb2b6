"""What a study of the bridge shows: claims judged from its numbers, "not decided" where a 95 % interval allows both."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.bridge import summary as read
from experiments.bridge.summary import FAMILIES, Mean, Range, Summary, at, mean, told, told_range, told_share
from experiments.page import finite, number, percent, rows_of

HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"
STYLES = {HOLDS: "green", FAILS: "red", OPEN: "yellow"}

_ACCURACY, _VALID = 0.995, 0.95  # that reconstruction and samples of a bridge that works exceed
_LOW, _SLACK = 0.5, 0.1  # shares of H: a low rate, and how far above the bound D = H - R is still near it
_SMALL = 0.25  # share of the distance to the autoregressive model that a small inference gap may explain
_MARGIN = 0.02  # of two shares that count as equal
_NOISE = 0.1  # share by which two speeds must differ: they have no error


class Claim(NamedTuple):
    """What was asked, holds or not, and the numbers that say so."""

    claim: str
    verdict: str
    evidence: str


def claims(summary: Summary) -> list[dict[str, str]]:
    """Claims with "claim", "verdict" and "evidence", in the order of the page.

    Args:
        summary: bridge.json. What a claim needs may be missing: then it is not decided.
    """
    return [judge(summary)._asdict() for judge in _JUDGES]


def tell(summary: Summary, console: Console) -> None:
    """Print the models side by side, what the study claims and which jobs failed."""
    models = Table("model", title="Text models", title_justify="left")
    for name in ("parameters", "nats/held-out text", "perplexity", "valid", "novel", "generated tokens/s"):
        models.add_column(name, justify="right")
    for model in filter(None, (read.model(summary, name) for name in FAMILIES)):
        bound = "\u2264 " if model.get("kind") == "at most" else ""
        nats, perplexity = (bound + told(mean(model, name, "test")) for name in ("nats", "perplexity"))
        shares = [mean(model, "generation", name) for name in ("valid", "novel")]
        valid, novel = (percent(share and share.value) for share in shares)
        size, speed = number(finite(model.get("parameters")), 0), number(_speed(model), 0)
        models.add_row(*map(Text, (str(model["name"]), size, nats, perplexity, valid, novel, speed)))  # never markup
    judged = Table("claim", "verdict", "evidence", title="Claims", title_justify="left")
    for row in rows_of(summary.get("claims"), dict) or claims(summary):
        claim, verdict, evidence = (str(row.get(name) or "") for name in Claim._fields)
        judged.add_row(Text(claim), Text(verdict, STYLES.get(verdict, "")), Text(evidence))
    for table in (models, judged):
        if table.row_count:
            console.print(table)
    for job, why in read.failures(summary):
        console.print(Text(f"failed: {job}: {why}", "red"))


def _above(bounds: tuple[float, float], least: float) -> str:
    low, high = bounds
    return HOLDS if low > least else FAILS if high <= least else OPEN


def _difference(first: Mean, second: Mean, share: float = 1.0) -> Mean:
    """`first` less a share of `second`; as if independent, which for two models of the same texts is too careful."""
    error = math.hypot(first.error or 0.0, share * (second.error or 0.0))
    return Mean(first.value - share * second.value, error)


def _share_difference(first: Mean, second: Mean) -> tuple[float, float]:
    """95 % of the difference of two shares, Newcombe's of two Wilson intervals."""
    (low, high), (lower, higher) = first.share_bounds, second.share_bounds
    difference = first.value - second.value
    below, above = (first.value - low, higher - second.value), (high - first.value, second.value - lower)
    return difference - math.hypot(*below), difference + math.hypot(*above)


def _reconstruction(summary: Summary) -> Claim:
    claim = f"Reconstruction: more than {100 * _ACCURACY:g} % of held-out tokens come back from a sampled z"
    found = mean(summary, "reconstruction", "accuracy", "test")
    if found is None:
        return _unknown(claim)
    return Claim(claim, _above(found.share_bounds, _ACCURACY), f"{told_share(found)} of tokens")


def _samples(summary: Summary) -> Claim:
    claim = f"Samples: more than {100 * _VALID:g} % of texts from the prior are valid"
    found = mean(read.model(summary, "latent"), "generation", "valid")
    if found is None:
        return _unknown(claim)
    return Claim(claim, _above(found.share_bounds, _VALID), f"{told_share(found)} of samples")


def _rate_distortion(summary: Summary) -> Claim:
    """Judged on each curve at R = H/2, between its points: what lies on a chord can be had, by sharing time."""
    most = 1.0 - _LOW + _SLACK
    claim = f"Curve 1: information of half of H leaves a distortion of at most {100 * most:.0f} % of H"
    entropy = read.entropy_per_token(summary, read.split_of_rates(summary)) or math.nan
    found = []  # no rate is between others and nan
    for width, points in read.by_latent(summary):
        distortions = [distortion / entropy for _, distortion, _ in points]
        lower, upper = zip(*(information.ends for _, _, information in points), strict=True)
        at_half = [_between(rates, distortions, _LOW * entropy) for rates in (lower, upper)]
        known = [distortion for distortion in at_half if distortion is not None]
        if len(known) == 2:
            found.append((max(known), min(known), width))
    if not found:
        missing = "H is not known" if math.isnan(entropy) else "no curve has points on both sides of so low a rate"
        return Claim(claim, OPEN, missing)
    worst, best, width = min(found)
    verdict = HOLDS if worst <= most else FAILS if min(low for _, low, _ in found) > most else OPEN
    said = f"{100 * best:.0f}" if worst - best < 0.005 else f"{100 * best:.0f} to {100 * worst:.0f}"
    return Claim(
        claim, verdict, f"{said} % of H with d = {width}; the bound D = H \u2212 R asks for {100 - 100 * _LOW:g} %"
    )


def _between(x: Sequence[float], y: Sequence[float], middle: float) -> float | None:
    """y on the line between points, at an x between them; None at any other."""
    order = np.argsort(x)
    inside = x[order[0]] <= middle <= x[order[-1]]
    return float(np.interp(middle, np.array(x)[order], np.array(y)[order])) if inside else None


def _training(summary: Summary) -> Claim:
    claim = "Curve 2: KL(qbar || p) falls with training, at every size"
    courses = [(width, points[0][1], points[-1][1]) for width, points in read.priors(summary) if len(points) > 1]
    verdicts = {_falls(first, last) for _, first, last in courses}
    verdict = FAILS if FAILS in verdicts else HOLDS if verdicts == {HOLDS} else OPEN
    said = (f"width {width}: {told_range(first)} \u2192 {told_range(last)}" for width, first, last in courses)
    return Claim(claim, verdict, "; ".join(said) + " nats a text") if courses else _unknown(claim)


def _growth(summary: Summary) -> Claim:
    claim = "Curve 2: KL(qbar || p) falls with the size of the prior"
    ends = [(width, points[-1][1]) for width, points in read.priors(summary)]
    if len(ends) < 2:
        return _unknown(claim)
    said = ", ".join(f"{told_range(last)} (width {width})" for width, last in ends)
    return Claim(claim, _falls(ends[0][1], ends[-1][1]), f"{said} nats a text at the end of training")


def _falls(first: Range, last: Range) -> str:
    """Lower bound against lower, upper against upper: how loose a bound is depends on q(z|x), which stays the same."""
    gains = [_difference(a, b).bounds for a, b in zip(first, last, strict=True)]
    verdicts = {_above(gain, 0.0) for gain in gains}
    return verdicts.pop() if len(verdicts) == 1 else OPEN


def _inference(summary: Summary) -> Claim:
    claim = f"Curve 3: the inference gap is at most {100 * _SMALL:g} % of the distance to the autoregressive model"
    gap, theirs = mean(summary, "curves", "gap", "total"), mean(read.model(summary, "autoregressive"), "nats", "test")
    elbo = mean(summary, "split", "test", "elbo")
    if gap is None or theirs is None or elbo is None:
        return _unknown(claim)
    distance = _difference(Mean(-elbo.value, elbo.error), theirs)
    said = f"gap {told(gap)} nats a text as far as {number(finite(at(summary, 'curves', 'gap', 'k')), 0)} draws tell"
    said += f", distance {told(distance)}"
    if distance.bounds[0] <= 0.0:
        return Claim(claim, OPEN, f"{said}: none to compare with")
    _, most = _difference(Mean(_SMALL * distance.value, _SMALL * (distance.error or 0.0)), gap).bounds
    verdict = _above((-math.inf, most), 0.0)  # with more draws the gap may come out larger
    return Claim(claim, verdict, f"{said}: {100 * gap.value / distance.value:.0f} %")


def _likelihood(summary: Summary) -> Claim:
    """A bound is judged less what the inference gap is known to be at least: so much nearer the likelihood lies."""
    claim = "Likelihood: latent text needs no more nats a held-out text than the autoregressive model"
    ours, theirs = (mean(read.model(summary, name), "nats", "test") for name in FAMILIES[:2])
    if ours is None or theirs is None:
        return _unknown(claim)
    gap = mean(summary, "curves", "gap", "total") if read.model(summary, "latent").get("kind") == "at most" else None
    nearer = _difference(ours, gap) if gap else ours
    said = f"at most {told(ours)}, less the inference gap {told(nearer)}," if gap else told(ours)
    least, most = _difference(theirs, nearer).bounds
    verdict = _above((least, math.inf if gap else most), 0.0)  # it may need fewer nats than a bound tells
    return Claim(claim, verdict, f"{said} against {told(theirs)}")


def _distance(summary: Summary) -> Claim:
    claim = "Scaling: latent text comes nearer to the autoregressive model as both grow"
    ours, theirs = ([nats for _, nats, _ in read.sizes(summary, name) if nats] for name in FAMILIES[:2])
    if min(len(ours), len(theirs)) < 2:
        return _unknown(claim)
    first, last = (_difference(ours[i], theirs[i]) for i in (0, -1))
    said = f"nats a token more, smallest to largest: {told(first, 3)} \u2192 {told(last, 3)}"
    return Claim(claim, _above(_difference(first, last).bounds, 0.0), said)


def _validity(summary: Summary) -> Claim:
    claim = "Samples: those of latent text are valid as often as the autoregressive model's"
    ours, theirs = (mean(read.model(summary, name), "generation", "valid") for name in FAMILIES[:2])
    return _as_often(claim, ours, theirs)


def _generation(summary: Summary) -> Claim:
    claim = "Speed: latent text generates more tokens a second than the autoregressive model"
    ours, theirs = (_speed(read.model(summary, name)) for name in FAMILIES[:2])
    if not ours or not theirs:
        return _unknown(claim)
    ratio = ours / theirs
    verdict = OPEN if abs(math.log(ratio)) < math.log(1.0 + _NOISE) else HOLDS if ratio > 1.0 else FAILS
    return Claim(claim, verdict, f"{number(ours, 0)} against {number(theirs, 0)} tokens a second, {ratio:.2g} times")


def _speaking(summary: Summary) -> Claim:
    claim = "Speaking: in describe the text head p(x|z) succeeds as often as the autoregressive head"
    return _as_often(claim, _success(summary, "latent"), _success(summary, "autoregressive"))


def _joint(summary: Summary) -> Claim:
    claim = "Speaking: in describe the text head p(x|z) succeeds more often than independent words"
    ours, theirs = _success(summary, "latent"), _success(summary, "words")
    if ours is None or theirs is None:
        return _unknown(claim)
    verdict = _above(_share_difference(ours, theirs), 0.0)
    return Claim(claim, verdict, f"{told_share(ours)} against {told_share(theirs)}")


def _as_often(claim: str, ours: Mean | None, theirs: Mean | None) -> Claim:
    if ours is None or theirs is None:
        return _unknown(claim)
    said = f"{told_share(ours)} against {told_share(theirs)}; within {100 * _MARGIN:g} points counts as equal"
    return Claim(claim, _above(_share_difference(ours, theirs), -_MARGIN), said)


def _unknown(claim: str) -> Claim:
    return Claim(claim, OPEN, "not measured")


def _speed(model: Summary) -> float | None:
    speed = mean(model, "tokens_per_second", "generation")
    return speed.value if speed and speed.value > 0.0 else None


def _success(summary: Summary, head: str) -> Mean | None:
    heads = (row for row in rows_of(summary.get("speaker"), dict) if row.get("head") == head)
    return mean(next(heads, None), "success")


_JUDGES: tuple[Callable[[Summary], Claim], ...] = (
    *(_reconstruction, _samples, _rate_distortion, _training, _growth, _inference),
    *(_likelihood, _distance, _validity, _generation, _speaking, _joint),
)
