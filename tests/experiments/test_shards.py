import dataclasses
import io
from contextlib import nullcontext

import numpy as np
import pytest
from rich.console import Console

from agents.distributed import RayLostError, session
from experiments.config import RayConfig
from experiments.shards import estimate_shards
from tests.unienv.separability.test_shards import columns
from tests.unienv.separability.test_tally import draw
from unienv.separability.estimate import estimate
from unienv.separability.shards import find

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]


def write(folder, data, kind, shards, seed=0):
    """Data in some shards, cut between episodes anywhere."""
    generator = np.random.default_rng(seed)
    between = np.flatnonzero(np.diff(data.episode)) + 1
    cuts = np.sort(generator.permutation(between)[: shards - 1])
    folder.mkdir(parents=True)
    for number, rows in enumerate(np.split(np.arange(len(data)), cuts)):
        part = data.select(rows)
        if kind == "npz":
            part.save(folder / f"{number}.npz")
        else:
            pq.write_table(pa.table(columns(part)), folder / f"{number}.parquet")
    return folder


def measure(folder, workers=0, console=None):
    return estimate_shards(find(folder), RayConfig(workers), 3, console or Console(quiet=True))


@pytest.fixture(scope="module")
def told():
    """2000 transitions, and what they say in memory."""
    data = draw(2000)
    return data, estimate(data, "table", seed=3)


@pytest.mark.parametrize("kind", ["npz", "parquet"])
@pytest.mark.parametrize("shards", [1, 2, 17])
def test_shards_say_what_their_transitions_say_in_memory(tmp_path, told, kind, shards):
    data, whole = told
    found = measure(write(tmp_path / "data", data, kind, shards, seed=shards))
    assert dataclasses.replace(found.estimate, modalities=whole.modalities) == whole
    assert set(found.estimate.modalities) == set(whole.modalities)
    assert found.table.count.sum() == 2000 and found.seconds > 0


def test_workers_say_the_same_and_their_mistakes_are_one_line(tmp_path, told, monkeypatch):
    data, whole = told
    bad = pa.table({"a": ["x", None], "b": [1, 2], "action": [0, 0], "feedback": [0, 1]})
    (tmp_path / "bad").mkdir()
    pq.write_table(bad, tmp_path / "bad" / "0.parquet")
    write(tmp_path / "data", data, "npz", 5)

    def lost():
        raise RayLostError("the raylet was lost")

    with session(2, None) as check:  # one for all
        monkeypatch.setattr("experiments.shards.session", lambda *_: nullcontext(check))
        assert measure(tmp_path / "data", workers=2).estimate == whole
        with pytest.raises(ValueError, match=r"\A[^\n]*0\.parquet can't be read as transitions: a lacks 1 values\Z"):
            measure(tmp_path / "bad", workers=2)
        monkeypatch.setattr("experiments.shards.session", lambda *_: nullcontext(lost))
        with pytest.raises(RayLostError, match="the raylet was lost"):  # and not without an end
            measure(tmp_path / "data", workers=2)


def test_an_episode_in_two_shards_is_one_line(tmp_path, told):
    folder = write(tmp_path / "data", told[0], "npz", 5)
    (folder / "3.npz").write_bytes((folder / "2.npz").read_bytes())
    with pytest.raises(ValueError, match=r"\Aan episode must lie in one shard[^\n]*number them through\Z"):
        measure(folder)


def test_rows_without_episodes_do_not_depend_on_each_other(tmp_path, told):
    data, _ = told
    (tmp_path / "data").mkdir()
    for number, rows in enumerate(np.split(np.arange(2000), [100, 1500])):
        table = columns(data.select(rows))
        del table["episode"]
        pq.write_table(pa.table(table), tmp_path / "data" / f"{number}.parquet")
    data = data.select(np.arange(2000))
    data.episode = np.arange(2000)
    found, whole = measure(tmp_path / "data").estimate, estimate(data, "table", seed=3)
    assert dataclasses.replace(found, modalities=whole.modalities) == whole and found.episodes == 2000


def test_progress_is_drawn_on_a_terminal(tmp_path, told):
    console = Console(force_terminal=True, width=100, record=True, file=io.StringIO())
    measure(write(tmp_path / "data", told[0], "npz", 3), console=console)
    drawn = console.export_text()
    assert "counting" in drawn and "2000/2000" in drawn and "testing" in drawn
