"""Nested results of environments, compared to the last bit."""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from gymnasium.utils.env_checker import data_equivalence


def host(data: Any) -> Any:
    """The same nest of dicts, lists and tuples with tensors as numpy arrays."""
    if isinstance(data, torch.Tensor):
        return data.cpu().numpy()
    if isinstance(data, dict):
        return {key: host(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return type(data)(map(host, data)) if type(data) in (list, tuple) else tuple(map(host, data))
    if isinstance(data, np.ndarray) and data.dtype == object:
        rows = np.empty_like(data)
        rows[:] = [host(value) for value in data]
        return rows
    return data


def differ(one: Any, two: Any, path: str = "") -> str:
    """Where two nests first differ in structure, type, dtype or value; empty if nowhere."""
    one, two = host(one), host(two)
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        keys = list(one)
    elif isinstance(one, (list, tuple)) and type(one) is type(two) and len(one) == len(two):
        keys = list(range(len(one)))
    else:
        return "" if data_equivalence(one, two, exact=True) else f"{path}: {one!r} is not {two!r}"
    return next(filter(None, (differ(one[key], two[key], f"{path}[{key!r}]") for key in keys)), "")


def leaves(data: Any) -> list[np.ndarray]:
    """All numeric arrays of a nest."""
    data = host(data)
    if isinstance(data, dict):
        data = list(data.values())
    if isinstance(data, (list, tuple)) or (isinstance(data, np.ndarray) and data.dtype == object):
        return [leaf for part in data for leaf in leaves(part)]
    return [data] if isinstance(data, np.ndarray) and data.size else []


def overlap(arrays: list[np.ndarray]) -> bool:
    """Whether the memory ranges of any two arrays meet."""
    bounds = sorted(np.lib.array_utils.byte_bounds(array) for array in arrays)
    return any(later[0] < earlier[1] for earlier, later in pairwise(bounds))
