"""Where workers meet: at the address that Ray itself has on the first worker's node.

Torch's own meeting point listens on every network interface, whatever address it is given.
"""

import ipaddress
import os
import socket
import sys
from dataclasses import dataclass
from typing import Any

import ray
import ray.util
import torch.distributed
from ray.train.backend import Backend
from ray.train.torch import TorchConfig

LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"  # the interface that no other machine reaches


@dataclass
class NodeConfig(TorchConfig):
    """A torch process group that listens only where Ray does; see `TorchConfig`."""

    @property
    def backend_cls(self) -> Any:
        """What Ray Train calls to connect the workers."""
        return NodeBackend


class NodeBackend(Backend):
    """Connects workers of one node or many; the group ends with its processes."""

    share_cuda_visible_devices = True  # as TorchConfig's own: NCCL wants to see its peers' devices

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Make the process group."""
        host, port, listener = worker_group.execute_single(0, _listen)
        size, start = len(worker_group), worker_group.execute_single_async
        place = (backend_config.backend, host, port, listener)
        ray.get([start(worker, _connect, *place, worker, size) for worker in range(size)])


def _listen() -> tuple[str, int, int]:
    """Host, port and file descriptor of a socket of this worker, open before its address is told to anybody."""
    host = ray.util.get_node_ip_address()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family, backlog=4096)
    return host, listener.getsockname()[1], listener.detach()


def _connect(backend: str, host: str, port: int, listener: int, rank: int, size: int) -> None:
    if ipaddress.ip_address(host).is_loopback:  # elsewhere gloo and NCCL take the host's own, or what the user has set
        for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(name, LOOPBACK)
    own = {"is_master": True, "master_listen_fd": listener} if rank == 0 else {}
    store = torch.distributed.TCPStore(host, port, size, wait_for_workers=False, **own)  # pyright: ignore[reportPrivateImportUsage]
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
