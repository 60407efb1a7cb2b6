import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from agents import checkpoint
from experiments.config import build, load
from experiments.progress import MetricsReader, Progress, _tell
from experiments.recorder import METRICS, Recorder, read_metrics
from experiments.run import main
from experiments.train import STOP, _Recent, choose_device, train
from tests.wait import wait_for

ROOT = Path(__file__).parents[2]
SMALL = {
    "ppo": {"worlds": 8, "horizon": 8, "minibatches": 2, "play": 0.0},
    "agent": {"dim": 16, "heads": 2, "hidden": 32},
    "episodes": 16,
    "device": "cpu",
}
UPDATE = 64  # env steps


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums depend on it
    yield
    torch.set_num_threads(threads)


def config(steps, **changes):
    return build(SMALL | {"steps": steps} | changes)


def small(**changes):
    """Arguments of a small run."""
    flat = {f"{group}.{k}": v for group in ("ppo", "agent") for k, v in SMALL[group].items()}
    return [f"{key}={value}" for key, value in (flat | {"episodes": 16, "device": "cpu"} | changes).items()]


def curve(folder):
    clock = ("seconds", "steps_per_second")
    return [{k: v for k, v in record.items() if k not in clock} for record in read_metrics(folder)]


def assert_equal_checkpoints(first, second):
    first, second = checkpoint.newest(first), checkpoint.newest(second)
    assert sorted(p.name for p in first.iterdir()) == sorted(p.name for p in second.iterdir())
    for path in first.iterdir():
        ours, theirs = load_file(path), load_file(second / path.name)
        assert ours.keys() == theirs.keys()
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_ctrl_c_and_resume_give_the_curve_of_one_go(tmp_path):
    steps = 60 * UPDATE
    arguments = small(env="goto", steps=steps, **{"agent.memory": "gru"}, runs=tmp_path)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "experiments/run.py", *arguments, "json=true"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=-1, stderr=-1, text=True) as process:
        try:
            wait_for(lambda: any(len(read_metrics(folder)) > 2 for folder in tmp_path.iterdir()))
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    (folder,) = tmp_path.iterdir()
    assert (process.returncode, err) == (130, f"stopped and saved; continue with resume={folder}\n")
    told = json.loads(out)
    assert told["stopped"] and 2 * UPDATE < told["steps"] < steps and not (folder / STOP).exists()
    assert curve(folder)[-1]["steps"] == told["steps"] == int(checkpoint.newest(folder).name)
    assert main([f"resume={folder}"]) == 0

    (whole := tmp_path / "whole").mkdir()
    train(load(folder), whole)
    assert curve(folder) == curve(whole)
    assert len(curve(whole)) == 60
    assert_equal_checkpoints(folder, whole)


def test_a_crash_loses_only_what_came_after_the_newest_checkpoint(tmp_path):
    whole, crashed = tmp_path / "whole", tmp_path / "crashed"
    for folder in (whole, crashed):
        folder.mkdir()
        if folder is crashed:
            (folder / STOP).touch()
            for _ in range(2):
                train(config(6 * UPDATE), folder)
            (folder / STOP).unlink()
            (folder / "checkpoints" / "0000000192.part").mkdir()
            (folder / "checkpoints" / "0000000192.part" / "agent.safetensors").write_bytes(b"half")
            with (folder / METRICS).open("a") as file:
                file.write('{"steps": 192, "seconds": 9}\n{"steps": 256, "sec')
        train(config(6 * UPDATE), folder, save_every=0.0)
    assert [record["steps"] for record in curve(crashed)] == [UPDATE * i for i in range(1, 7)]
    assert curve(crashed) == curve(whole)
    assert_equal_checkpoints(crashed, whole)
    assert sorted(p.name for p in (whole / "checkpoints").iterdir()) == ["0000000320", "0000000384"]


def test_a_finished_run_that_is_resumed_does_nothing(tmp_path):
    for _ in range(2):
        train(config(2 * UPDATE), tmp_path)
    assert [record["steps"] for record in curve(tmp_path)] == [UPDATE, 2 * UPDATE]


def test_training_ends_once_it_succeeds_often_enough_and_goes_on_only_for_more(tmp_path):
    for _ in range(2):
        train(config(100 * UPDATE, until=0.0), tmp_path)
        ended = curve(tmp_path)
        assert 1000 <= sum(record["episodes"] for record in ended) < 1000 + UPDATE
    train(config((len(ended) + 2) * UPDATE, until=1.0), tmp_path)
    assert len(curve(tmp_path)) == len(ended) + 2


