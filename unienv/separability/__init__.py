"""Separability of environments across modalities, measured in nats. Needs scipy; `import unienv` does not load it."""

from unienv.separability.tables import (
    FeedbackNonseparability,
    OutputNonseparability,
    feedback_nonseparability,
    feedback_nonseparability_of_cells,
    output_nonseparability,
    output_nonseparability_of_cells,
)

__all__ = [
    "FeedbackNonseparability",
    "OutputNonseparability",
    "feedback_nonseparability",
    "feedback_nonseparability_of_cells",
    "output_nonseparability",
    "output_nonseparability_of_cells",
]
