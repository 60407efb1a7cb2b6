"""FLOPs: how many operations a call really takes, counted while it runs."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_CPU_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def flops(step: Callable[[], Any]) -> int:
    """Floating-point operations of matrix products, attention and convolutions that a call runs, forward and backward.

    A multiplication and an addition are two. What is elementwise (norms, activations, an optimiser) is not counted.
    Fused attention computes its scores once more on the way back, and that is counted, as it is done: 7 products, not
    6. Masked scores are computed as well, so they count like others.

    Args:
        step: the call, for example a loss and its `backward`; it does what it always does, a little slower.
    """
    counter = FlopCounterMode(display=False, custom_mapping={_CPU: _attention, _CPU_BACKWARD: _attention_backward})
    with counter:
        step()
    return counter.get_total_flops()


def _attention(q: Any, k: Any, v: Any, *rest: Any, **options: Any) -> int:
    """The CPU's fused attention by the shapes of its inputs: not every version of torch counts it."""
    return sdpa_flop_count(q, k, v)


def _attention_backward(gradient: Any, q: Any, k: Any, v: Any, *rest: Any, **options: Any) -> int:
    return sdpa_backward_flop_count(gradient, q, k, v)
