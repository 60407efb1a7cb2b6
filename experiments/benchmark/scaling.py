"""Env steps a second by Ray workers on one machine, where their time goes, and what a model makes of more machines."""

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed

from agents.distributed import Work, cores, launch
from agents.distribution import all_reduce_sum, num_replicas, rank, wait_for_all
from agents.learner import Learner
from experiments.benchmark.paper import Link, Update, all_reduce_seconds, fit
from experiments.benchmark.timing import Row, Timing, row
from experiments.config import build
from experiments.train import make_learner

_WORKERS = (1, 2, 4)
_WORLDS, _UPDATES = 256, 8  # of each worker
_SIZES = [4 << 10 + 2 * i for i in range(8)]  # bytes, 4 KiB to 64 MiB: every other one is fitted, the rest are checked
_REPEATS = 5
_FAR = (8, 64, 512)  # workers, on machines of their own
_NETWORKS = {"10 Gb/s and 30 us": (30e-6, 1.25e9), "100 Gb/s and 5 us": (5e-6, 12.5e9)}  # assumed: seconds, bytes/s
_GOAL = 0.8  # efficiency

Told = list[dict[str, Any]]  # of each worker


def scaling(timing: Timing) -> list[Row]:
    """Training on goto by 1, 2 and 4 workers with equal work and one thread each, all-reduces, and the model."""
    workers = [k for k in _WORKERS if k <= cores()]
    config = {"env": {"id": "goto"}, "device": "cpu", "ppo": {"play": 0.0}}
    rounds: list[dict[int, Told]] = []
    for _ in range(timing.rounds):
        rounds.append({k: _gather(_train, {"config": _for(config, k), "updates": _UPDATES}, k) for k in workers})
    groups = [k for k in workers if k > 1]
    rows = _training(rounds)
    if groups:
        sizes = {"sizes": _SIZES, "rounds": timing.rounds, "repeats": _REPEATS}
        times = {k: _gather(_all_reduce, sizes, k) for k in groups}
        link, told = _messages(times)
        rows += told + _model(rounds, groups, link)
    return rows


def _for(config: dict[str, Any], workers: int) -> dict[str, Any]:
    return config | {"ppo": config["ppo"] | {"worlds": workers * _WORLDS}}


def _gather(work: Work, argument: dict[str, Any], workers: int) -> Told:
    """What each worker wrote."""
    with TemporaryDirectory() as folder:
        launch(work, {**argument, "folder": folder}, workers, None, Path(folder))
        return [json.loads((Path(folder) / f"{worker}.json").read_text()) for worker in range(workers)]


def _tell(argument: dict[str, Any], told: dict[str, Any]) -> None:
    (Path(argument["folder"]) / f"{rank()}.json").write_text(json.dumps(told))


def _train(argument: dict[str, Any]) -> None:
    """Some updates of one replica among others, then as many that do without the others: what the machine allows."""
    torch.set_num_threads(1)
    learner = make_learner(build(argument["config"]))
    learner.update()
    together = _updates(learner, argument["updates"])
    send, torch.distributed.all_reduce = torch.distributed.all_reduce, lambda tensor: None
    wait_for_all()
    apart = _updates(learner, argument["updates"])
    torch.distributed.all_reduce = send
    wait_for_all()
    _tell(argument, {"together": together, "apart": apart, "memory": _memory()})


