"""After training: J and success of the agent beside its anchors, and a few episodes to watch."""

import contextlib
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from importlib import metadata
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Discrete

from agents.learner import RUN, Learner
from agents.objective import check_end, objective
from agents.policies import OraclePolicy, RandomPolicy
from encoders.precision import has_bfloat16
from experiments.columns import write_columns
from experiments.config import RunConfig
from experiments.train import choose_device, make_envs
from unienv import __version__
from unienv.actions import Actions, name_parts, row
from unienv.backend import to_numpy
from unienv.modality import TEXT
from unienv.registry import is_world, parameters_of, world_class
from unienv.render import picture

SLOTS = 64  # slots of an evaluation
_FRAMES, _EPISODES = 200, 8  # at most, to watch: browsers draw no endless sheet of frames
UNSEEN = 1 << 52  # seeds of evaluation lie above it, those of training below


def unseen(seed: int) -> int:
    """First of the seeds of worlds in which a run of this seed is evaluated: no run trains there or shares them."""
    return UNSEEN + seed * RUN


def evaluate(config: RunConfig, learner: Learner) -> dict[str, Any]:
    """Objective of the learner's policy, of chance and, for worlds, of the oracle, on seeds not trained on.

    A policy trained on a world's split "train" is measured on its split "test" too, as "held_out", with anchors there.
    """
    envs = make_envs(config.env, min(SLOTS, config.episodes), torch.device("cpu"))
    told, others = _measure(config, learner, envs), held_out(config)
    stated = getattr(getattr(envs, "world", None), "nonseparability", None)
    envs.close()
    if others is not None:
        envs = make_envs(others.env, envs.num_envs, torch.device("cpu"))
        others = _measure(others, learner, envs)
        envs.close()
    return {
        "env": config.env["id"],
        **told,
        "held_out": others,
        "nonseparability": stated() if stated else None,
        "parameters": learner.parameters,
        "versions": versions(),
        "hardware": hardware(config.device),
    }


def _measure(config: RunConfig, learner: Learner, envs: Any) -> dict[str, Any]:
    """J and success of the policy, and of its anchors, in some environments."""
    measure = partial(objective, envs, gamma=config.ppo.gamma, episodes=config.episodes, seed=unseen(config.seed))
    agent = measure(learner.policy(envs.num_envs, seed=config.seed))
    generator = np.random.default_rng(config.seed)
    anchors = {"random": measure(RandomPolicy(Actions(envs.single_action_space), generator))}
    if hasattr(envs, "oracle"):
        anchors["oracle"] = measure(OraclePolicy(envs))
    return asdict(agent) | {"anchors": {name: asdict(value) for name, value in anchors.items()}}


def judged(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """The evaluation that counts, with its anchors: of what was held out, if the policy was trained on a part."""
    return summary.get("held_out") or summary


def held_out(config: RunConfig) -> RunConfig | None:
    """The same run on the test split of a world that is trained on "train".

    None where there is no other split, or none that can be made, as of a tiny data set.
    """
    name = str(config.env["id"])
    split = parameters_of(world_class(name)[0]).get("split") if is_world(name) else None
    if split is None or config.env.get("split", split.default) != "train":
        return None
    other = replace(config, env={**config.env, "split": "test"})
    with contextlib.suppress(ValueError):
        make_envs(other.env, 1, torch.device("cpu")).close()
        return other
    return None


class Moment(NamedTuple):
    """A step of an episode, or its end, at which nothing is done.

    Fields:
        observation: of one world, by modality.
        action: (n,) int64 by part, -1 at the end; said: the same in words.
        probabilities: (k,) of the choices of all parts, 0 at the end.
        reward, terminated: what came of the action.
    """

    observation: dict[str, np.ndarray]
    action: np.ndarray
    said: str
    probabilities: np.ndarray
    reward: float
    terminated: bool


def episodes(config: RunConfig, learner: Learner, envs: Any) -> Iterator[tuple[list[Moment], bool]]:
    """Episodes of the policy on seeds not trained on, the same at every call, each with whether it succeeded.

    Args:
        config: of the run.
        learner: whose policy acts.
        envs: one world.
    """
    for episode in count():
        yield _play(envs, learner.policy(1, seed=episode), unseen(config.seed) + episode)


def to_watch(config: RunConfig) -> Any:
    """One world of those in which the policy is judged, see `judged`."""
    return make_envs((held_out(config) or config).env, 1, torch.device("cpu"))


def watch(config: RunConfig, learner: Learner, path: Path) -> None:
    """A few episodes of the policy as arrays: frames, text, action, said, probabilities, reward, episode and success.

    They are of `to_watch`; the last one is cut where frames would be too many. Of actions with
    several parts `said` tells the words, `action` the first part, and there are no probabilities.
    """
    envs = to_watch(config)
    rows: list[dict[str, Any]] = []
    for episode, (moments, success) in enumerate(islice(episodes(config, learner, envs), _EPISODES)):
        rows += [_row(one, envs.vocabulary) | {"episode": episode, "success": success} for one in moments]
        if len(rows) >= _FRAMES:
            break
    names, space = {}, envs.single_action_space
    if isinstance(space, Discrete):
        numbers = range(int(space.start), int(space.start + space.n))
        names["action_names"] = np.array([_say(envs, action) for action in numbers])
    write_columns(path, rows[:_FRAMES], names)
    envs.close()


def _play(envs: Any, policy: Any, seed: int) -> tuple[list[Moment], bool]:
    observation, _ = envs.reset(seed=seed)
    moments: list[Moment] = []
    start, over = np.ones(1, bool), False
    while not over:
        check_end(len(moments))
        action = policy.act(observation, start)
        parts, chances = policy.actions.split(action)[0], policy.probabilities[0].astype(np.float64)
        seen = {key: to_numpy(value)[0] for key, value in observation.items()}
        observation, reward, terminated, truncated, info = envs.step(action)
        moments.append(Moment(seen, parts, _say(envs, row(action, 0)), chances, float(reward[0]), bool(terminated[0])))
        start, over = np.zeros(1, bool), bool(terminated[0] | truncated[0])
    last = {key: np.asarray(value) for key, value in info["final_obs"][0].items()}
    moments.append(Moment(last, np.full_like(parts, -1), "", np.zeros_like(chances), 0.0, False))
    return moments, bool(np.asarray(info["final_info"]["success"])[0])


def _row(moment: Moment, vocabulary: Any) -> dict[str, Any]:
    return {
        "frames": picture(moment.observation),
        "text": vocabulary.decode(moment.observation[TEXT]),
        "action": int(moment.action[0]),
        "said": moment.said,
        "probabilities": moment.probabilities[: None if len(moment.action) == 1 else 0],
        "reward": moment.reward,
    }


def _say(envs: Any, action: Any) -> str:
    """An action in words: a world's own, else numbers by part."""
    world = getattr(envs, "world", None)
    told = world.name_action(action) if world is not None else name_parts(action)
    return f"action {told}" if told.lstrip("-").isdecimal() else told or "nothing"


def versions() -> dict[str, str]:
    """Versions of what numbers depend on."""
    packages = ("torch", "numpy", "gymnasium", "timm", "ray")
    return {
        "unienv": __version__,
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in packages},
    }


def hardware(device: str) -> dict[str, Any]:
    """What the run ran on."""
    chosen = choose_device(device)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else _processor()
    precision = "bfloat16" if has_bfloat16(chosen) else "float32"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"processor": name, "cores": cores, "device": str(chosen), "precision": precision}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
