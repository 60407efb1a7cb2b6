import torch
from torch import nn

from agents.distribution import all_reduce_gradients, all_reduce_mean, all_reduce_sum, num_replicas, rank


def test_alone_there_is_one_replica_and_it_is_the_first():
    assert (num_replicas(), rank()) == (1, 0)


def test_alone_sums_and_means_are_the_tensor_itself():
    tensor = torch.tensor([1.5, -2.0])
    assert torch.equal(all_reduce_sum(tensor), torch.tensor([1.5, -2.0]))
    assert torch.equal(all_reduce_mean(tensor), torch.tensor([1.5, -2.0]))
    assert torch.equal(tensor, torch.tensor([1.5, -2.0]))


def test_alone_gradients_stay_as_they_are():
    module = nn.Linear(2, 3)
    module(torch.ones(1, 2)).square().sum().backward()
    before = {name: p.grad.clone() for name, p in module.named_parameters()}
    all_reduce_gradients(module)
    assert all(torch.equal(p.grad, before[name]) for name, p in module.named_parameters())
    all_reduce_gradients(nn.Linear(2, 3))  # without gradients there is nothing to tell


def test_replicas_average_gradients_in_one_message(monkeypatch):
    """With a stand-in for a group of two whose other member has gradients three times as large."""
    messages = []

    def all_reduce(tensor):
        messages.append(tensor.numel())
        tensor *= 4

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1), nn.Linear(1, 1))
    module[:2](torch.ones(1, 2)).sum().backward()  # the last part has no gradient
    before = [p.grad.clone() for p in module[:2].parameters()]
    all_reduce_gradients(module)
    assert (num_replicas(), rank(), messages) == (2, 1, [2 * 3 + 3 + 3 + 1])
    for parameter, gradient in zip(module[:2].parameters(), before, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * gradient)
    assert module[2].weight.grad is None
