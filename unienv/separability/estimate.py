"""How far recorded feedback is from a sum of per-modality scores: estimates with a test, by tables or by networks.

NS_fb = least E KL(p || q) over q(y|x) proportional to exp sum_m f_m(o^m, a, y), in nats: every expert sees its modality
and the action. An interval around an estimate is no test of it being positive, for both methods are biased near zero.
The test is a parametric bootstrap: feedback is drawn from the separable law that was fitted, and the fits repeated.
"""

import numpy as np

from unienv.separability.crossfit import by_net
from unienv.separability.folds import PARTS, check_actions, number_cells
from unienv.separability.neural import Sizes
from unienv.separability.plugin import SAMPLED, by_table
from unienv.separability.result import Estimate
from unienv.separability.transitions import Transitions


def estimate(
    transitions: Transitions,
    method: str = "auto",
    folds: int = 5,
    net_seeds: int = 3,
    replicates: int | None = None,
    calibrate: bool = True,
    sizes: Sizes | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate non-separability, and test whether there is any.

    Nets are cross-fitted over folds of whole episodes. A part of the other folds decides when they stop. Log
    probabilities are averaged over seeds, which stays within the separable class. Replicates of the test keep the
    hidden layers that were learned from the recorded feedback and refit the heads, as does the statistic they are
    compared with; hidden layers that have fitted noise lower the statistic and not its replicates, so that the test
    errs on the side of "not detected".

    Args:
        transitions: two modalities or more, as for one there is nothing to detect.
        method: "table" for few distinct observations, "net" for pixels; "auto" takes the table where there are 20 or
            more transitions for each combination of observation and action that occurs.
        folds: K >= 2 of nets.
        net_seeds: nets a fold.
        replicates: B of the test, at least 19; None for 99, for large tables 39.
        calibrate: whether to run nets on feedback of known non-separability as well.
        sizes: of nets and their training; None for the defaults.
        seed: equal seeds give equal numbers.

    Raises:
        ValueError: one line, for bad arguments, too few episodes for an error or the folds, or more than 256 different
            actions.
    """
    if method not in ("auto", "table", "net"):
        raise ValueError(f"method must be 'auto', 'table' or 'net', got {method!r}")
    if len(transitions.modalities) < 2:
        raise ValueError(f"non-separability needs at least two modalities, got {', '.join(transitions.modalities)}")
    if replicates is not None and replicates < 19:
        raise ValueError(f"replicates must be at least 19 to test at the level of 0.05, got {replicates}")
    if folds < 2 or net_seeds < 1:
        raise ValueError(f"expected folds >= 2 and net_seeds >= 1, got folds={folds}, net_seeds={net_seeds}")
    if method == "table" or (method == "auto" and len(transitions) >= SAMPLED * len(number_cells(transitions)[0])):
        return by_table(transitions, replicates, np.random.default_rng(seed))
    check_actions(transitions)
    episodes = len(np.unique(transitions.episode))
    if episodes < folds * PARTS:
        raise ValueError(f"nets with {folds} folds need at least {folds * PARTS} episodes, got {episodes}")
    return by_net(transitions, folds, net_seeds, replicates or 99, calibrate, sizes or Sizes(), seed)
