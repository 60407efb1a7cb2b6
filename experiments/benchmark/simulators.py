"""Env steps a second of the worlds beside those of other simulators; what is not installed is left out with a line."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from experiments.benchmark.timing import Row, Step, Timing, alternate, row, say
from experiments.benchmark.worlds import Tally, one_thread, ratio, single, vector, world_ids

_NUM_ENVS = 1024
_BABYAI = "BabyAI-GoToLocal-v0, minigrid, 56x56x3 + text"


def simulators(timing: Timing) -> list[Row]:
    """Env steps a second with random actions, resets included, and how many times BabyAI's pixels each world makes.

    All turns are taken on the cores that this process may use: give it one, as by `taskset -c 0`, since JAX takes all.
    """
    cases: dict[str, Callable[[], Step]] = {}
    for id in world_ids():
        cases[id] = lambda id=id: vector(id, _NUM_ENVS, "numpy", "NEXT_STEP", Tally())
    ours = list(cases)
    peers = {
        _BABYAI: _minigrid,
        "BabyAI-GoToLocal-v0, envpool, 7x7x3 symbols": lambda: _envpool("BabyAI-GoToLocal-v0"),
        "Procgen CoinrunEasy-v0, envpool, 64x64x3": lambda: _envpool("CoinrunEasy-v0"),
        "Navix-DoorKey-8x8-v0, 64x64x3": _navix,
        "Crafter, 64x64x3": _crafter,
    }
    for name, make in peers.items():
        try:
            step = make()
            step()
        except (ImportError, gym.error.Error) as error:
            say(f"left out: {name}: {str(error).splitlines()[0]}")
        else:
            cases[name] = lambda step=step: step
    with one_thread():
        rates = alternate(cases, timing)
    rows = [row(name, "steps/s", values) for name, values in rates.items()]
    if _BABYAI in rates:
        rows += [ratio(id, "times BabyAI's pixels", rates[id], rates[_BABYAI]) for id in ours]
    return rows


def _minigrid() -> Step:
    """BabyAI as its authors have it, with their pixels and their text; one environment, as it has no batched step."""
    import minigrid.wrappers  # registers the environments

    return single(lambda: minigrid.wrappers.RGBImgPartialObsWrapper(gym.make("BabyAI-GoToLocal-v0")))


def _envpool(id: str) -> Step:
    import envpool  # pyright: ignore[reportMissingImports]

    envs = envpool.make_gymnasium(id, num_envs=_NUM_ENVS, num_threads=1, seed=0)
    actions = _numbers(int(envs.action_space.n))
    envs.reset()

    def step() -> int:
        resting = 0
        for action in actions:
            _, _, terminated, truncated, _ = envs.step(action)
            resting += int((terminated | truncated).sum())  # the step after an end only resets
        return len(actions) * _NUM_ENVS - resting

    return step


def _navix() -> Step:
    import jax  # pyright: ignore[reportMissingImports]
    import navix  # pyright: ignore[reportMissingImports]

    env = navix.make("Navix-DoorKey-8x8-v0", observation_fn=navix.observations.rgb)
    actions = [jax.numpy.asarray(action) for action in _numbers(7)]
    advance = jax.jit(jax.vmap(env.step))
    at: dict[str, Any] = {"now": jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), _NUM_ENVS))}

    def step() -> int:
        for action in actions:
            at["now"] = advance(at["now"], action)
        at["now"].observation.block_until_ready()
        return len(actions) * _NUM_ENVS

    return step


def _crafter() -> Step:
    import crafter  # pyright: ignore[reportMissingImports]

    env = crafter.Env(seed=0)
    actions = _numbers(env.action_space.n)[0][:64].tolist()
    env.reset()

    def step() -> int:
        for action in actions:
            if env.step(action)[2]:
                env.reset()
        return len(actions)

    return step


def _numbers(count: int) -> list[np.ndarray]:
    """8 times N uniform actions of `count`, int32."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, count, _NUM_ENVS).astype(np.int32) for _ in range(8)]
