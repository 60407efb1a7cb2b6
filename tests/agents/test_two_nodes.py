"""Training across two nodes of Ray, both of them on this machine: what other nodes are to it, but for the network."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from safetensors.torch import load_file

from agents import checkpoint
from agents.distributed import launch
from experiments.recorder import read_metrics
from experiments.train import as_argument
from tests.agents.test_distributed import (
    LOOPBACK,
    PATIENCE,
    children,
    config,
    listening,
    needs_proc,
    wait_for,
    workers_of,
)
from tests.agents.test_distributed import one_thread as one_thread

UPDATES = 40

pytestmark = [
    pytest.mark.timeout(3 * PATIENCE),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # ray.data sets settings that it deprecates itself
]


@contextmanager
def two_nodes():
    """Address of a cluster of two nodes with one CPU each."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 << 20, "node_ip_address": "127.0.0.1"}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        cluster.add_node(**node)
        yield cluster.address
    finally:
        cluster.shutdown()


def work(argument):
    """Train, and tell on which node."""
    import ray

    from agents.distribution import rank
    from experiments.train import train_replica

    (Path(argument["folder"]) / f"node-{rank()}").write_text(ray.get_runtime_context().get_node_id())
    train_replica(argument)


def train_on(folder, address=None):
    folder.mkdir()
    launch(work, as_argument(config(UPDATES, 2), folder), 2, address, folder)


def listening_while_training(folder):
    wait_for(lambda: len(read_metrics(folder)) > 1, seconds=200)
    assert len(workers_of(os.getpid())) == 2
    return listening(children(os.getpid()))


@needs_proc
def test_two_nodes_do_what_one_node_with_two_workers_does(tmp_path):
    """To the bit: a sum over two replicas is one addition, whoever makes it."""
    folders = [tmp_path / name for name in ("one node", "two nodes")]
    train_on(folders[0])
    with two_nodes() as address, ThreadPoolExecutor() as watcher:
        addresses = watcher.submit(listening_while_training, folders[1])
        train_on(folders[1], address)
        assert addresses.result() and addresses.result() <= LOOPBACK
    nodes = [{(folder / f"node-{rank}").read_text() for rank in (0, 1)} for folder in folders]
    assert [len(of) for of in nodes] == [1, 2]
    one, two = (
        [{name: value for name, value in record.items() if "second" not in name} for record in read_metrics(folder)]
        for folder in folders
    )
    assert len(one) == UPDATES and one == two
    for name in ("agent.safetensors", "worlds-0.safetensors", "worlds-1.safetensors"):
        one, two = (load_file(newest / name) for newest in map(checkpoint.newest, folders) if newest)
        assert one.keys() == two.keys() and all(one[key].equal(two[key]) for key in one)
