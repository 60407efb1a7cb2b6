import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from agents import checkpoint
from agents.distributed import TRIES, _prepare_environment, launch
from experiments.config import build
from experiments.recorder import read_metrics
from experiments.train import as_argument, train, train_replica
from tests.wait import wait_for as wait

ROOT = Path(__file__).parents[2]
UPDATE = 64  # env steps
PATIENCE = 240.0  # seconds that a machine with other work may take over anything
wait_for = partial(wait, seconds=PATIENCE)
pytestmark = [
    pytest.mark.timeout(3 * PATIENCE),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # ray.data sets settings that it deprecates itself
]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums depend on it
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(threads)


def config(updates, workers, **changes):
    small = {
        "ppo": {"worlds": 8, "horizon": 8, "minibatches": 2, "play": 0.0},
        "agent": {"dim": 16, "heads": 2, "hidden": 32},
    }
    return build({**small, "device": "cpu", "steps": updates * UPDATE, "ray": {"workers": workers}} | changes)


def children(pid):
    """Processes below `pid`, by pid, with their names."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition(" (")[2].rpartition(") ")
        except OSError:
            continue
        parents[int(stat.parent.name)] = (int(rest.split()[1]), name)
    found, level = {}, {pid}
    while level:
        level = {child for child, (parent, _) in parents.items() if parent in level}
        found |= {child: parents[child][1] for child in level}
    return found


def workers_of(pid):
    return sorted(child for child, name in children(pid).items() if name.startswith("ray::RayTrainWo"))


def listening(pids):
    """Addresses, in hexadecimal, at which processes listen to TCP."""
    held = set()
    for pid in pids:
        try:
            held |= {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
        except OSError:
            continue
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in held}


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
needs_proc = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks at processes in /proc")


def test_one_worker_does_what_training_in_process_does(tmp_path):
    for workers, folder in enumerate((tmp_path / "here", tmp_path / "ray")):
        folder.mkdir()
        if workers:
            settings = config(5, workers)
            launch(train_replica, as_argument(settings, folder), workers, None, folder)
        else:
            train(config(5, workers), folder)
    here, ray = (read_metrics(tmp_path / name) for name in ("here", "ray"))
    assert len(here) == 5
    for ours, theirs in zip(here, ray, strict=True):
        told = {key: value for key, value in ours.items() if "second" not in key}
        assert {key: theirs[key] for key in told} == pytest.approx(told, rel=1e-3, abs=1e-4)
    ours, theirs = (load_file(checkpoint.newest(tmp_path / name) / "agent.safetensors") for name in ("here", "ray"))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two replicas leave behind that do all that needs two of them, one thing after another, and then fail.

    Starting Ray takes longer than any of it.
    """
    folder = tmp_path_factory.mktemp("two")
    (folder / "over").mkdir()
    train(config(100, 0, until=0.0), folder / "over")
    curve = read_metrics(folder / "over")

    def work(argument):
        import json
        import os
        import time
        from pathlib import Path

        import torch

        from agents import checkpoint
        from agents.distribution import all_reduce_sum, rank
        from encoders.tensors import save_tensors
        from experiments.config import build
        from experiments.train import make_learner, train_replica

        folder = Path(argument["folder"])
        with (folder / f"calls-{rank()}").open("a") as file:
            file.write("x")
        learner = make_learner(build(argument["config"]))
        told = [learner.update() for _ in range(3)][-1]
        told |= {"threads": torch.get_num_threads(), "OMP": os.environ["OMP_NUM_THREADS"], "cwd": os.getcwd()}
        told |= {"backend": torch.distributed.get_backend(), "worlds": learner.envs.num_envs, "nice": os.nice(0)}
        save_tensors(folder / f"{rank()}.safetensors", learner.network.state_dict())
        save_tensors(folder / f"worlds-{rank()}.safetensors", learner.collector.tensors())
        (folder / f"{rank()}.json").write_text(json.dumps(told))

        train_replica(argument["over"])

        def slowly(aside, complete=checkpoint.complete):
            time.sleep(0.5)
            return complete(aside)

        checkpoint.complete = slowly
        for _ in range(2):
            learner.save(folder / "saved")

        all_reduce_sum(torch.ones(1))
        if rank() == 1:
            raise KeyError("no such tile\nin row 3")
        all_reduce_sum(torch.ones(1))

    settings = config(3, 2)
    settings.agent.imagine = 1  # dreams are drawn by each replica on its own
    over = as_argument(config(100, 2, until=0.0), folder / "over")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError) as failure:
        patch.delenv("OMP_NUM_THREADS", raising=False)
        launch(work, {**as_argument(settings, folder), "over": over}, 2, None, folder)
    return folder, curve, str(failure.value)


