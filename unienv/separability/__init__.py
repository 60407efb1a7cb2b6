"""Separability of environments across modalities, measured in nats. Needs scipy; `import unienv` does not load it."""

from unienv.separability.estimate import estimate
from unienv.separability.exact import exact
from unienv.separability.feedback import (
    FeedbackNonseparability,
    feedback_nonseparability,
    feedback_nonseparability_of_cells,
)
from unienv.separability.ladder import ladder
from unienv.separability.outputs import (
    OutputNonseparability,
    output_nonseparability,
    output_nonseparability_of_cells,
)
from unienv.separability.transitions import Transitions, record

__all__ = [
    "FeedbackNonseparability",
    "OutputNonseparability",
    "Transitions",
    "estimate",
    "exact",
    "feedback_nonseparability",
    "feedback_nonseparability_of_cells",
    "ladder",
    "output_nonseparability",
    "output_nonseparability_of_cells",
    "record",
]
