"""The two array backends a world runs on: numpy (default, low latency) and torch (worlds on the learner's device)."""

from typing import Any

import numpy as np

BACKENDS = ("numpy", "torch")


def check_backend(backend: str, device: str | None) -> tuple[str, str | None]:
    """Validate a backend and its device; torch's default device is the CPU.

    Raises:
        ValueError: unknown backend, or a device with numpy, which has none.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "numpy" and device not in (None, "cpu"):
        raise ValueError(f"backend 'numpy' runs on the cpu; for device={device!r} use backend='torch'")
    return backend, (device or "cpu") if backend == "torch" else None


def array_namespace_of(backend: str) -> Any:
    """The array-API namespace of a backend; torch is imported only when asked for."""
    if backend == "numpy":
        return np
    import array_api_compat.torch as xp

    return xp


def to_numpy(array: Any) -> np.ndarray:
    """An array of either backend as a numpy array."""
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()
