"""FLOPs: how many operations a call really takes, counted while it runs."""

from collections.abc import Callable
from typing import Any

from torch.utils.flop_counter import FlopCounterMode


def flops(step: Callable[[], Any]) -> int:
    """Floating-point operations of matrix products, attention and convolutions that a call runs, forward and backward.

    A multiplication and an addition are two. What is elementwise (norms, activations, an optimiser) is not counted.
    Fused attention computes its scores once more on the way back, and that is counted, as it is done: 7 products, not
    6. Masked scores are computed as well, so they count like others.

    Args:
        step: the call, for example a loss and its `backward`; it does what it always does, a little slower.
    """
    counter = FlopCounterMode(display=False)
    with counter:
        step()
    return counter.get_total_flops()
