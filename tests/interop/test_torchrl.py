"""TorchRL on every world. What its users need:

- `GymEnv(id)`, or `GymWrapper(gym.make(id, ..))` around wrappers;
- `FlatActions`, for TorchRL would write the parts of a Dict action over the modalities of the same names;
- of the batched worlds, those with `autoreset_mode="Disabled"`: TorchRL resets by itself, and refuses NEXT_STEP.
"""

import math

import gymnasium as gym
import pytest
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torch.distributions import Categorical, Independent

from agents import distributed
from tests.interop import SMALL
from unienv.actions import Actions
from unienv.wrappers import FlatActions


@pytest.fixture(scope="module")
def torchrl():
    """The package. It imports Ray, which reads its settings when it is imported."""
    distributed._prepare_environment(alone=True)
    import torchrl.envs
    import torchrl.modules
    import torchrl.objectives.value

    return torchrl


class Net(nn.Module):
    """Words through an embedding, pixels through a linear layer."""

    def __init__(self, space, outputs, width=16):
        super().__init__()
        boxes = [box for key, box in space.items() if key != "text"]
        self.words = nn.Embedding(int(space["text"].high.max()) + 1, width)
        self.pixels = nn.ModuleList(nn.Linear(math.prod(box.shape), width) for box in boxes)
        self.starts = [-len(box.shape) for box in boxes]
        self.head = nn.Linear(width * (1 + len(boxes)), outputs)

    def forward(self, text, *pixels):
        flat = [part.flatten(start) / 255 for start, part in zip(self.starts, pixels, strict=True)]
        read = [layer(part) for layer, part in zip(self.pixels, flat, strict=True)]
        return self.head(torch.cat([self.words(text).mean(dim=-2), *read], dim=-1).relu())


class Chooser(nn.Module):
    """Logits of every part of an action."""

    def __init__(self, space, nvec):
        super().__init__()
        self.nvec = nvec
        self.net = Net(space, len(nvec) * max(nvec))
        self.register_buffer("out", torch.arange(max(nvec)) >= torch.tensor(nvec)[:, None])

    def forward(self, *observation):
        return self.net(*observation).unflatten(-1, self.out.shape).masked_fill(self.out, -math.inf)


def one(logits):
    return Categorical(logits=logits[..., 0, :])


def several(logits):
    return Independent(Categorical(logits=logits), 1)


def flat(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


@pytest.mark.parametrize("id", SMALL)
def test_ppo_steps(torchrl, id):
    torch.manual_seed(0)
    single = FlatActions(gym.make(id, **SMALL[id]))
    space, nvec = single.observation_space, Actions(single.action_space).nvec
    keys = ["text", *(key for key in space if key != "text")]
    env = torchrl.envs.GymWrapper(single, categorical_action_encoding=True)
    env.set_seed(0)
    logits = TensorDictModule(Chooser(space, nvec), keys, ["logits"])
    choice = one if isinstance(single.action_space, gym.spaces.Discrete) else several
    actor = torchrl.modules.ProbabilisticActor(
        logits, ["logits"], ["action"], distribution_class=choice, return_log_prob=True
    )
    critic = torchrl.modules.ValueOperator(Net(space, 1), keys)
    with torch.no_grad():
        data = env.rollout(24, actor, break_when_any_done=False)
    assert data.batch_size == (24,) and data["next", "done"].any()
    assert all(row["action"].numpy() in single.action_space for row in data)
    assert ((data["next", "reward"] >= 0) & (data["next", "reward"] <= 1)).all()

    torchrl.objectives.value.GAE(gamma=0.9, lmbda=0.9, value_network=critic)(data)
    loss = torchrl.objectives.ClipPPOLoss(actor, critic)
    before = flat(loss)
    optimiser = torch.optim.Adam(loss.parameters(), 1e-2)
    terms = loss(data)
    total = terms["loss_objective"] + terms["loss_critic"] + terms["loss_entropy"]
    total.backward()
    optimiser.step()
    assert torch.isfinite(total)
    assert 0 < (flat(loss) - before).abs().max() < 0.1


def test_many_worlds_at_once(torchrl):
    envs = gym.make_vec("UniEnv/Goto-v0", 4, autoreset_mode="Disabled", **SMALL["UniEnv/Goto-v0"])
    env = torchrl.envs.GymWrapper(envs, categorical_action_encoding=True)
    env.set_seed(0)
    data = env.rollout(20, break_when_any_done=False)
    assert data.batch_size == (4, 20) and data["image"].shape == (4, 20, 24, 24, 3)
    ends = data["next", "done"][..., 0]
    assert ends.any(dim=1).all()
    assert (data["next", "reward"][..., 0][~ends] == 0).all()
