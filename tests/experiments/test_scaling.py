import json
import math

import pytest
import torch

from experiments.benchmark import scaling
from experiments.benchmark.paper import Link, Update, all_reduce_seconds, fit, lateness

LINK = Link(alpha=1e-5, beta=1e-9)
MIB = 1 << 20


def test_a_ring_of_two_sends_the_tensor_once_in_two_passes():
    assert all_reduce_seconds(MIB, 2, LINK) == pytest.approx(2e-5 + MIB * 1e-9)


def test_rings_pass_on_from_neighbour_to_neighbour_and_trees_by_doubling():
    assert all_reduce_seconds(0, 64, LINK, "ring") == pytest.approx(126e-5)
    assert all_reduce_seconds(0, 64, LINK, "tree") == pytest.approx(12e-5)
    ring, tree = (all_reduce_seconds(100 * MIB, 512, Link(0, 1e-9), how) for how in ("ring", "tree"))
    assert ring == tree == pytest.approx(2 * 511 / 512 * 100 * MIB * 1e-9)


def test_the_fit_finds_what_times_were_made_of():
    cases = [(k, n) for k in (2, 4) for n in (4096, 65536, MIB, 16 * MIB)]
    found = fit({(k, n): all_reduce_seconds(n, k, LINK) for k, n in cases})
    assert found == pytest.approx(LINK)
    doubled = fit({(k, n): 2 * all_reduce_seconds(n, k, LINK) for k, n in cases})
    assert doubled == pytest.approx((2e-5, 2e-9))
    assert fit({(2, 4096): 1e-3, (2, MIB): 1e-3}).beta >= 0


def test_the_last_of_k_is_late_by_the_mean_of_the_largest_of_k_normal_numbers():
    assert lateness(1) == pytest.approx(0, abs=1e-9)
    assert lateness(2) == pytest.approx(1 / math.sqrt(math.pi))
    drawn = torch.randn(40_000, 64, generator=torch.Generator().manual_seed(0)).amax(dim=1).mean()
    assert lateness(64) == pytest.approx(drawn.item(), rel=0.01)


def test_efficiency_is_what_computing_is_of_the_whole():
    update = Update(compute=1.0, messages=[MIB, MIB, 0], waiting=0.0, waiters=2)
    talk = 3 * 2e-5 + 2 * MIB * 1e-9
    assert update.efficiency(2, LINK, "ring") == pytest.approx(1 / (1 + talk))
    assert update.efficiency(1, LINK, "ring") == 1
    late = update._replace(messages=[], waiting=0.25)
    assert late.efficiency(2, LINK, "ring") == pytest.approx(0.8)
    assert late.seconds(8, LINK, "ring")["waiting"] == pytest.approx(0.25 * lateness(8) / lateness(2))


def test_most_workers_is_where_the_ring_grows_too_long():
    update = Update(compute=1.0, messages=[0], waiting=0.0, waiters=2)
    link = Link(alpha=1e-3, beta=0.0)  # a ring of k takes 2 (k - 1) ms: 0.25 s is reached at k = 126
    assert update.most_workers(link, "ring", 0.8) == 64
    assert update.most_workers(link, "ring", 1.0) == 1
    assert update.most_workers(Link(0, 0), "tree", 0.8, limit=256) == 256


def test_a_network_adds_its_latency_and_the_slower_sets_the_pace():
    assert LINK.over(5e-6, 12.5e9) == pytest.approx((1.5e-5, 1e-9))
    assert LINK.over(0.0, 1e8) == pytest.approx((1e-5, 1e-8))


def replica(seconds, rollout, messages):
    part = {"seconds": seconds, "rollout": rollout, "messages": messages, "sizes": [MIB, 16]}
    return {"together": part, "apart": {**part, "seconds": seconds / 2}, "memory": {"PSS": 100.0}}


def test_what_a_round_tells(monkeypatch):
    """One update each: two workers take 2.5 s for what one does in 2 s; the second comes late to both messages."""
    monkeypatch.setattr(scaling, "_UPDATES", 1)
    pair = [replica(2.5, 1.0, [0.3, 0.3]), replica(2.5, 1.2, [0.1, 0.1])]
    rows = {row["name"]: row["median"] for row in scaling._training([{1: [replica(2.0, 1.0, [])], 2: pair}])}
    assert rows["goto, 1 worker"] == 256 * 16 / 2
    assert rows["goto, 2 workers: efficiency"] == pytest.approx(80)
    assert rows["goto, 2 workers that never talk: efficiency"] == pytest.approx(160)
    assert rows["goto, 2 workers: speed beside those that never talk"] == pytest.approx(50)
    told = [rows[f"goto, 2 workers: {part} of an update"] for part in ("rollout", "learn", "all-reduce")]
    assert told == pytest.approx([1100, 1000, 200])
    assert rows["goto, 2 workers: waiting for others of an update"] == pytest.approx(200)
    assert rows["goto, 2 workers: PSS of a worker"] == 100


def test_messages_are_fitted_on_half_of_the_sizes_and_checked_on_the_others():
    times = {
        k: [{"seconds": [[all_reduce_seconds(n, k, LINK)] * 3 for n in scaling._SIZES]} for _ in range(k)]
        for k in (2, 4)
    }
    for told in times[4]:
        told["seconds"][1] = [2 * all_reduce_seconds(16384, 4, LINK)] * 3  # 16 KiB, which is not fitted
    link, rows = scaling._messages(times)
    assert link == pytest.approx(LINK)
    two, four = (row for row in rows if "not fitted" in row["name"])
    assert two["most"] == pytest.approx(0, abs=1e-6)
    assert (four["least"], four["most"]) == pytest.approx((0, 50), abs=1e-6)


def test_the_model_names_what_bounds_it(monkeypatch):
    monkeypatch.setattr(scaling, "_UPDATES", 1)
    rounds = [{1: [replica(2.0, 1.0, [])], 2: [replica(2.0, 1.0, [0.1, 0.1]) for _ in range(2)]}]
    names = [row["name"] for row in scaling._model(rounds, [2], Link(alpha=1.0, beta=0.0))]
    assert all("latency" in name for name in names if "machines" in name) and len(names) == 2 + 2 * 2 * 4


def test_a_replica_alone_tells_its_times_and_its_memory(tmp_path, monkeypatch):
    threads, send = torch.get_num_threads(), torch.distributed.all_reduce
    config = {"env": {"id": "match"}, "device": "cpu", "ppo": {"play": 0.0, "worlds": 8, "minibatches": 2}}
    scaling._train({"config": config, "updates": 2, "folder": str(tmp_path)})
    told = json.loads((tmp_path / "0.json").read_text())
    assert 0 < told["together"]["rollout"] < told["together"]["seconds"] and told["together"]["messages"] == []
    assert all(told["memory"][kind] > 50 for kind in told["memory"])
    assert torch.distributed.all_reduce is send
    scaling._all_reduce({"sizes": [4096, 8192], "rounds": 3, "repeats": 2, "folder": str(tmp_path)})
    told = json.loads((tmp_path / "0.json").read_text())
    assert told["sizes"] == [4096, 8192] and [len(seconds) for seconds in told["seconds"]] == [3, 3]
    torch.set_num_threads(threads)
