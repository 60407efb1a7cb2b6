"""Stable-Baselines3 on every world. What its users need:

- `FlatActions`, for its policies know no Dict actions; it leaves Discrete and MultiDiscrete as they are;
- a features extractor, for its own one reads word ids as magnitudes, flattens a video without scaling it, and wants
  images of 36 x 36 pixels and more. `Reader` below is one.
"""

import math

import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from tests.interop import SMALL
from unienv.adapt import make_env
from unienv.wrappers import FlatActions

TINY = {"n_steps": 8, "batch_size": 8, "n_epochs": 1, "seed": 0, "device": "cpu"}


class Reader(BaseFeaturesExtractor):
    """Words through an embedding, pixels in patches of 8 x 8 through a convolution; frames of a video are channels."""

    def __init__(self, observation_space, width=16):
        super().__init__(observation_space, width * len(observation_space.spaces))
        self.parts = nn.ModuleDict()
        for key, box in observation_space.items():
            if key == "text":
                self.parts[key] = nn.EmbeddingBag(int(box.high.max()) + 1, width)
                continue
            channels, *patches = box.shape  # of an image: it comes transposed
            if key == "video":
                channels, patches = box.shape[0] * box.shape[3], box.shape[1:3]
            size = math.prod(side // 8 for side in patches)
            self.parts[key] = nn.Sequential(
                nn.Conv2d(channels, 8, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * size, width)
            )

    def forward(self, observations):
        return torch.cat([part(AS_READ[key](observations[key])) for key, part in self.parts.items()], dim=1)


AS_READ = {  # words and frames come as plain floats, images scaled and transposed
    "text": lambda words: words.long(),
    "image": lambda image: image,
    "video": lambda video: video.movedim(-1, 2).flatten(1, 2) / 255,
}


def parameters(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.policy.parameters()])


@pytest.fixture(autouse=True)
def logs(monkeypatch, tmp_path):
    """Where it makes a folder for each model, which it would leave behind."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.mark.parametrize("id", SMALL)
def test_ppo_learns(id):
    envs = make_vec_env(id, 2, seed=0, env_kwargs=SMALL[id], wrapper_class=FlatActions)
    model = PPO("MultiInputPolicy", envs, policy_kwargs={"features_extractor_class": Reader}, **TINY)
    before = parameters(model)
    model.learn(64)
    assert 0 < (parameters(model) - before).abs().max() < 1
    logged = model.logger.name_to_value
    assert all(math.isfinite(logged[f"train/{name}"]) for name in ("loss", "value_loss", "policy_gradient_loss"))
    assert model.ep_info_buffer and all(0 <= episode["r"] <= episode["l"] for episode in model.ep_info_buffer)
    actions, _ = model.predict(envs.reset())
    assert all(action in envs.action_space for action in actions)
    envs.close()


@pytest.mark.parametrize("name", ["goto", "match"])
def test_images_of_full_size_need_no_extractor(name):
    envs = make_vec_env(lambda: make_env(name), 2, seed=0)
    model = PPO("MultiInputPolicy", envs, **TINY)
    before = parameters(model)
    model.learn(16)
    assert 0 < (parameters(model) - before).abs().max() < 1
