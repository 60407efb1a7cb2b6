"""Speed, measured beside a limit or a peer in the same run: medians of several rounds, alternating.

    python experiments/benchmark.py worlds              steps a second of every world, beside BabyAI and memcpy
    python experiments/benchmark.py threshold           seconds to success 0.95 on match, beside Stable-Baselines3's PPO
    python experiments/benchmark.py solver              the exact solver of non-separability, beside a closed form
    python experiments/benchmark.py estimates           nets on rendered match: rejections without and with an effect
    python experiments/benchmark.py worlds out=speed.json

Peers are optional: pip install 'unienv-lab[peers]'. Fix the cores from outside, as with `taskset -c 0,1`.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from rich.console import Console
from rich.table import Table

import unienv
from experiments.config import RunConfig
from unienv.actions import Actions, row
from unienv.aside import write_aside
from unienv.registry import needs, world_class

ROUNDS = 5
_SECONDS = 1.0  # of one measurement
_SEEDS = 40  # data sets of an error rate


def worlds() -> list[dict[str, Any]]:
    """Env steps a second on one core with pixels and tokens, resets included."""
    cases: dict[str, Callable[[], Callable[[], int]]] = {"memcpy of 1024 frames 64x64x3": _memcpy}
    for id in [id for id in unienv.world_ids() if not needs(world_class(id)[0])]:
        cases[f"{id}, gymnasium.make"] = lambda id=id: _single(lambda: gym.make(id))
        for mode in ("NEXT_STEP", "SAME_STEP"):
            cases[f"{id}, N=1024, {mode}"] = lambda id=id, mode=mode: _vector(id, 1024, mode)
    try:
        from unienv.adapt import make_env

        make_env("BabyAI-GoToLocal-v0").close()
        cases["BabyAI-GoToLocal-v0, pixels 56x56x3"] = lambda: _single(lambda: make_env("BabyAI-GoToLocal-v0"))
    except ValueError as error:
        Console(stderr=True).print(f"left out: {error}")
    return [{"name": name, "unit": "steps/s", **_spread(rates)} for name, rates in _alternate(cases).items()]


def threshold(success: float = 0.95) -> list[dict[str, Any]]:
    """Seconds and env steps of training until 0.95 of the last 1000 episodes succeeded, ours and a peer's."""
    rows = []
    for seed in range(ROUNDS):
        rows += [_ours(seed, success), _peer(seed, success)]
    names = list(dict.fromkeys(row["name"] for row in rows))
    result = []
    for name in names:
        mine = [row for row in rows if row["name"] == name]
        result.append({"name": name, "unit": "s", **_spread([row["seconds"] for row in mine])})
        result.append({"name": name, "unit": "env steps", **_spread([row["steps"] for row in mine])})
    return result


def solver() -> list[dict[str, Any]]:
    """Milliseconds and errors of the exact solver: hostile 2 x 2 x 2 tables, and noisy match with 64 values a side."""
    from unienv.separability.canonical import match, two_by_two
    from unienv.separability.tables import feedback_nonseparability

    generator = np.random.default_rng(0)
    tables = generator.dirichlet(np.full(8, 0.3), 3000) * (generator.random((3000, 8)) > 0.3)
    tables = [t.reshape(2, 2, 1, 2) / t.sum() for t in tables if t.sum() > 0]
    large = match(64, 0.1)
    times, errors, sizes = [], [], []
    for table in tables:
        began = time.perf_counter()
        found = feedback_nonseparability(table).nonseparability
        times.append(1e3 * (time.perf_counter() - began))
        errors.append(abs(found - two_by_two(table[:, :, 0])))
    for _ in range(ROUNDS):
        began = time.perf_counter()
        feedback_nonseparability(large)
        sizes.append(1e3 * (time.perf_counter() - began))
    return [
        {"name": f"{len(tables)} random 2x2x2 tables with zeros", "unit": "ms", **_spread(times)},
        {"name": "error against the closed form", "unit": "nats", **_spread(errors)},
        {"name": "noisy match, 64x64x2", "unit": "ms", **_spread(sizes)},
    ]


