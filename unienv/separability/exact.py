"""exact: the non-separability of a world, by enumeration.

A world's feedback is a sequence; policy terms cancel in its divergence from a separable world, and what is left is a
sum over steps (the chain rule). So each step is measured apart, under the law of what the agent remembers at that step,
and steps are added up, weighted by the probability that the episode is still going on. Trajectories as wholes are never
compared: their correlation mixes what the world couples with what the policy couples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unienv.separability.enumeration import LIMIT, Kernel, enumerate_world
from unienv.separability.tables import (
    FeedbackNonseparability,
    OutputNonseparability,
    feedback_nonseparability_of_cells,
    output_nonseparability_of_cells,
)
from unienv.world import World


@dataclass(frozen=True)
class Step:
    """One step of an episode, in nats, given that the episode has not ended before.

    Fields:
        alive: probability of that.
        feedback: of xi, all its parts together.
        signal: of l = G(w, o, a, xi).
        output: of the next observation of each modality, as a factored output.
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
        horizon: steps to sum over; None for the world's own, or until every episode has ended.
        limit: most rows of a step.

    Raises:
        NotEnumerable: too large, or draws that can't be counted.
        ValueError: a `rho` that is no law over the actions, a history below 1.
    """
    if history < 1:
        raise ValueError(f"history counts the present observation, so it is at least 1; got {history}")
    if isinstance(world, World):
        horizon = horizon or world.horizon
        world = enumerate_world(world, horizon, limit)
    law = check_law(rho, world.num_actions)
    steps = tuple(_measure(cells) for cells in walk(world, law, history, horizon, limit))
    return Exact(
        modalities=world.modalities,
        rho="uniform actions" if rho is None else f"actions drawn with {np.round(law, 4).tolist()}",
        conditioning="the present observation and the action"
        if history == 1
        else f"the last {history} observations and the actions between them",
        states=len(world.initial),
        steps=steps,
    )


@dataclass(frozen=True)
class Cells:
    """The law of one step as a list of R rows: what is remembered, done, and comes of it.

    Fields:
        alive: probability that the episode is going on; masses below are conditional on it.
        codes: (R, M) int, what expert m remembers of its modality.
        action: (R,) int, the present action together with the remembered ones.
        taken: (R,) int, the present action.
        feedback, signal: (R,) int, codes of xi and of l.
        value: (R,) float64, l itself.
        output: (R, M) int, codes of the next observation.
        mass: (R,), sums to 1.
    """

    alive: float
    codes: np.ndarray
    action: np.ndarray
    taken: np.ndarray
    feedback: np.ndarray
    signal: np.ndarray
    value: np.ndarray
    output: np.ndarray
    mass: np.ndarray


def walk(kernel: Kernel, law: np.ndarray, history: int, horizon: int | None, limit: int):
    """The cells of each step, from the first until the horizon or until nothing is alive."""
    order = np.argsort(kernel.source, kind="stable")
    first = np.searchsorted(kernel.source[order], np.arange(len(kernel.initial) + 1))
    levels, signal = np.unique(kernel.signal, return_inverse=True)
    state = np.flatnonzero((kernel.initial > 0) & ~kernel.terminal)
    weight = kernel.initial[state]
    memory = np.repeat(kernel.codes[state][:, :, None], 1, axis=2)  # (R, M, remembered observations)
    actions = np.zeros((len(state), 0), np.int64)
    t = 0
    while len(state) and (horizon is None or t < horizon):
        t += 1
        counts = first[state + 1] - first[state]
        row = np.repeat(np.arange(len(state)), counts)
        offset = np.arange(len(row)) - np.repeat(counts.cumsum() - counts, counts)
        edge = order[first[state[row]] + offset]
        if len(edge) > limit:
            raise ValueError(f"step {t} has {len(edge):,} rows, more than {limit:,}; take a shorter history or horizon")
        mass = weight[row] * law[kernel.action[edge]] * kernel.probability[edge]
        alive = float(mass.sum())
        target, taken = kernel.target[edge], kernel.action[edge]
        done = np.concatenate([actions[row], taken[:, None]], axis=1)
        yield Cells(
            alive=alive,
            codes=np.stack([_number(memory[row, m]) for m in range(memory.shape[1])], axis=1),
            action=_number(done),
            taken=taken,
            feedback=kernel.feedback[edge],
            signal=signal[edge],
            value=levels[signal[edge]],
            output=kernel.codes[target],
            mass=mass / alive,
        )
        on = ~kernel.terminal[target] & (mass > 0)
        remembered = np.concatenate([memory[row[on]], kernel.codes[target[on]][:, :, None]], axis=2)[:, :, -history:]
        kept = done[on][:, done.shape[1] - (remembered.shape[2] - 1) :]
        columns = np.concatenate([target[on][:, None], *remembered.transpose(1, 0, 2), kept], axis=1)
        number = _number(columns)
        state_first = np.unique(number, return_index=True)[1]
        weight = np.bincount(number, mass[on])
        state, memory, actions = target[on][state_first], remembered[state_first], kept[state_first]


def check_law(rho: np.ndarray | None, num_actions: int) -> np.ndarray:
    """Probabilities (K,) of the actions; ValueError when they are none."""
    if rho is None:
        return np.full(num_actions, 1.0 / num_actions)
    law = np.asarray(rho, np.float64)
    if law.shape != (num_actions,) or (law < 0).any() or abs(law.sum() - 1.0) > 1e-9:
        raise ValueError(f"rho must be {num_actions} probabilities that sum to 1, got {np.asarray(rho).tolist()}")
    return law


def _measure(cells: Cells) -> Step:
    codes, action = cells.codes, cells.action
    return Step(
        alive=cells.alive,
        feedback=_of_shared(cells, cells.feedback),
        signal=_of_shared(cells, cells.signal),
        output=output_nonseparability_of_cells(codes, action, cells.output, cells.mass),
    )


def _of_shared(cells: Cells, outcome: np.ndarray) -> FeedbackNonseparability:
    cell = _number(np.concatenate([cells.codes, cells.action[:, None]], axis=1))
    first = np.unique(cell, return_index=True)[1]
    joint = np.zeros((len(first), int(outcome.max()) + 1))
    np.add.at(joint, (cell, outcome), cells.mass)
    return feedback_nonseparability_of_cells(cells.codes[first], cells.action[first], joint)


def _number(rows: np.ndarray) -> np.ndarray:
    """(R,) int: equal rows of an int array (R, n) get equal numbers from 0."""
    total = np.zeros(len(rows), np.int64)
    for column in rows.T:
        distinct, code = np.unique(column, return_inverse=True)
        total = np.unique(total * len(distinct) + code, return_inverse=True)[1]
    return total
