"""What replicas tell each other: the mean of their gradients and of a few statistics. Alone, nothing."""

import torch
import torch.distributed
from torch import Tensor, nn


def num_replicas() -> int:
    """Workers that train together; 1 outside a process group."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def all_reduce_mean(tensor: Tensor) -> Tensor:
    """Mean of a tensor over the replicas."""
    if num_replicas() > 1:
        torch.distributed.all_reduce(tensor)
        tensor = tensor / num_replicas()
    return tensor


def all_reduce_gradients(module: nn.Module) -> None:
    """Replace the gradients of a module by their mean over the replicas, in one message."""
    if num_replicas() == 1:
        return
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    mean = all_reduce_mean(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