def test_replicas_stay_equal_in_worlds_of_their_own(two):
    folder, _, _ = two
    first, second = (load_file(folder / f"{rank}.safetensors") for rank in (0, 1))
    assert len(first) > 10 and all(torch.equal(first[name], second[name]) for name in first)
    first, second = (load_file(folder / f"worlds-{rank}.safetensors") for rank in (0, 1))
    worlds = [name for name in first if name.startswith("worlds.")]
    assert worlds and not all(torch.equal(first[name], second[name]) for name in worlds)
    told = [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]
    shared = ("steps", "episodes", "success", "return", "length")
    assert [told[0][key] for key in shared] == [told[1][key] for key in shared]
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    for replica in told:
        assert (replica["steps"], replica["episodes"], replica["worlds"]) == (3 * UPDATE, UPDATE, 4)
        assert (replica["threads"], replica["OMP"]) == (threads, str(threads))
        assert (replica["cwd"], replica["backend"], replica["nice"]) == (os.getcwd(), "gloo", os.nice(0))


def test_checkpoints_one_after_another_do_not_meet(two):
    saved = two[0] / "saved"
    assert [path.name for path in (saved / "checkpoints").iterdir()] == [f"{3 * UPDATE:010d}"]
    assert len(list(checkpoint.newest(saved).iterdir())) == 3


def test_a_run_that_has_succeeded_often_enough_is_over_for_all_replicas(two):
    folder, curve, _ = two
    assert 1000 <= sum(record["episodes"] for record in curve) < 1000 + UPDATE
    assert read_metrics(folder / "over") == curve


def test_an_exception_in_a_worker_ends_the_run_with_one_line(two):
    folder, _, said = two
    assert re.fullmatch(r"a worker failed: KeyError: 'no such tile\\nin row 3'; more in \S+", said)
    assert [(folder / f"calls-{rank}").read_text() for rank in (0, 1)] == ["x", "x"]  # it would only come again
    assert "Traceback" in (folder / "ray" / "failure.txt").read_text()


@needs_proc
def test_a_killed_worker_is_replaced_and_nothing_is_lost(tmp_path, capfd):
    updates, seen = 100, {}

    def kill():
        wait_for(lambda: len(read_metrics(tmp_path)) > 20 and checkpoint.newest(tmp_path))
        seen["listening"] = listening(children(os.getpid()))
        seen["workers"] = workers_of(os.getpid())
        os.kill(seen["workers"][1], signal.SIGKILL)
        seen["killed after"] = len(read_metrics(tmp_path))

    killer = threading.Thread(target=kill)
    killer.start()
    settings = config(updates, 2)
    launch(train_replica, as_argument(settings, tmp_path, save_every=0.3), 2, None, tmp_path)
    killer.join()
    assert capfd.readouterr() == ("", "")
    assert len(seen["workers"]) == 2 and 20 < seen["killed after"] < updates
    assert seen["listening"] and seen["listening"] <= LOOPBACK
    assert [record["steps"] for record in read_metrics(tmp_path)] == [UPDATE * i for i in range(1, updates + 1)]
    assert {record["episodes"] for record in read_metrics(tmp_path)} == {UPDATE}  # of both replicas' worlds
    assert int(checkpoint.newest(tmp_path).name) == updates * UPDATE
    wait_for(lambda: not any("ray" in name for name in children(os.getpid()).values()))


@needs_proc
def test_ctrl_c_saves_and_says_how_to_continue(tmp_path):
    arguments = ["steps=1000000", "ppo.worlds=8", "ppo.horizon=8", "ppo.minibatches=2", "agent.dim=16", "agent.heads=2"]
    command = [sys.executable, "experiments/run.py", *arguments, "ray.workers=2", "json=true", f"runs={tmp_path}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=-1, stderr=-1, text=True, start_new_session=True) as process:
        try:
            wait_for(lambda: any(len(read_metrics(folder)) > 5 for folder in tmp_path.iterdir()))
            below = children(process.pid)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
            out, err = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    (folder,) = tmp_path.iterdir()
    assert (process.returncode, err) == (130, f"stopped and saved; continue with resume={folder}\n")
    told = json.loads(out)
    assert told["stopped"] and told["steps"] == read_metrics(folder)[-1]["steps"]
    names = {path.name for path in checkpoint.newest(folder).iterdir()}
    assert names == {"agent.safetensors", "worlds-0.safetensors", "worlds-1.safetensors"}
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:1", "nohost.invalid:6379", "ray://127.0.0.1:10001", ":1"])
def test_a_cluster_out_of_reach_is_told_at_once(tmp_path, address):
    began = time.monotonic()
    with pytest.raises(RuntimeError, match=r"^ray\.address.*$"):
        launch(train_replica, {}, 2, address, tmp_path)
    assert time.monotonic() - began < 60  # Ray itself would try for minutes


def test_what_listens_but_is_no_port_number(tmp_path):
    with socket.create_server(("127.0.0.1", 0)), pytest.raises(RuntimeError, match=r"^ray\.address.*99999999.*$"):
        launch(train_replica, {}, 2, "127.0.0.1:99999999", tmp_path)


@pytest.mark.parametrize("own", [None, "7"])
def test_tasks_killed_for_want_of_memory_are_not_tried_for_ever_unless_the_user_wants_it(monkeypatch, own):
    name = "RAY_task_oom_retries"  # as Ray spells it
    monkeypatch.setattr(os, "environ", {name: own} if own else {})
    _prepare_environment(alone=False)
    assert os.environ[name] == (own or str(TRIES - 1))
