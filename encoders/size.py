"""Sizes of networks, so that models are compared at equal numbers of parameters."""

from collections.abc import Callable, Iterable

import torch
from torch import nn


def count_parameters(module: nn.Module) -> int:
    """Numbers that are trained."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def closest_shape(
    build: Callable[..., nn.Module], shapes: Iterable[tuple[int, ...]], target: int, tolerance: float = 0.05
) -> tuple[int, ...]:
    """The shape whose network comes closest to a number of parameters.

    Args:
        build: a network of a shape, say of a width and a number of layers.
        shapes: to choose from.
        target: parameters.
        tolerance: share of the target by which it may be missed.

    Raises:
        ValueError: no shape comes close enough.
    """
    with torch.device("meta"):  # counted, not made
        sizes = {shape: count_parameters(build(*shape)) for shape in shapes}
    best = min(sizes, key=lambda shape: abs(sizes[shape] - target))
    if abs(sizes[best] - target) > tolerance * target:
        raise ValueError(f"expected a shape of about {target} parameters, the closest, {best}, has {sizes[best]}")
    return best
