"""Worlds of the torch backend live on their device: a step moves nothing to the host but single flags."""

import gymnasium as gym
import pytest
import torch
from torch.overrides import TorchFunctionMode

import unienv
from unienv.registry import needs, world_class

WORLDS = [id for id in unienv.world_ids() if not needs(world_class(id)[0])]
MOVES = {getattr(torch.Tensor, name) for name in ("cpu", "numpy", "tolist", "item", "__array__", "__dlpack__")}


class OnDevice(TorchFunctionMode):
    """Refuses what would bring a tensor to the host."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        devices = [value for value in [*args, *(kwargs or {}).values()] if isinstance(value, (str, torch.device))]
        assert func not in MOVES, f"a step copies to the host by {func.__name__}"
        assert func is not torch.Tensor.to or not devices, "a step names a device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("call", ["cpu", "numpy", "tolist", "item", "__array__"])
def test_the_guard_refuses_copies(call):
    with OnDevice(), pytest.raises(AssertionError, match="copies to the host"):
        getattr(torch.ones(1), call)()


@pytest.mark.parametrize("signal", ["reward", "preference"])
@pytest.mark.parametrize("mode", ["NextStep", "Disabled"])
@pytest.mark.parametrize("id", WORLDS)
def test_a_step_stays_on_the_device(id, mode, signal):
    envs = gym.make_vec(id, 6, backend="torch", autoreset_mode=mode, signal=signal)
    envs.reset(seed=0)
    envs.action_space.seed(0)
    for turn in range(1 if mode == "Disabled" else 12):
        actions = tensors(envs.oracle() if turn % 2 == 0 else envs.action_space.sample())
        with OnDevice():
            observation, *signals, info = envs.step(actions)
        parts = [value for value in info.values() if not isinstance(value, dict)]
        assert all(isinstance(value, torch.Tensor) for value in [*observation.values(), *signals, *parts])


def tensors(actions):
    """A batch of actions as tensors."""
    if isinstance(actions, dict):
        return {key: tensors(part) for key, part in actions.items()}
    return torch.as_tensor(actions)
