"""Where workers of one machine meet: a file. Torch's own meeting point listens on every network interface."""

import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch.distributed
from ray.train.backend import Backend
from ray.train.torch import TorchConfig


@dataclass
class FileConfig(TorchConfig):
    """A torch process group that meets at a file; see `TorchConfig`."""

    @property
    def backend_cls(self) -> Any:
        """What Ray Train calls to connect and disconnect the workers."""
        return FileBackend


class FileBackend(Backend):
    """Connects workers that share a file system."""

    share_cuda_visible_devices = True  # as TorchConfig's own: NCCL wants to see its peers' devices

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Make the process group."""
        self._path = Path(tempfile.gettempdir()) / f"unienv-{uuid.uuid4().hex}"
        place, size = f"file://{self._path}", len(worker_group)
        workers = range(size)
        start = worker_group.execute_single_async
        ray.get([start(worker, _connect, backend_config.backend, place, worker, size) for worker in workers])

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        """Clear up; the group ends with its processes."""
        del worker_group, backend_config
        self._path.unlink(missing_ok=True)


def _connect(backend: str, place: str, rank: int, size: int) -> None:
    torch.distributed.init_process_group(backend, init_method=place, rank=rank, world_size=size)
