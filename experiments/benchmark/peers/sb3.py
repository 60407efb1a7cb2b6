"""Stable-Baselines3's PPO as its users run it, with a features extractor of their own."""

import gymnasium as gym
import torch
from gymnasium import spaces
from stable_baselines3 import PPO  # pyright: ignore[reportMissingImports]
from stable_baselines3.common.callbacks import BaseCallback  # pyright: ignore[reportMissingImports]
from stable_baselines3.common.env_util import make_vec_env  # pyright: ignore[reportMissingImports]
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor  # pyright: ignore[reportMissingImports]

from encoders.size import count_parameters
from experiments.benchmark.judge import Judge
from experiments.benchmark.peers import settings
from experiments.benchmark.peers.reader import Reader, width_of
from unienv.adapt import make_env
from unienv.modality import IMAGE


class Extractor(BaseFeaturesExtractor):
    """`Reader` of the worlds' own space; Stable-Baselines3 brings images with their channels first."""

    def __init__(self, observation_space: spaces.Dict, space: spaces.Dict, width: int) -> None:
        super().__init__(observation_space, width)
        self.reader = Reader(space, width)

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        """Observations -> (B, width)."""
        return self.reader({**observations, IMAGE: observations[IMAGE].permute(0, 2, 3, 1)})


def train(world: str, seed: int, parameters: int, judge: Judge) -> int:
    """Train until the judge says stop; returns the number of parameters."""

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            ended = zip(self.locals["dones"], self.locals["infos"], strict=True)
            return not judge.over([info["success"] for done, info in ended if done], self.num_timesteps)

    def make() -> gym.Env:
        return make_env(world)

    single = make()
    space, actions = single.observation_space, single.action_space
    assert isinstance(space, spaces.Dict) and isinstance(actions, spaces.Discrete)
    envs = make_vec_env(make, settings.WORLDS, seed=seed)
    with torch.random.fork_rng(devices=[]):
        model = PPO(
            "MultiInputPolicy",
            envs,
            learning_rate=settings.LR,
            n_steps=settings.HORIZON,
            batch_size=settings.MINIBATCH,
            n_epochs=settings.EPOCHS,
            gamma=settings.GAMMA,
            gae_lambda=settings.LAMBDA,
            clip_range=settings.CLIP,
            ent_coef=settings.ENTROPY,
            vf_coef=settings.VALUE,
            max_grad_norm=settings.MAX_GRAD_NORM,
            policy_kwargs={
                "features_extractor_class": Extractor,
                "features_extractor_kwargs": {"space": space, "width": width_of(space, int(actions.n), parameters)},
                "net_arch": [],
                "normalize_images": False,
            },
            seed=seed,
            device="cpu",
        )
        judge.begin()
        model.learn(settings.FOREVER, callback=Watch())
    envs.close()
    return count_parameters(model.policy)