def _updates(learner: Learner, num: int) -> dict[str, Any]:
    """Seconds of all updates, of their rollouts and of each all-reduce, and the bytes of those."""
    rollout: list[float] = []
    messages: list[float] = []
    sizes: list[int] = []
    collect, send = learner.collector.collect, torch.distributed.all_reduce

    def all_reduce(tensor: torch.Tensor) -> None:
        sizes.append(tensor.nbytes)
        send(tensor)

    learner.collector.collect = _timed(collect, rollout)
    torch.distributed.all_reduce = _timed(all_reduce, messages)
    wait_for_all()
    began = time.perf_counter()
    for _ in range(num):
        learner.update()
    seconds = time.perf_counter() - began
    learner.collector.collect, torch.distributed.all_reduce = collect, send
    return {"seconds": seconds, "rollout": sum(rollout), "messages": messages, "sizes": sizes[: len(sizes) // num]}


def _timed(work: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    def timed(*arguments: Any) -> Any:
        began = time.perf_counter()
        result = work(*arguments)
        seconds.append(time.perf_counter() - began)
        return result

    return timed


def _memory() -> dict[str, float]:
    """MiB of this process, from Linux' /proc: all of it, and with what it shares divided among those who share it."""
    path = Path("/proc/self/smaps_rollup")
    if not path.exists():
        return {}
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines()[1:])
    return {name: int(lines[key].split()[0]) / 1024 for name, key in (("RSS", "Rss"), ("PSS", "Pss"))}


def _training(rounds: Sequence[Mapping[int, Told]]) -> list[Row]:
    told = defaultdict[tuple[str, str], list[float]](list)
    for one in rounds:
        alone = _rate(one[1], "together")
        for k, replicas in one.items():
            name = f"goto, {k} worker{'s' * (k > 1)}"
            told[name, "steps/s"].append(_rate(replicas, "together"))
            if k > 1:
                together, apart = (_rate(replicas, how) for how in ("together", "apart"))
                told[f"{name}: efficiency", "%"].append(100 * together / alone / k)
                told[f"{name} that never talk: efficiency", "%"].append(100 * apart / alone / k)
                told[f"{name}: speed beside those that never talk", "%"].append(100 * together / apart)
            for part, seconds in _split(replicas).items():
                if k > 1 or seconds:  # who is alone neither talks nor waits
                    told[f"{name}: {part} of an update", "ms"].append(1e3 * seconds)
            for kind in replicas[0]["memory"]:
                told[f"{name}: {kind} of a worker", "MiB"] += [replica["memory"][kind] for replica in replicas]
    return [row(name, unit, values) for (name, unit), values in told.items()]


def _rate(replicas: Told, how: str) -> float:
    """Env steps a second of all replicas."""
    horizon = build({}).ppo.horizon
    return len(replicas) * _UPDATES * _WORLDS * horizon / max(replica[how]["seconds"] for replica in replicas)


def _split(replicas: Told) -> dict[str, float]:
    """Seconds of an update by part, means over replicas. The last to come to an all-reduce tells what that takes."""
    parts = [replica["together"] for replica in replicas]
    mean = {name: statistics.fmean(part[name] for part in parts) / _UPDATES for name in ("seconds", "rollout")}
    talk = statistics.fmean(sum(part["messages"]) for part in parts) / _UPDATES
    least = sum(map(min, zip(*(part["messages"] for part in parts), strict=True))) / _UPDATES
    learn = mean["seconds"] - mean["rollout"] - talk
    return {"rollout": mean["rollout"], "learn": learn, "all-reduce": least, "waiting for others": talk - least}


def _all_reduce(argument: dict[str, Any]) -> None:
    """Seconds of all-reduces by size, the slowest replica's: round after round, medians of some repeats."""
    torch.set_num_threads(1)
    told: dict[int, list[float]] = {n: [] for n in argument["sizes"]}
    for _ in range(argument["rounds"]):
        for n in argument["sizes"]:
            tensor, times = torch.zeros(n // 4), list[float]()
            for _ in range(1 + argument["repeats"]):
                wait_for_all()
                began = time.perf_counter()
                all_reduce_sum(tensor)
                times.append(time.perf_counter() - began)
            told[n].append(statistics.median(times[1:]))
    _tell(argument, {"sizes": list(told), "seconds": list(told.values()), "workers": num_replicas()})


def _messages(times: Mapping[int, Told]) -> tuple[Link, list[Row]]:
    """All-reduces as they were measured, and alpha and beta that tell them; see `paper`."""
    seconds = {
        (k, n): [max(each) for each in zip(*(told["seconds"][i] for told in replicas), strict=True)]
        for k, replicas in times.items()
        for i, n in enumerate(_SIZES)
    }
    rows = [
        row(f"all-reduce, {k} workers, {n >> 10:,} KiB", "ms", [1e3 * s for s in of]) for (k, n), of in seconds.items()
    ]
    medians = {case: statistics.median(of) for case, of in seconds.items()}
    link = fit({case: s for case, s in medians.items() if case[1] in _SIZES[::2]})
    rows.append(row("all-reduce: alpha, a message passed on", "us", [1e6 * link.alpha]))
    rows.append(row("all-reduce: 1 / beta", "GB/s", [1e-9 / link.beta]))
    for k in times:
        errors = [100 * abs(all_reduce_seconds(n, k, link) / medians[k, n] - 1) for n in _SIZES[1::2]]
        rows.append(row(f"all-reduce, {k} workers: error of the model at sizes it was not fitted to", "%", errors))
    return link, rows


def _model(rounds: Sequence[Mapping[int, Told]], groups: Sequence[int], link: Link) -> list[Row]:
    """Efficiency on paper: here, beside what was measured, and with each worker on a machine of its own.

    Waiting is known from the most workers that were measured here; for fewer the model foretells it.
    """
    most = groups[-1]
    splits = {k: [_split(one[k]) for one in rounds] for k in groups}
    waiting = statistics.median(split["waiting for others"] for split in splits[most])
    compute = statistics.median(one[1][0]["together"]["seconds"] for one in rounds) / _UPDATES
    update = Update(compute, rounds[0][most][0]["together"]["sizes"], waiting, most)
    rows = [row("model: bytes of an update's messages", "KiB", [sum(update.messages) / 1024])]
    for k in groups:
        here = 100 * update.efficiency(k, link, "ring")
        rows.append(row(f"model: {k} workers here: speed beside those that never talk", "%", [here]))
    for network, (latency, bandwidth) in _NETWORKS.items():
        far = link.over(latency, bandwidth)
        for algorithm in ("ring", "tree"):
            for k in _FAR:
                seconds = update.seconds(k, far, algorithm)
                lost = {part: s for part, s in seconds.items() if part != "compute"}
                bound = max(lost, key=lost.__getitem__)
                name = f"model: {k} machines, {network}, {algorithm}, most lost to {bound}: efficiency"
                rows.append(row(name, "%", [100 * update.efficiency(k, far, algorithm)]))
            reach = update.most_workers(far, algorithm, _GOAL)
            rows.append(row(f"model: {network}, {algorithm}: most workers at {100 * _GOAL:.0f} %", "workers", [reach]))
    return rows