def test_success_is_judged_over_the_latest_episodes_also_of_before():
    poor, rich = {"episodes": 400, "success": 0.1}, {"episodes": 400, "success": 0.9}
    none = [{"episodes": 0, "success": None}, {"steps": 64}]  # a damaged line may lack either
    assert not _Recent([rich, rich]).reached(0.0)
    recent = _Recent([poor, rich, *none, rich])
    assert not recent.reached(0.9) and recent.reached(0.5)
    recent.add(rich)
    assert recent.reached(0.9) and not recent.reached(None)


def write(folder, *steps, end="\n"):
    lines = [json.dumps({"steps": n, "seconds": n / 10, "episodes": 0, "steps_per_second": 1.0}) for n in steps]
    (folder / METRICS).write_text("\n".join(lines) + end)


@pytest.mark.parametrize(
    "tail", ["", '{"steps": 40', '{"steps": 40, "seconds": 4}', "\x00\xff", '{"st\n{"steps": 50}\n']
)
def test_a_recorder_cuts_back_to_the_checkpoint(tmp_path, tail):
    write(tmp_path, 10, 20, 30)
    with (tmp_path / METRICS).open("a", encoding="latin-1") as file:
        file.write(tail)
    recorder = Recorder(tmp_path, 20)
    assert recorder.seconds == 2.0
    recorder.write({"steps": 30, "success": None, "seconds": 2.5})
    assert [record["steps"] for record in read_metrics(tmp_path)] == [10, 20, 30]  # without waiting for close
    recorder.close()
    assert read_metrics(tmp_path)[-1] == {"steps": 30, "success": None, "seconds": 2.5}
    assert not list(tmp_path.glob("*.part"))


def test_a_recorder_begins_anew_without_a_checkpoint(tmp_path):
    write(tmp_path, 10, 20)
    recorder = Recorder(tmp_path, 0)
    recorder.close()
    assert (recorder.seconds, read_metrics(tmp_path)) == (0.0, [])


def test_tensorboard_shows_each_step_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, values in ((0, (1.0, 2.0, 3.0)), (20, (4.0, 5.0))):
        recorder = Recorder(tmp_path, start)
        for i, value in enumerate(values, start=1):
            recorder.write({"steps": start + 10 * i, "seconds": 1.0, "success": value})
        recorder.close()
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in board.Scalars("success")] == [(10, 1.0), (20, 2.0), (30, 4.0), (40, 5.0)]


def test_a_reader_takes_whole_lines_once(tmp_path):
    reader = MetricsReader(tmp_path / METRICS)
    assert reader.new() == []
    write(tmp_path, 10, 20, end='\n{"steps"')
    assert [record["steps"] for record in reader.new()] == [10, 20]
    assert reader.new() == []
    with (tmp_path / METRICS).open("a") as file:
        file.write(": 30}\n")
    assert reader.new() == [{"steps": 30}]


def test_a_reader_notices_that_a_file_was_cut_back(tmp_path):
    write(tmp_path, 10, 20, 30)
    reader = MetricsReader(tmp_path / METRICS)
    assert len(reader.new()) == 3
    recorder = Recorder(tmp_path, 10)
    for steps in (21, 31, 41, 51):  # longer than before when it is looked at again
        recorder.write({"steps": steps})
    assert [record["steps"] for record in reader.new()] == [10, 21, 31, 41, 51]
    recorder.close()


def test_progress_is_silent_where_nobody_watches(tmp_path, capsys):
    write(tmp_path, 64)
    with Progress(tmp_path, config(640), Console(stderr=True)):
        time.sleep(0.3)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("record", [{"steps": 64}, {"steps": 64, "episodes": 3}, {"steps": 64, "success": None}])
def test_progress_tells_what_there_is(record):
    assert _tell(deque([record])) == "0 steps/s"


@pytest.mark.parametrize("name", ["mps", "xla", "meta", "cuda:99"])
def test_a_device_that_is_not_here_is_told(monkeypatch, name):
    if name == "mps":  # some machines have it
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: None)
    with pytest.raises(ValueError, match=rf"^device={name}: torch finds no such device here; use device=cpu$"):
        choose_device(name)


def test_an_accelerator_of_any_kind_is_a_device(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: torch.device("xpu"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert [choose_device(name) for name in ("xpu", "xpu:1")] == [torch.device("xpu"), torch.device("xpu:1")]
    for name in ("xpu:2", "cuda"):
        with pytest.raises(ValueError, match=f"^device={name}: "):
            choose_device(name)
