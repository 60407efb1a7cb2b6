import gc
import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch

from tests.compare import leaves, overlap
from unienv.buffers import Buffers, aligned

SHAPE = (4, 256, 256, 3)  # larger than what the pool leaves to the allocator
HOLDERS = {
    "array": lambda array: array,
    "row": lambda array: array[2],
    "view of a view": lambda array: array[1:][0, ::2].T[0],
    "other type": lambda array: array.reshape(-1).view(np.int32),
    "dict of rows": lambda array: [{"image": row} for row in array],
    "tensor": torch.from_numpy,
    "tensor of a row": lambda array: torch.from_numpy(array[3])[5:].permute(2, 0, 1),
    "memory view": memoryview,
}


def address(array):
    return array.__array_interface__["data"][0]


def content(held):
    """Bytes of whatever holds an array."""
    if isinstance(held, list):
        return b"".join(row["image"].tobytes() for row in held)
    return np.asarray(held).tobytes()


@pytest.mark.parametrize("holder", HOLDERS)
def test_memory_is_not_taken_again_while_somebody_looks(holder):
    buffers = Buffers()
    array = buffers.empty(SHAPE)
    array[...] = 7
    held = HOLDERS[holder](array)
    del array
    before = content(held)
    for value in range(8, 14):
        buffers.empty(SHAPE)[...] = value
    assert content(held) == before


@pytest.mark.parametrize("holder", HOLDERS)
def test_memory_is_taken_again_once_nobody_looks(holder):
    buffers = Buffers()
    array = buffers.empty(SHAPE)
    where = address(array)
    held = HOLDERS[holder](array)
    del array
    assert address(buffers.empty(SHAPE)) != where
    del held
    gc.collect()
    taken = [buffers.empty(SHAPE) for _ in range(4)]
    assert where in map(address, taken)
    assert not overlap(taken)


def test_one_buffer_serves_a_loop_that_keeps_nothing():
    buffers = Buffers()
    assert len({address(buffers.empty(SHAPE)) for _ in range(20)}) == 1


def test_two_buffers_serve_a_loop_that_keeps_the_last():
    buffers, last, seen = Buffers(), None, set()
    for _ in range(20):
        last = buffers.empty(SHAPE)
        seen.add(address(last))
    assert len(seen) == 2 and address(last) in seen


def test_hoarded_arrays_stay_as_they_are():
    buffers = Buffers()
    hoard = [buffers.empty(SHAPE) for _ in range(30)]
    for value, array in enumerate(hoard):
        array[...] = value
    assert not overlap(hoard)
    assert all((array == value).all() for value, array in enumerate(hoard))


def test_sizes_mix():
    buffers, rng, hoard = Buffers(), np.random.default_rng(0), []
    for value in range(60):
        array = buffers.empty((int(rng.integers(1, 30)), 64, 64, 3))
        assert array.dtype == np.uint8 and array.flags.c_contiguous and array.flags.writeable
        array[...] = value
        hoard.append((value, array))
        if rng.random() < 0.7:
            hoard.pop(int(rng.integers(len(hoard))))
        assert all((kept == number).all() for number, kept in hoard)
    assert not overlap([kept for _, kept in hoard])


def test_hoarded_observations_stay_as_they_are():
    envs = gym.make_vec("UniEnv/Goto-v0", 64)
    envs.action_space.seed(0)
    hoard = [envs.reset(seed=0)[0]]
    copies = [hoard[0]["image"].copy()]
    for _ in range(20):
        hoard.append(envs.step(envs.action_space.sample())[0])
        copies.append(hoard[-1]["image"].copy())
    assert hoard[0]["image"].nbytes > 1 << 18
    assert not overlap(leaves(hoard))
    assert all(np.array_equal(kept["image"], copy) for kept, copy in zip(hoard, copies, strict=True))


def test_a_pickled_pool_shares_nothing():
    buffers = Buffers()
    where = address(buffers.empty(SHAPE))
    twin = pickle.loads(pickle.dumps(buffers))
    mine, other = buffers.empty(SHAPE), twin.empty(SHAPE)
    assert address(mine) == where
    assert not np.shares_memory(mine, other)


@pytest.mark.parametrize("shape", [(1,), (8, 8, 3), (5, 77, 3), SHAPE])
def test_pictures_and_tables_begin_where_copies_are_fast(shape):
    buffers, kept = Buffers(), []
    for offset in range(1, 70, 7):  # whatever the allocator does
        kept += [np.empty(offset, np.uint8), buffers.empty(shape)]
        assert address(kept[-1]) % 64 == 0 and kept[-1].shape == shape and kept[-1].flags.writeable
    assert not overlap(kept)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_an_aligned_copy_is_one(dtype):
    table = np.arange(7 * 5).reshape(7, 5).astype(dtype).T
    copy = aligned(table)
    assert np.array_equal(copy, table) and copy.dtype == dtype and address(copy) % 64 == 0 and copy.flags.c_contiguous
    assert not np.shares_memory(copy, table)
