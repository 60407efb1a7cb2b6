"""J(theta; E) = E sum_t gamma^(t-1) l_t, Eq. (2), estimated from whole episodes with confidence intervals."""

from dataclasses import dataclass

import numpy as np
from gymnasium.vector import VectorEnv
from scipy import stats

from agents.policies import Policy

LONGEST = 20_000  # steps of an episode that an evaluation waits for


@dataclass
class Objective:
    """An estimate from independent episodes; intervals are at the 95 % level.

    Fields:
        J: mean discounted return, with Student's t interval J_low..J_high over episodes.
        success: share of episodes that ended in success, with Wilson's interval success_low..success_high.
        length: mean length in steps.
        episodes: how many; gamma: the discount.
    """

    J: float
    J_low: float
    J_high: float
    success: float
    success_low: float
    success_high: float
    length: float
    episodes: int
    gamma: float


def objective(envs: VectorEnv, policy: Policy, gamma: float, episodes: int, seed: int) -> Objective:
    """Measure a policy on fresh episodes.

    Every slot contributes the same number of whole episodes, its first ones, so that short episodes do not weigh more.

    Args:
        envs: N worlds in SAME_STEP mode on numpy; reset here.
        policy: who acts; its memory must be that of N worlds.
        gamma: discount in [0, 1].
        episodes: at least this many, rounded up to a multiple of N.
        seed: of the worlds; world i gets seed + i.

    Raises:
        ValueError: one line, for other arguments, or an episode that does not end.
    """
    if not 0.0 <= gamma <= 1.0 or episodes < 2:
        raise ValueError(f"expected gamma in [0, 1] and at least 2 episodes, got gamma={gamma}, episodes={episodes}")
    num_worlds = envs.num_envs
    quota = -(-episodes // num_worlds)
    finished = np.zeros(num_worlds, np.int64)
    discount, total, steps = np.ones(num_worlds), np.zeros(num_worlds), np.zeros(num_worlds, np.int64)
    returns: list[float] = []
    successes: list[bool] = []
    lengths: list[int] = []
    observation, _ = envs.reset(seed=seed)
    start = np.ones(num_worlds, bool)
    while finished.min() < quota:
        check_end(int(steps.max()))
        observation, signal, terminated, truncated, info = envs.step(policy.act(observation, start))
        total += discount * signal
        discount *= gamma
        steps += 1
        start = np.asarray(terminated | truncated)
        counted = np.flatnonzero(start & (finished < quota))
        if len(counted):
            returns += total[counted].tolist()
            lengths += steps[counted].tolist()
            successes += np.asarray(info["final_info"]["success"])[counted].tolist()
        finished += start
        total[start], discount[start], steps[start] = 0.0, 1.0, 0
    return _estimate(np.array(returns), np.array(successes), np.array(lengths), gamma)


def check_end(steps: int) -> None:
    """ValueError once an episode of an evaluation has gone on for `LONGEST` steps."""
    if steps >= LONGEST:
        raise ValueError(
            f"an episode of the evaluation has not ended after {steps:,} steps; give the environment a limit, such as "
            "env.max_episode_steps=1000"
        )


def _estimate(returns: np.ndarray, successes: np.ndarray, lengths: np.ndarray, gamma: float) -> Objective:
    count = len(returns)
    mean, error = returns.mean(), returns.std(ddof=1) / np.sqrt(count)
    reach = stats.t.ppf(0.975, count - 1) * error
    wilson = stats.binomtest(int(successes.sum()), count).proportion_ci(method="wilson")
    return Objective(
        J=float(mean),
        J_low=float(mean - reach),
        J_high=float(mean + reach),
        success=float(successes.mean()),
        success_low=float(wilson.low),
        success_high=float(wilson.high),
        length=float(lengths.mean()),
        episodes=count,
        gamma=gamma,
    )
