"""On a GPU: worlds are the same to the bit, agents learn there, and their runs go on elsewhere."""

import gymnasium as gym
import pytest
import torch

import unienv
from agents.learner import Learner
from agents.ppo import PPOConfig
from tests.agents.tiny import small
from unienv.adapt import make_vector
from unienv.backend import to_numpy
from unienv.registry import needs, world_class

CPU, GPU = torch.device("cpu"), torch.device("cuda")
WORLDS = [id for id in unienv.world_ids() if not needs(world_class(id)[0])]

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("id", WORLDS)
def test_worlds_on_a_gpu_are_the_same(id):
    there, here = gym.make_vec(id, 6, backend="torch", device=str(GPU)), gym.make_vec(id, 6)
    seen = [envs.reset(seed=0)[0] for envs in (there, here)]
    here.action_space.seed(0)
    for _ in range(12):
        same(*seen)
        actions = here.action_space.sample()
        seen, rewards, *_ = zip(there.step(actions), here.step(actions), strict=True)
        assert (to_numpy(rewards[0]) == rewards[1]).all()


def same(one, two):
    assert all((to_numpy(one[name]) == two[name]).all() for name in two)


def learner_on(device, **agent):
    ppo = PPOConfig(worlds=16, horizon=4, minibatches=2, play=0.0)
    options = {} if device == CPU else {"backend": "torch", "device": str(device)}
    return Learner(lambda n: make_vector("goto", n, size=4, **options), small(**agent), ppo, 100_000, 0, device)


@pytest.mark.parametrize("agent", [{}, {"memory": "gru"}, {"psi": "late", "hidden": 32}, {"imagine": 1}])
@pytest.mark.parametrize("saved, loaded", [(GPU, GPU), (GPU, CPU), (CPU, GPU)])
def test_a_run_goes_on_on_either_device(tmp_path, agent, saved, loaded):
    first, later = learner_on(saved, **agent), learner_on(loaded, **agent)
    first.update()
    first.save(tmp_path)
    assert later.load(tmp_path) and later.steps == 64
    for name, value in first.network.state_dict().items():
        assert torch.equal(value.cpu(), later.network.state_dict()[name].cpu())
    told = later.update()
    assert told["steps"] == 128 and all(value == value for value in told.values() if isinstance(value, float))
