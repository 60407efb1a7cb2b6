"""What replicas tell each other, sums of gradients and of a few statistics, and the step they take together."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn


class DivergedError(ArithmeticError):
    """What the network computes is no number any more; the network is as it was then.

    Args:
        what: that was found, for people.

    Attributes:
        experience: that it was found in, for whoever looks for the cause; see `found_in`.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.experience: Any = None


@contextmanager
def found_in(experience: Any) -> Iterator[None]:
    """A DivergedError raised inside tells the experience that it was found in."""
    try:
        yield
    except DivergedError as error:
        error.experience = experience
        raise


def num_replicas() -> int:
    """Workers that train together; 1 outside a process group."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def rank() -> int:
    """This replica's number, from 0."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Sum of a tensor over the replicas; changes it in place."""
    if num_replicas() > 1:
        torch.distributed.all_reduce(tensor)
    return tensor


def wait_for_all() -> None:
    """Go on when every replica has come this far."""
    if num_replicas() > 1:
        torch.distributed.barrier()


def all_reduce_mean(tensor: Tensor) -> Tensor:
    """Mean of a tensor over the replicas."""
    return all_reduce_sum(tensor) / num_replicas()


def descend(module: nn.Module, optimiser: torch.optim.Optimizer, loss: Tensor, max_grad_norm: float) -> Tensor:
    """One step down a loss with the replicas' mean gradient, scaled down to a norm; the norm before that.

    Raises:
        DivergedError: on all replicas, in place of a step, when the gradient is not finite.
    """
    optimiser.zero_grad()
    loss.backward()
    all_reduce_gradients(module)
    norm = torch.nn.utils.clip_grad_norm_(module.parameters(), max_grad_norm)
    if not norm.isfinite():
        raise DivergedError(f"the loss is {loss.item():g}, the norm of its gradient {norm.item():g}")
    optimiser.step()
    return norm


def all_reduce_gradients(module: nn.Module) -> None:
    """Replace the gradients of a module by their mean over the replicas, in one message."""
    if num_replicas() == 1:
        return
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    mean = all_reduce_mean(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
