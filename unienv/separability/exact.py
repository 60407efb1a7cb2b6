"""exact: the non-separability of a world, by enumeration.

A world's feedback is a sequence; policy terms cancel in its divergence from a separable world, and what is left is a
sum over steps (the chain rule). So each step is measured apart, under the law of what the agent remembers at that step,
and steps are added up, weighted by the probability that the episode is still going on. Trajectories as wholes are never
compared: their correlation mixes what the world couples with what the policy couples. Experts so have scores of each
step; who does not know the step, as in `ladder`, can lose more than that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unienv.separability.codes import first_of, number_rows
from unienv.separability.draws import LIMIT
from unienv.separability.enumeration import Kernel, enumerate_world, within
from unienv.separability.feedback import FeedbackNonseparability, feedback_nonseparability_of_cells
from unienv.separability.outputs import OutputNonseparability, output_nonseparability_of_cells
from unienv.separability.walk import Cells, walk
from unienv.world import World


@dataclass(frozen=True)
class Step:
    """One step of an episode, in nats, given that the episode has not ended before.

    Fields:
        alive: probability of that.
        feedback: of xi, all its parts together.
        signal: of l = G(w, o, a, xi).
        output: of xi^m and the next observation of each modality, as a factored output, Eq. (10); a modality with an
            action part of its own is conditioned on that.
    """

    alive: float
    feedback: FeedbackNonseparability
    signal: FeedbackNonseparability
    output: OutputNonseparability


@dataclass(frozen=True)
class Exact:
    """Non-separability of a world.

    Fields:
        modalities: names, in the order of every tuple below.
        rho: law of the actions; starts are the world's own.
        conditioning: what the experts know.
        states: number of states enumerated.
        steps: each step.
    """

    modalities: tuple[str, ...]
    rho: str
    conditioning: str
    states: int
    steps: tuple[Step, ...]

    @property
    def length(self) -> float:
        """Expected number of steps, up to the horizon."""
        return sum(step.alive for step in self.steps)

    def total(self, part: str, quantity: str) -> float:
        """Nats an episode: `quantity` (a field) of `part` (feedback, signal or output), over all steps."""
        return float(sum(step.alive * getattr(getattr(step, part), quantity) for step in self.steps))


def exact(
    world: World | Kernel,
    rho: np.ndarray | None = None,
    history: int = 1,
    horizon: int | None = None,
    limit: int = LIMIT,
) -> Exact:
    """Measure a world under a declared reference law.

    Args:
        world: whose draws are finite, on the numpy backend; or its kernel.
        rho: probabilities (K,) of the actions, the same in every state; None for uniform.
        history: observations that every expert remembers, the present one included, with the actions between them. 1
            suffices where the observation shows the state; under partial observability a short memory can make
            feedback look less as well as more separable, so state it with the number.
        horizon: steps to sum over; None for the world's or kernel's own, or until every episode has ended.
        limit: most rows of a step.

    Raises:
        NotEnumerable: too large, or draws that can't be counted.
        ValueError: a `rho` that is no law over the actions, a history below 1, a horizon beyond the kernel's.
    """
    if history < 1:
        raise ValueError(f"history counts the present observation, so it is at least 1; got {history}")
    kernel = enumerate_world(world, horizon, limit) if isinstance(world, World) else world
    horizon = within(kernel, horizon)
    law = check_law(rho, kernel.num_actions)
    steps = tuple(_measure(cells) for cells in walk(kernel, law, history, horizon, limit))
    seen = "the present observation" if history == 1 else f"the last {history} observations, the actions between them"
    return Exact(
        modalities=kernel.modalities,
        rho="uniform actions" if rho is None else f"actions drawn with {np.round(law, 4).tolist()}",
        conditioning=f"{seen} and the action" + ", each step by itself" * (len(steps) > 1),
        states=len(kernel.initial),
        steps=steps,
    )


def check_law(rho: np.ndarray | None, num_actions: int) -> np.ndarray:
    """Probabilities (K,) of the actions; ValueError when they are none."""
    if rho is None:
        return np.full(num_actions, 1.0 / num_actions)
    law = np.asarray(rho, np.float64)
    if law.shape != (num_actions,) or not (law >= 0).all() or abs(law.sum() - 1.0) > 1e-9:
        raise ValueError(f"rho must be {num_actions} probabilities that sum to 1, got {np.asarray(rho).tolist()}")
    return law


def _measure(cells: Cells) -> Step:
    return Step(
        alive=cells.alive,
        feedback=_of_shared(cells, cells.feedback),
        signal=_of_shared(cells, cells.signal),
        output=output_nonseparability_of_cells(cells.codes, cells.own_action, cells.output, cells.mass),
    )


def _of_shared(cells: Cells, outcome: np.ndarray) -> FeedbackNonseparability:
    cell = number_rows(np.concatenate([cells.codes, cells.action[:, None]], axis=1))
    first, outcomes = first_of(cell), int(outcome.max()) + 1
    joint = np.bincount(cell * outcomes + outcome, cells.mass, len(first) * outcomes).reshape(len(first), outcomes)
    return feedback_nonseparability_of_cells(cells.codes[first], cells.action[first], joint)
