"""What an estimate of non-separability from samples says."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from unienv.separability.transitions import Transitions

CONDITIONING = "the present observation of every modality and the action; no history"
LEVEL = 0.05
RESOLUTION = 1e-3  # nats that nets must gain, and by which they must beat replicates: no net is trained to the end
_TIE = 1e-12  # nats, rounding
_LITTLE = 0.1  # share of the feedback's entropy below which nets have hardly learned anything that could be tested
_HARDLY = 2e-3  # nats of information that are not worth sharing out


@dataclass(frozen=True)
class Estimate:
    """Non-separability of feedback, estimated from transitions. In nats.

    Fields:
        nonseparability: estimate; can be negative. Table: plug-in less its bias df / 2n. Net: `gain`, and once more
            what of it came with the second half of the training data, as errors of fit go about as 1 / n.
        gain: Table: plug-in. Net: held-out log-likelihood a transition that joint nets gain over separable ones.
        standard_error, interval: of sampling alone, clustered by episode; 95 %, Student's. They know nothing of nets
            that learn too little, and are no test.
        statistic, null, p_value: what was tested, its values on data from the fitted separable law, and the share of
            them that reach it, (1 + #) / (1 + B). Nets must exceed a replicate by `RESOLUTION`; where `gain` is less
            than that, nothing that nets can tell was gained, and p_value is 1.
        detected: p_value is at most 0.05.
        information: estimate of I(X;Y), X the observation and the action. Table: plug-in less its bias df / 2n. Net:
            entropy of feedback less held-out loss of the joint net, too low by what that net fails to learn.
        share: nonseparability / information, held to [0, 1]; None (n/a) where there is hardly information.
        method: "table", "net" or "psi" (nets of `encoders.probe`). conditioning: what X is. modalities: their names.
        n, episodes, folds, net_seeds: sizes; the last two are 0 for tables.
        df: parameters of the saturated less those of the separable law on the observed support; None for nets.
        ladder: (width, held-out loss of separable nets of one seed, estimate with them), ascending; empty for tables.
        calibration: (true, estimated) for synthetic feedback of known value on the recorded values, paired at random,
            since only then is the truth known; one net seed. Empty for tables.
        warnings: what to mind, one sentence each.
    """

    nonseparability: float
    gain: float
    standard_error: float
    interval: tuple[float, float]
    statistic: float
    p_value: float
    detected: bool
    information: float
    share: float | None
    method: str
    conditioning: str
    modalities: tuple[str, ...]
    n: int
    episodes: int
    folds: int
    net_seeds: int
    df: int | None
    null: tuple[float, ...]
    ladder: tuple[tuple[int, float, float], ...]
    calibration: tuple[tuple[float, float], ...]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        if not self.detected:
            return f"non-separability not detected (estimate {self.nonseparability:.4f} nats, p = {self.p_value:.2f})"
        share = "n/a" if self.share is None else f"{self.share:.0%}"
        low, high = self.interval
        return (
            f"non-separability {self.nonseparability:.4f} nats [{low:.4f}, {high:.4f}], {share} of "
            f"I(X;Y) = {self.information:.4f} nats, p = {self.p_value:.2f}"
        )


def conclude(
    method: str,
    value: float,
    gain: float,
    error: float,
    statistic: float,
    null: list[float],
    information: float,
    **rest: Any,
) -> Estimate:
    """An estimate from its parts: interval, p-value and share are worked out here, alike for all methods."""
    least = _TIE if method == "table" else RESOLUTION
    p = (1 + sum(bool(drawn >= statistic - least) or gain < least for drawn in null)) / (1 + len(null))
    share = min(1.0, max(0.0, value / information)) if information > _HARDLY else None
    half = float(stdtrit(rest["episodes"] - 1, 0.975)) * error
    fields = {"folds": 0, "net_seeds": 0, "df": None, "ladder": (), "calibration": (), **rest}
    return Estimate(
        nonseparability=value,
        gain=gain,
        standard_error=error,
        interval=(value - half, value + half),
        statistic=statistic,
        p_value=p,
        detected=p <= LEVEL,
        information=information,
        share=share,
        method=method,
        conditioning=CONDITIONING,
        null=tuple(null),
        **fields,
    )


def sizes_of(transitions: Transitions) -> dict[str, Any]:
    """Fields of an estimate that say what it was made from."""
    episodes = len(np.unique(transitions.episode))
    return {"modalities": transitions.modalities, "n": len(transitions), "episodes": episodes}


def clustered_error(values: np.ndarray, cluster: np.ndarray) -> float:
    """Standard error of a mean over rows of which those of one cluster depend on each other."""
    code = np.unique(cluster, return_inverse=True)[1]
    sums = np.bincount(code, values - values.mean())
    return error_of_sums(float((sums**2).sum()), len(sums), len(values))


def error_of_sums(squares: float, groups: int, n: int) -> float:
    """The same from the sum of squares over groups, two or more, of what their rows together are above the mean."""
    return math.sqrt(squares * groups / (groups - 1)) / n


def entropy_of(feedback: np.ndarray) -> float:
    """H(Y) in nats of codes (n,)."""
    p = np.bincount(feedback) / len(feedback)
    return -float(p[p > 0] @ np.log(p[p > 0]))


def warn_of_information(information: float, entropy: float) -> tuple[str, ...]:
    """Whether nets have learned next to nothing of feedback that varies, or more than there is."""
    if entropy == 0:
        return ("feedback never varied: nothing can be tested",)
    if information > (1 + _LITTLE) * entropy:
        return (
            f"the nets account for {information:.4f} nats where feedback has {entropy:.4f}: sizes are extrapolated too "
            "far; more transitions would help",
        )
    if information < _LITTLE * entropy:
        return (
            f"the joint net accounts for {max(0.0, information):.4f} of {entropy:.4f} nats of feedback: what it does "
            "not see can't be tested; more samples, a policy that draws more feedback, or nets that learn to see "
            "(encoders.probe, method=psi in a study) would help",
        )
    return ()
