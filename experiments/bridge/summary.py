"""Reading bridge.json, of which any part may be missing: means with their errors, and the intervals around them."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from experiments.page import finite, number, rows_of

FAMILIES = ("latent", "autoregressive", "masked")
Z = 1.96  # standard errors on either side: 95 %
Summary = Mapping[str, Any]


class Mean(NamedTuple):
    """A measured mean; its standard error and n are None where they are not known."""

    value: float
    error: float | None = None
    n: float | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """95 %, by the normal law; the value itself twice without an error."""
        reach = Z * (self.error or 0.0)
        return self.value - reach, self.value + reach

    @property
    def share_bounds(self) -> tuple[float, float]:
        """95 % of a share in [0, 1], Wilson's; of as many draws as its error tells, for rows of one text are alike."""
        p = min(1.0, max(0.0, self.value))
        n = p * (1.0 - p) / self.error**2 if self.error and 0.0 < p < 1.0 else self.n
        if not n:
            return p, p
        centre, reach = p + Z**2 / (2 * n), Z * math.sqrt(p * (1.0 - p) / n + (Z / (2 * n)) ** 2)
        whole = 1.0 + Z**2 / n
        return max(0.0, (centre - reach) / whole), min(1.0, (centre + reach) / whole)


class Range(NamedTuple):
    """What a quantity is at least and at most."""

    lower: Mean
    upper: Mean

    @property
    def middle(self) -> float:
        """Between the two."""
        return 0.5 * (self.lower.value + self.upper.value)

    @property
    def ends(self) -> tuple[float, float]:
        """Both values, ascending: of samples, errors may have swapped them."""
        low, high = sorted((self.lower.value, self.upper.value))
        return low, high


def at(value: Any, *path: str) -> Any:
    """What lies inside objects at a path of names; None where there is nothing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def mean(value: Any, *path: str) -> Mean | None:
    """A mean at a path, of a number alone or {"value", "error", "n"}; None where there is none."""
    found = at(value, *path)
    if not isinstance(found, dict):
        known = finite(found)
        return None if known is None else Mean(known)
    known, error, n = (finite(found.get(name)) for name in Mean._fields)
    return None if known is None else Mean(known, error if error is None or error >= 0 else None, n)


def bounds(value: Any, *path: str) -> Range | None:
    """A range at a path, of {"lower", "upper"}; one of them stands for both where the other is missing."""
    found = at(value, *path)
    lower, upper = (mean(found, side) for side in Range._fields)
    low, high = lower or upper, upper or lower
    return None if low is None or high is None else Range(low, high)


def model(summary: Summary, name: str) -> Summary:
    """The first model of a name; empty without one."""
    return next((entry for entry in rows_of(summary.get("models"), dict) if entry.get("name") == name), {})


def entropy(summary: Summary, split: str = "test") -> float | None:
    """H of a split, in nats a text."""
    return finite(at(summary, "corpus", "entropy", split))


def entropy_per_token(summary: Summary, split: str = "test") -> float | None:
    """H of a split, in nats a token."""
    whole, tokens = entropy(summary, split), finite(at(summary, "corpus", "tokens_per_text", split))
    return None if whole is None or not tokens else whole / tokens


def split_of_rates(summary: Summary) -> str:
    """The split whose law curve 1 is of."""
    named = [row.get("split") for row in rows_of(at(summary, "curves", "rate_distortion"), dict)]
    return "train" if "train" in named else "test"


def by_latent(summary: Summary) -> Iterator[tuple[int, list[tuple[float, float, Range]]]]:
    """Curve 1 for each d, ascending: (KL weight, distortion, information) by ascending information."""
    found: dict[int, list[tuple[float, float, Range]]] = {}
    for row in rows_of(at(summary, "curves", "rate_distortion"), dict):
        width, kl, distortion = finite(row.get("latent")), finite(row.get("kl")), mean(row, "distortion")
        information = bounds(row, "information")
        if width is not None and distortion and information:
            found.setdefault(int(width), []).append((kl or 0.0, distortion.value, information))
    for width, points in sorted(found.items()):
        yield width, sorted(points, key=lambda point: point[2].middle)


def priors(summary: Summary) -> list[tuple[int, list[tuple[float, Range]]]]:
    """Curve 2 for each width, ascending: (FLOPs, matching) by ascending FLOPs."""
    found = []
    for row in rows_of(at(summary, "curves", "prior"), dict):
        pairs = [(finite(p.get("flops")), bounds(p, "matching")) for p in rows_of(row.get("points"), dict)]
        known = [(flops, matching) for flops, matching in pairs if flops is not None and matching]
        points = sorted(known, key=lambda point: point[0])
        width = finite(row.get("width"))
        if width is not None and points:
            found.append((int(width), points))
    return sorted(found, key=lambda size: size[0])


def courses(summary: Summary, family: str) -> list[list[tuple[float, Mean | None, Mean | None]]]:
    """Scaling of a family, a list for each size, ascending: (FLOPs, held-out nats a token, valid) along training."""
    found: dict[float, list[tuple[float, Mean | None, Mean | None]]] = {}
    for row in rows_of(summary.get("scaling"), dict):
        flops, size = finite(row.get("flops")), finite(row.get("parameters"))
        if row.get("family") == family and flops is not None and size is not None:
            found.setdefault(size, []).append((flops, mean(row, "nats"), mean(row, "valid")))
    return [sorted(points, key=lambda point: point[0]) for _, points in sorted(found.items())]


def sizes(summary: Summary, family: str) -> list[tuple[float, Mean | None, Mean | None]]:
    """The same at the end of training, a point for each size."""
    return [course[-1] for course in courses(summary, family)]


def failures(summary: Summary) -> list[tuple[str, str]]:
    """Jobs that failed, and why."""
    failed = summary.get("failed")
    return [(str(job), str(why)) for job, why in failed.items()] if isinstance(failed, dict) else []


def told(value: Mean | None, digits: int = 2) -> str:
    """A mean with its 95 % reach, "n/a" without one."""
    if value is None:
        return "n/a"
    return number(value.value, digits) + (f"\u00a0\u00b1\u00a0{number(Z * value.error, digits)}" if value.error else "")


def told_share(value: Mean | None) -> str:
    """A share with its 95 % interval, in percent."""
    if value is None:
        return "n/a"
    low, high = value.share_bounds
    text = f"{number(100 * value.value, 1)}\u00a0%"
    return text if low == high else f"{text} [{number(100 * low, 1)},\u00a0{number(100 * high, 1)}]"


def told_range(value: Range | None, digits: int = 2) -> str:
    """What something is between, one number where both ends are the same."""
    if value is None:
        return "n/a"
    low, high = (number(end, digits) for end in value.ends)
    return low if low == high else f"{low} to {high}"
