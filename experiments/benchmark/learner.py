"""Seconds and env steps of training to a threshold, beside other libraries."""

import time
from typing import Any

import gymnasium as gym

from experiments.benchmark.timing import Row, Timing, row
from experiments.config import RunConfig

_SUCCESS = 0.95


def threshold(timing: Timing) -> list[Row]:
    """Seconds and env steps of training until 0.95 of the last 1000 episodes succeeded, ours and a peer's."""
    rows = []
    for seed in range(timing.rounds):
        rows += [_ours(seed, _SUCCESS), _peer(seed, _SUCCESS)]
    names = list(dict.fromkeys(row["name"] for row in rows))
    result = []
    for name in names:
        mine = [told for told in rows if told["name"] == name]
        result.append(row(name, "s", [told["seconds"] for told in mine]))
        result.append(row(name, "env steps", [told["steps"] for told in mine]))
    return result


def _ours(seed: int, success: float) -> dict[str, Any]:
    from experiments.train import make_learner

    learner = make_learner(RunConfig(seed=seed))
    wins: list[bool] = []
    began = time.perf_counter()
    while not _reached(wins, success):
        told = learner.update()
        wins += [True] * round(told["success"] * told["episodes"])
        wins += [False] * (told["episodes"] - round(told["success"] * told["episodes"]))
    return {"name": "unienv", "seconds": time.perf_counter() - began, "steps": learner.steps}


def _peer(seed: int, success: float) -> dict[str, Any]:
    """Stable-Baselines3's PPO with its MultiInputPolicy: 16 worlds, 128 steps, otherwise its defaults."""
    from stable_baselines3 import PPO  # pyright: ignore[reportMissingImports]
    from stable_baselines3.common.callbacks import BaseCallback  # pyright: ignore[reportMissingImports]
    from stable_baselines3.common.env_util import make_vec_env  # pyright: ignore[reportMissingImports]

    wins: list[bool] = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            wins.extend(bool(info["success"]) for info in self.locals["infos"])
            return not _reached(wins, success)

    envs = make_vec_env(lambda: gym.make("UniEnv/Match-v0"), 16, seed=seed)
    model = PPO("MultiInputPolicy", envs, n_steps=128, seed=seed, device="cpu")
    began = time.perf_counter()
    model.learn(1_000_000, callback=Watch())
    return {"name": "Stable-Baselines3", "seconds": time.perf_counter() - began, "steps": model.num_timesteps}


def _reached(wins: list[bool], success: float) -> bool:
    del wins[:-1000]
    return len(wins) == 1000 and sum(wins) >= success * 1000
