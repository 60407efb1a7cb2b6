"""Reading imagination.json, of which any part may be missing or damaged: whatever cannot be read is left out."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.ablation.statistics import Estimate
from experiments.ablation.summary import at, estimate
from experiments.page import finite, rows_of
from experiments.studies.reading import ZERO

Summary = Mapping[str, Any]
BASE, IMAGINE = "model-free", "imagine"  # the learners that the study is about
NAMES = {"signal": "signal", "end": "end", "text": "next text", "image": "next image"}  # of parts, for people


class Part(NamedTuple):
    """Nats a step that world models of both forms need for one part of what follows."""

    cell: str
    env: str
    key: str
    exact: float | None  # what any product form must lose
    joint: Estimate | None
    late: Estimate | None
    lost: Estimate | None  # late - joint, paired by seed
    seeds: int  # of it

    @property
    def name(self) -> str:
        """For people."""
        return NAMES.get(self.key, self.key)

    @property
    def told(self) -> str:
        """With its cell."""
        return f"{self.cell}, {self.name}"


class Placed(NamedTuple):
    """A part that has a place in the figure: what must be lost is exact, and what was lost is measured."""

    part: Part
    exact: float
    lost: Estimate

    @property
    def miss(self) -> float:
        """Nats between the two."""
        return abs(self.lost.value - self.exact)


class CellResult(NamedTuple):
    """A version of a world, and its parts."""

    name: str
    parameters: Mapping[str, Any]
    parts: Sequence[Part]


class Learner(NamedTuple):
    """Agents that learn in one way; scores are normalised returns, by seed."""

    name: str
    scores: Mapping[str, float]
    score: Estimate | None
    success: Estimate | None
    difference: Estimate | None  # to model-free, paired by seed
    p: float | None  # two-sided
    seconds: float | None
    commands: Mapping[str, str]


class World(NamedTuple):
    """The agents of a world, at equal environment steps."""

    env: str
    settings: Sequence[str]
    steps: float | None
    random: float | None  # J, 0 and 1 of the scores
    oracle: float | None
    learners: Sequence[Learner]


def cells(summary: Summary) -> list[CellResult]:
    """All cells that have a name and any figure, in the order of the file."""
    rows = [row for row in rows_of(summary.get("cells"), dict) if isinstance(row.get("name"), str)]
    found = [CellResult(row["name"], dict(_items(row.get("parameters"))), _parts(row)) for row in rows]
    return [cell for cell in found if cell.parts]


def placed(found: Sequence[CellResult]) -> list[Placed]:
    """Parts that have a place in the figure."""
    known = ((part, part.exact, part.lost) for cell in found for part in cell.parts)
    return [Placed(part, exact, lost) for part, exact, lost in known if exact is not None and lost]


def worlds(summary: Summary) -> list[World]:
    """All worlds with agents that came to their end, in the order of the file."""
    rows = [row for row in rows_of(summary.get("agents"), dict) if isinstance(row.get("env"), str)]
    found = [
        World(
            env=row["env"],
            settings=rows_of(row.get("settings"), str),
            steps=finite(row.get("steps")),
            random=finite(row.get("random")),
            oracle=finite(row.get("oracle")),
            learners=[_learner(name, value) for name, value in _items(row.get("learners"))],
        )
        for row in rows
    ]
    return [world for world in found if any(learner.score for learner in world.learners)]


def _parts(row: Summary) -> list[Part]:
    env = row["env"] if isinstance(row.get("env"), str) else row["name"]
    found = []
    for key, value in _items(row.get("parts")):
        joint, late, lost = (estimate(at(value, name)) for name in ("joint", "late", "lost"))
        exact = finite(at(value, "exact"))
        exact = 0.0 if exact is not None and abs(exact) <= ZERO else exact
        if joint or late or lost:
            seeds = int(finite(at(value, "lost", "n")) or 0)
            found.append(Part(row["name"], env, key, exact, joint, late, lost, seeds))
    return found


def _learner(name: str, value: Any) -> Learner:
    scores = {seed: known for seed, score in _items(at(value, "scores")) if (known := finite(score)) is not None}
    score, success, difference = (estimate(at(value, key)) for key in ("score", "success", "difference"))
    p, seconds = (finite(at(value, key)) for key in ("p", "seconds"))
    commands = {seed: command for seed, command in _items(at(value, "commands")) if isinstance(command, str)}
    return Learner(name, scores, score, success, difference, p, seconds, commands)


def _items(value: Any) -> list[tuple[str, Any]]:
    return [(str(name), entry) for name, entry in value.items()] if isinstance(value, dict) else []
