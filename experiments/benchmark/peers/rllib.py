"""RLlib's PPO on its new API stack, sampling and learning in one process, with a module of the user's own."""

import importlib
from typing import Any

import gymnasium as gym
import torch
from gymnasium import spaces

from agents.distributed import session
from experiments.benchmark.judge import Judge
from experiments.benchmark.peers import settings
from experiments.benchmark.peers.reader import ActorCritic, width_of
from unienv.adapt import make_env

for needed in ("lz4", "ormsgpack", "tree"):  # RLlib itself can't be imported before `session` has made Ray's settings
    importlib.import_module(needed)


def train(world: str, seed: int, parameters: int, judge: Judge) -> int:
    """Train until the judge says stop, which is asked after every rollout; returns the number of parameters."""
    with session(workers=1, address=None), torch.random.fork_rng(devices=[]):
        try:
            return _train(world, seed, parameters, judge)
        finally:  # RLlib registers an id for itself, and warns when it is there already
            for id in [id for id in gym.registry if id.startswith("rllib-")]:
                del gym.registry[id]


def _train(world: str, seed: int, parameters: int, judge: Judge) -> int:
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec
    from ray.tune import register_env

    wins: list[bool] = []

    def note(*, episode: Any, **_: Any) -> None:
        wins.append(bool(episode.get_infos(-1)["success"]))

    single = make_env(world)
    space, actions = single.observation_space, single.action_space
    assert isinstance(space, spaces.Dict) and isinstance(actions, spaces.Discrete)
    width = width_of(space, int(actions.n), parameters)
    register_env(world, lambda _: make_env(world))
    config = PPOConfig().environment(world).debugging(seed=seed).callbacks(on_episode_end=note)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=settings.WORLDS)
    config.rl_module(rl_module_spec=RLModuleSpec(module_class=_module(), model_config={"width": width}))
    config.training(
        train_batch_size=settings.WORLDS * settings.HORIZON,
        minibatch_size=settings.MINIBATCH,
        num_epochs=settings.EPOCHS,
        lr=settings.LR,
        gamma=settings.GAMMA,
        lambda_=settings.LAMBDA,
        clip_param=settings.CLIP,
        entropy_coeff=settings.ENTROPY,
        vf_loss_coeff=settings.VALUE,
        grad_clip=settings.MAX_GRAD_NORM,
        use_kl_loss=False,
    )
    algorithm, steps = config.build_algo(), 0
    try:
        judge.begin()
        while not judge.over(wins, steps):
            wins.clear()
            told = algorithm.train()
            steps = int(told["env_runners"]["num_env_steps_sampled_lifetime"])
        return sum(part.size for part in algorithm.get_module().get_state().values())  # type: ignore[union-attr]
    finally:
        algorithm.stop()


def _module() -> type:
    """`ActorCritic` as RLlib wants it."""
    from ray.rllib.core.columns import Columns
    from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
    from ray.rllib.core.rl_module.torch import TorchRLModule

    class Module(TorchRLModule, ValueFunctionAPI):
        def setup(self) -> None:
            self.network = ActorCritic(self.observation_space, int(self.action_space.n), self.model_config["width"])

        def _forward(self, batch: dict[str, Any], **_: Any) -> dict[str, Any]:
            features = self.network.reader(batch[Columns.OBS])
            return {Columns.ACTION_DIST_INPUTS: self.network.policy(features), Columns.EMBEDDINGS: features}

        def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Any:
            features = self.network.reader(batch[Columns.OBS]) if embeddings is None else embeddings
            return self.network.value(features)[:, 0]

    return Module
