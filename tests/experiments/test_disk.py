"""What is left, and what a user reads, when a disk refuses and when files of a run are damaged."""

import errno
import json
import math
import os
import resource
import shutil
from pathlib import Path

import pytest
import torch

from agents import checkpoint
from encoders.tensors import load_tensors, save_tensors
from experiments import run
from experiments.recorder import read_metrics
from experiments.studies import training
from tests.experiments.fragile import LEFT_OPEN, TINY, UPDATE

pytestmark = [*LEFT_OPEN, pytest.mark.usefixtures("undrawn")]


def contents(folder):
    """Bytes of the files of a run folder, by path."""
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return {path: (folder / path).read_bytes() for path in paths}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run folder of a training of one update."""
    runs = tmp_path_factory.mktemp("runs")
    assert run.main([*TINY, f"steps={UPDATE}", f"runs={runs}"]) == 0
    return next(runs.iterdir())


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def go_on(folder):
    return run.main([f"resume={folder}", f"steps={2 * UPDATE}"])


def expect_refusal(folder, capsys, path, why):
    """Going on ends with status 1 and one line that names `path`; files of before are whole."""
    before = {
        name: data for name, data in contents(folder).items() if name.name not in ("metrics.jsonl", "config.yaml")
    }
    capsys.readouterr()
    assert go_on(folder) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"error: can't write {path}: {why}; mend that, then continue with resume={folder}\n")
    assert {name: data for name, data in contents(folder).items() if name in before} == before
    assert read_metrics(folder)[0]["steps"] == UPDATE
    assert not [path for path in folder.rglob("*.part") if path.is_file() or path.is_symlink()]


full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@full
@pytest.mark.parametrize("name", ["metrics.jsonl", "summary.json", "report.html"])
def test_a_full_disk_where_a_file_is_written_anew(folder, capsys, monkeypatch, name):
    training_run = training.run

    def onto_a_full_disk(config, folder, console):
        (folder / f"{name}.part").symlink_to("/dev/full")
        return training_run(config, folder, console)

    monkeypatch.setattr(training, "run", onto_a_full_disk)
    old = (folder / name).read_bytes()
    if name == "report.html":  # the summary before it is a new one
        (folder / "summary.json").unlink()
    if name != "metrics.jsonl":
        shutil.rmtree(folder / "tensorboard")
        (folder / "episodes.npz").unlink()
    expect_refusal(folder, capsys, folder / name, os.strerror(errno.ENOSPC))
    assert (folder / name).read_bytes() == old
    monkeypatch.undo()
    assert go_on(folder) == 0
    assert [record["steps"] for record in read_metrics(folder)] == [UPDATE, 2 * UPDATE]


def test_a_full_disk_at_a_checkpoint(folder, capsys):
    path = folder / "checkpoints" / f"{2 * UPDATE:010d}.part" / "agent.safetensors"
    size = (checkpoint.newest(folder) / "agent.safetensors").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, hard))
        expect_refusal(folder, capsys, path, os.strerror(errno.EFBIG))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (folder / "checkpoints").iterdir()] == [f"{UPDATE:010d}"]
    assert go_on(folder) == 0 and len(read_metrics(folder)) == 2


def test_a_folder_that_takes_no_files(folder, capsys):
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").write_text("in the way")
    path = folder / "checkpoints" / f"{2 * UPDATE:010d}.part"
    expect_refusal(folder, capsys, path, os.strerror(errno.ENOTDIR))


@pytest.mark.parametrize("runs", ["taken/runs", "/proc/runs"])
def test_no_place_for_run_folders(tmp_path, capsys, runs):
    (tmp_path / "taken").write_text("in the way")
    assert run.main([*TINY, f"runs={tmp_path / runs}"]) == 2
    out, err = capsys.readouterr()
    assert (
        out == "" and err.startswith(f"error: runs={tmp_path / runs} can't hold run folders: ") and err.count("\n") == 1
    )


def remade(change):
    """Damage: a file with some tensors changed."""

    def damage(path):
        save_tensors(path, change(load_tensors(path)))

    return damage


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def lie(path):
    """The header promises more than there is."""
    data = path.read_bytes()
    path.write_bytes((len(data) * 9).to_bytes(8, "little") + data[8:])


def grown(name):
    return remade(lambda held: held | {name: torch.ones(3, 5)})


def without(name):
    return remade(lambda held: {key: value for key, value in held.items() if key != name})


@pytest.mark.parametrize("damage", [cut, lie, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("file", ["agent", "worlds-0"])
def test_a_damaged_checkpoint(folder, capsys, file, damage):
    expect_no_start(folder, capsys, file, damage)


def test_a_checkpoint_without_its_agent(folder, capsys):
    expect_no_start(folder, capsys, "agent", Path.unlink)


def test_a_checkpoint_without_a_replicas_worlds(folder):
    (checkpoint.newest(folder) / "worlds-0.safetensors").unlink()
    assert go_on(folder) == 0  # as a replica that joined since: new episodes


@pytest.mark.parametrize(
    "file, damage",
    [
        ("agent", grown("steps")),
        ("agent", without("steps")),
        ("agent", remade(lambda held: held | {"steps": torch.tensor(math.nan)})),
        ("agent", remade(lambda held: held | {"steps": torch.tensor(-5)})),
        ("agent", grown("network.psi.queries")),
        ("agent", remade(lambda held: {name: value[..., None] for name, value in held.items()})),
        ("agent", remade(lambda held: {k: v[None] if k.endswith("exp_avg") else v for k, v in held.items()})),
        ("worlds-0", without("actions")),
        ("worlds-0", without("carry")),
        ("worlds-0", without("worlds.episode")),
        ("worlds-0", grown("worlds.episode")),
        ("worlds-0", grown("minibatches")),
        ("worlds-0", remade(lambda held: held | {"returns": held["returns"][:2]})),
        ("worlds-0", remade(lambda held: {name: value.float() for name, value in held.items()})),
    ],
)
def test_a_tampered_checkpoint(folder, capsys, file, damage):
    expect_no_start(folder, capsys, file, damage)


def expect_no_start(folder, capsys, file, damage):
    """Going on ends with status 1 and one line; what is there stays as it is."""
    newest = checkpoint.newest(folder)
    damage(newest / f"{file}.safetensors")
    before = contents(folder)
    capsys.readouterr()
    assert go_on(folder) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1, err
    assert str(newest) in err
    after = contents(folder)
    assert {name for name in before if after.get(name) != before[name]} <= {Path("config.yaml")}


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\n", b'{"steps": "many"}\n', b'{"steps": 64}\n{"st', b'{"steps": 64, "success": "x"}\n']
)
def test_damaged_metrics(folder, content):
    (folder / "metrics.jsonl").write_bytes(content)
    assert run.main([f"resume={folder}"]) == 0  # of a finished run, which adds none
    assert go_on(folder) == 0
    assert [record["steps"] for record in read_metrics(folder)][-1] == 2 * UPDATE
    assert (folder / "report.html").stat().st_size > 10_000


def test_a_finished_run_without_metrics(folder):
    (folder / "metrics.jsonl").unlink()
    assert run.main([f"resume={folder}"]) == 0
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["steps"], summary["seconds"], summary["steps_per_second"]) == (UPDATE, None, None)
    assert (folder / "report.html").stat().st_size > 10_000
