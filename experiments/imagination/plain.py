"""imagination.md, the study as text."""

from collections.abc import Sequence

from experiments.ablation.summary import failures, told
from experiments.imagination import summary as read
from experiments.imagination.summary import CellResult, Summary, World
from experiments.markdown import bullets, table
from experiments.page import brief, finite, nats, number, rows_of, settings

_HOW = """\
Log-losses are means of -log p in nats a step, of play that was not learned from; "lost" is that of the product form
less that of the joint form, paired by seed, and "exact" what any product form must lose under uniform actions: of the
signal its non-separability, of a next observation what other modalities tell of it. Places of an observation are
foreseen apart, so that of it more may be lost: what shows at k places counts k times. Scores are
(J - J of chance) / (J of the oracle - J of chance); differences are to "model-free", paired by seed. Means over seeds
with Student's t intervals at the 95 % level. `p` is the exact two-sided sign-flip test, which with n seeds gives no
less than 2/2^n; it is not corrected for the number of differences. All learners have equal environment steps:
"auxiliary" learns the world model and does not imagine, "imagine" learns from one imagined rollout a real one, and
"two epochs" has as many updates as "imagine" and no world model."""


def to_markdown(summary: Summary) -> str:
    """Claims in sentences, tables of world models and agents, and how it came about."""
    claims = (tuple(str(row.get(name)) for name in ("verdict", "claim", "evidence")) for row in _claims(summary))
    sections = {
        "Claims": bullets(f"**{verdict}**: {claim}. {evidence}" for verdict, claim, evidence in claims),
        "What the product form loses": _losses(read.cells(summary)),
        "What imagined rollouts are worth": "\n\n".join(map(_agents, read.worlds(summary))),
        "How to read this": _HOW,
        "Failed": bullets(f"`{name}`: {why}" for name, why in failures(summary)),
        "Made by": _made_by(summary),
    }
    blocks = [f"## {title}\n\n{text}\n" for title, text in sections.items() if text]
    return "\n".join(["# Imagination: a world model in joint and in product form, and agents that imagine\n", *blocks])


def _claims(summary: Summary) -> list[Summary]:
    return rows_of(summary.get("claims"), dict)


def _losses(cells: Sequence[CellResult]) -> str:
    parts = [part for cell in cells for part in cell.parts]
    rows = [[p.cell, p.name, nats(p.exact), *(told(of, 4) for of in (p.lost, p.joint, p.late))] for p in parts]
    return table(["cell", "part", "exact", "lost", "joint", "late"], rows)


def _agents(world: World) -> str:
    rows = [
        [one.name, told(one.score), told(one.difference), brief(one.p), told(one.success), number(one.seconds, 0)]
        for one in world.learners
    ]
    head = ["learner", "normalised return", "less model-free", "p", "success", "seconds"]
    return f"### {world.env}\n\n{conditions(world)}\n\n{table(head, rows)}"


def conditions(world: World) -> str:
    """Under which the agents of a world were trained and scored, in a line."""
    anchors = (("J of random actions", world.random), ("of the oracle", world.oracle))
    steps = f"{number(world.steps, 0)} env steps" if world.steps else ""
    said = [f"{name} {number(value)}" for name, value in anchors if value is not None]
    return ", ".join(filter(None, (steps, *(one for one in world.settings if not one.startswith("steps=")), *said)))


def _made_by(summary: Summary) -> str:
    seconds = finite(summary.get("seconds"))
    took = "" if seconds is None else f"{number(seconds / 60, 1)} minutes."
    where = (settings(summary.get(name)) for name in ("versions", "hardware"))
    note = "The command of each agent stands in imagination.json."
    return "\n\n".join(filter(None, (f"```\n{summary.get('command') or 'n/a'}\n```", took, *where, note)))
