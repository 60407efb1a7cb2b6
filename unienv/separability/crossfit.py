"""The estimate by networks: cross-fitted over folds of whole episodes, and tested by a parametric bootstrap."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from unienv.separability.calibrate import calibrate
from unienv.separability.features import describe
from unienv.separability.folds import Split, split_cells
from unienv.separability.neural import Heads, Nested, Sizes
from unienv.separability.result import Estimate, clustered_error, conclude, entropy_of, sizes_of, warn_of_information
from unienv.separability.transitions import Transitions

_THREADS = 4  # fits at a time
_SETS = 33  # replicates at a time, for memory


def by_net(
    transitions: Transitions, folds: int, seeds: int, replicates: int, calibrated: bool, sizes: Sizes, seed: int
) -> Estimate:
    """Fit, test, vary the width and calibrate; see `unienv.separability.estimate`."""
    generator = np.random.default_rng(seed)
    y, outcomes = transitions.feedback, len(transitions.names)
    tables = tuple(
        describe(seen.items, np.bincount(seen.which, minlength=len(seen.items)) / len(y), generator)
        for seen in transitions.observation.values()
    )
    split = split_cells(transitions, tables, folds, generator)
    count = split.counts(y, outcomes)
    widths = sorted({max(1, sizes.width // 4), 4 * sizes.width} - {sizes.width})
    chance = generator.spawn(1)[0]
    with ThreadPoolExecutor(_THREADS) as pool:  # fits need nothing of each other, and torch works outside the lock
        fits = [pool.submit(split.fit, count, net, sizes, seed) for net in range(seeds)]
        smaller = pool.submit(split.fit, count, 0, sizes, seed, half=True)
        others = [pool.submit(split.fit, count, 0, replace(sizes, width=w), seed, joint=False) for w in widths]
        calibration = (
            calibrate(transitions, tables, folds, sizes, chance, seed, pool) if calibrated and np.ptp(y) else ()
        )
        nets, half = [fit.result() for fit in fits], smaller.result()
        separable = {width: fit.result().separable for width, fit in zip(widths, others, strict=True)}
    losses = {w: -split.held_out([law], y) for w, law in (separable | {sizes.width: nets[0].separable}).items()}
    gains = split.gains(nets, y)
    limit = gains + split.gains(nets[:1], y) - split.gains([half], y)
    joint, one, less = (split.held_out(laws, y) for laws in ([n.joint for n in nets], [nets[0].joint], [half.joint]))
    statistic, null = _bootstrap(split, nets[0], y, outcomes, replicates, generator)
    entropy = entropy_of(y)
    information = float((joint + one - less).mean()) + entropy
    warnings = [
        *_warn_of_width(losses[sizes.width] - losses[max(losses)], transitions.episode, float(limit.mean())),
        *warn_of_information(information, entropy),
        *_warn_of_calibration(calibration),
    ]
    return conclude(
        method="net",
        value=float(limit.mean()),
        gain=float(gains.mean()),
        error=clustered_error(limit, transitions.episode),
        statistic=statistic,
        null=null,
        information=information,
        **sizes_of(transitions),
        folds=folds,
        net_seeds=seeds,
        ladder=tuple((w, float(losses[w].mean()), float((losses[w] + joint).mean())) for w in sorted(losses)),
        calibration=calibration,
        warnings=tuple(warnings),
    )


def _bootstrap(
    split: Split, nets: Nested, y: np.ndarray, outcomes: int, replicates: int, generator: np.random.Generator
) -> tuple[float, list[float]]:
    """The statistic of refitted heads, and its values on feedback drawn from the fitted separable law."""
    n, action = len(y), split.cells.action
    heads = [Heads(nets.hidden[k], nets.products[k], action) for k in range(split.folds)]  # of the first seed

    def statistic(feedback: np.ndarray, steps: int = 4) -> tuple[np.ndarray, np.ndarray]:
        """Held-out gain (B,) of feedback (n, B), and the separable law (C, Y) on average over folds."""
        shape = (split.folds, len(action), outcomes)
        places = [np.ravel_multi_index((split.fold, split.cell, column), shape) for column in feedback.T]
        counts = np.stack([np.bincount(place, minlength=math.prod(shape)) for place in places], axis=-1)
        counts = counts.reshape(*shape, -1).astype(np.float32)
        whole, gain, mean = counts.sum(axis=0), np.zeros(feedback.shape[1]), 0
        for k, head in enumerate(heads):
            separable, joint = head.fit(whole - counts[k], steps)
            gain += ((joint - separable) * counts[k]).sum(axis=(0, 1), dtype=np.float64) / n
            mean = mean + separable[:, :, 0] / len(heads)
        return gain, np.asarray(mean)

    _, law = statistic(y[:, None], steps=10)  # where all others start, the recorded feedback once more among them
    found, _ = statistic(y[:, None])
    q = np.exp(law.astype(np.float64))
    bounds = (q / q.sum(axis=1, keepdims=True)).cumsum(axis=1)[:, :-1]
    null: list[float] = []
    while len(null) < replicates:
        sets = min(_SETS, replicates - len(null))
        coins = generator.random((n, sets))
        null += statistic((coins[..., None] > bounds[split.cell, None]).sum(axis=2))[0].tolist()
    return float(found[0]), null


def _warn_of_width(gain: np.ndarray, episode: np.ndarray, value: float) -> tuple[str, ...]:
    """Whether the widest separable net does noticeably better: what it gains may be all that a joint net gains."""
    mean = float(gain.mean())
    if mean > max(2 * clustered_error(gain, episode), 0.1 * value, 5e-4):
        return (f"the separable net is still {mean:.4f} nats better when wider; the estimate may be a false positive",)
    return ()


def _warn_of_calibration(calibration: tuple[tuple[float, float], ...]) -> tuple[str, ...]:
    """Where synthetic feedback of known value was missed."""
    return tuple(
        f"calibration: nets made {found:.3f} of a true {true:.3f} nats; mind the estimate likewise"
        for true, found in calibration
        if abs(found - true) > max(0.2 * true, 0.01)
    )