def estimates() -> list[dict[str, Any]]:
    """Rejections at level 0.05 from 10,000 rendered transitions of match, and what nets make of known values."""
    from unienv.adapt import make_vector
    from unienv.separability import estimate, record

    rows = []
    for kind, coupling in (("text", 0.0), ("image", 0.0), ("additive", 0.0), ("additive", 0.1737)):
        envs = make_vector("match", 256, kind=kind, coupling=coupling)
        truth = envs.world.nonseparability()  # type: ignore[attr-defined]
        told = []
        for seed in range(_SEEDS):
            transitions = record(envs, 10_000, seed=1_000_003 * seed)
            told.append(estimate(transitions, "net", net_seeds=1, calibrate=False, seed=seed))
        name = f"match {kind}, NS = {truth:.4f}, {_SEEDS} data sets"
        rate = sum(t.detected for t in told) / len(told)
        rows.append({"name": f"{name}: rejected", "unit": "share", "median": rate, "least": rate, "most": rate})
        rows.append({"name": name, "unit": "nats", **_spread([t.nonseparability for t in told])})
    return rows


def _alternate(cases: dict[str, Callable[[], Callable[[], int]]]) -> dict[str, list[float]]:
    """Rates of each case in turn, round after round, so that a machine that drifts treats all alike."""
    running = {name: make() for name, make in cases.items()}
    rates: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, step in running.items():
            step()
            began, done = time.perf_counter(), 0
            while time.perf_counter() - began < _SECONDS:
                done += step()
            rates[name].append(done / (time.perf_counter() - began))
    return rates


def _memcpy() -> Callable[[], int]:
    source, target = (np.zeros((1024, 64, 64, 3), np.uint8) for _ in range(2))

    def step() -> int:
        np.copyto(target, source)
        return len(source)

    return step


def _single(make: Callable[[], gym.Env]) -> Callable[[], int]:
    env = make()
    chosen, generator = Actions(env.action_space), np.random.default_rng(0)
    actions = [row(chosen.sample(generator, 1), 0) for _ in range(256)]
    env.reset(seed=0)

    def step() -> int:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return len(actions)

    return step


def _vector(id: str, num_envs: int, mode: str) -> Callable[[], int]:
    envs = gym.make_vec(id, num_envs, autoreset_mode=gym.vector.AutoresetMode[mode])
    chosen, generator = Actions(envs.single_action_space), np.random.default_rng(0)
    actions = [chosen.sample(generator, num_envs) for _ in range(8)]
    envs.reset(seed=0)
    seen: dict[str, Any] = {}

    def step() -> int:
        resting = 0
        for action in actions:
            seen["observation"], _, terminated, truncated, _ = envs.step(action)
            resting += int((terminated | truncated).sum()) if mode == "NEXT_STEP" else 0
        return len(actions) * num_envs - resting  # under NEXT_STEP the step after an end only resets and is not counted

    return step


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


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def main(arguments: list[str]) -> int:
    """Run the benchmark named by the first argument; exit status 2 for a mistake."""
    benchmarks = {"worlds": worlds, "threshold": threshold, "solver": solver, "estimates": estimates}
    out = [argument.removeprefix("out=") for argument in arguments if argument.startswith("out=")]
    names = [argument for argument in arguments if not argument.startswith("out=")]
    if len(names) != 1 or names[0] not in benchmarks:
        print(f"expected one of {', '.join(benchmarks)}, got {' '.join(names) or 'nothing'}", file=sys.stderr)
        return 2
    rows = benchmarks[names[0]]()
    table = Table(title=f"{names[0]}, {ROUNDS} rounds", title_justify="left")
    for heading in ("", "unit", "median", "least", "most"):
        table.add_column(heading, justify="left" if heading in ("", "unit") else "right")
    for told in rows:
        figures = (told[key] for key in ("median", "least", "most"))
        table.add_row(told["name"], told["unit"], *(f"{x:,.3g}" if x < 100 else f"{x:,.0f}" for x in figures))
    Console().print(table)
    for path in out:
        write_aside(Path(path), json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
