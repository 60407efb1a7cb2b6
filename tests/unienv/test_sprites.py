import sys
import tracemalloc

import gymnasium as gym
import numpy as np
import pytest
import torch
from array_api_compat import array_namespace
from gymnasium.vector.utils import batch_space

import unienv
from tests.compare import differ
from tests.play import play_vec
from unienv import sprites
from unienv.actions import Actions
from unienv.registry import make_world, needs, world_class
from unienv.vector import WorldVectorEnv

WORLDS = [id for id in unienv.world_ids() if not needs(world_class(id)[0])]
WAYS = ["kernels", "numpy", "torch"]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """What makes an array of the way that is tested."""
    if request.param == "kernels":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(sprites, "_kernels", lambda: None)
    return torch.from_numpy if request.param == "torch" else np.asarray


@pytest.mark.parametrize("shared", ["nothing", "places", "tiles", "both"])
def test_stamped_tiles_lie_where_they_should(way, shared):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (5, 24, 40, 3), dtype=np.uint8)
    tiles = rng.integers(0, 256, (1 if shared in ("tiles", "both") else 5, 4, 8, 8, 3), dtype=np.uint8)
    places = np.stack([rng.permutation(15)[:4] for _ in range(1 if shared in ("places", "both") else 5)])
    expected = image.copy()
    for i in range(5):
        for j, place in enumerate(places[i % len(places)]):
            row, column = divmod(place, 5)
            expected[i, row * 8 :, column * 8 :][:8, :8] = tiles[i % len(tiles), j]
    words = sprites.as_words(tiles.reshape(-1, 8, 8, 3)).reshape(-1, 4, 8, 3)
    image = way(image)
    sprites.stamp(array_namespace(image), image, way(places // 5), way(places % 5), way(words))
    assert np.array_equal(image, expected)


@pytest.mark.parametrize("side", [8, 16, 24])
def test_tiles_lie_side_by_side(way, side):
    rng = np.random.default_rng(side)
    tiles, which = rng.integers(0, 256, (7, side, side, 3), dtype=np.uint8), rng.integers(0, 7, (4, 3, 5))
    image = way(np.zeros((4, 3 * side, 5 * side, 3), np.uint8))
    sprites.lay(image, way(sprites.as_words(tiles)), way(which))
    expected = [np.concatenate([np.concatenate([tiles[k] for k in row], axis=1) for row in one]) for one in which]
    assert np.array_equal(image, np.stack(expected))


@pytest.mark.parametrize("row, column", [(3, 0), (0, 5), (-1, 0), (0, -1), (1 << 40, 0)])
def test_kernels_write_nothing_outside_of_a_picture(row, column):
    pytest.importorskip("numba")
    image = np.zeros((1, 24, 40, 3), np.uint8)
    with pytest.raises(IndexError, match="outside of the picture"):
        sprites.stamp(np, image, np.array([[row]]), np.array([[column]]), np.ones((1, 1, 8, 3), np.int64))
    assert not image.any()


@pytest.mark.parametrize("number", [2, -1])
@pytest.mark.parametrize("side", [8, 16])
def test_kernels_read_nothing_beside_the_tiles(number, side):
    pytest.importorskip("numba")
    tiles = sprites.as_words(np.ones((2, side, side, 3), np.uint8))
    with pytest.raises(IndexError, match="no such tile"):
        sprites.lay(np.zeros((1, side, side, 3), np.uint8), tiles, np.array([[[number]]]))


@pytest.mark.parametrize("id", WORLDS)
def test_worlds_draw_the_same_bytes_without_numba(id, monkeypatch):
    pytest.importorskip("numba")
    assert sprites._kernels() is not None
    compiled = play_vec(gym.make_vec(id, 40), 6, seed=3)
    monkeypatch.setattr(sprites, "_kernels", lambda: None)
    assert not differ(compiled, play_vec(gym.make_vec(id, 40), 6, seed=3))


def test_without_numba_there_are_no_kernels(monkeypatch):
    for name in ("numba", "unienv.kernels"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delattr(unienv, "kernels", raising=False)
    assert sprites._kernels.__wrapped__() is None


@pytest.mark.parametrize("error", [RuntimeError("no locator available"), OSError(28, "No space left on device")])
def test_kernels_compile_where_no_cache_can_be_written(error, monkeypatch):
    numba = pytest.importorskip("numba")
    from unienv import kernels

    def njit(arguments, cache=False):
        if cache:
            raise error
        return numba.njit(arguments)

    monkeypatch.setattr(kernels, "njit", njit)
    assert kernels._compiled(numba.int64)(lambda x: x + 1)(2) == 3


def test_kernels_take_arrays_that_are_only_read():
    pytest.importorskip("numba")
    tiles, which = np.ones((1, 8, 3), np.int64), np.zeros((1, 2, 2), np.int64)
    for array in (tiles, which):
        array.flags.writeable = False  # as Ray hands out arrays
    image = np.zeros((1, 16, 16, 3), np.uint8)
    sprites.lay(image, tiles, which)
    sprites.stamp(np, image, which[0, :1], which[0, :1], tiles[:, None].repeat(2, axis=1))
    assert (image.reshape(-1).view(np.int64) == 1).all()


@pytest.mark.parametrize("id", WORLDS)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_a_loop_holds_two_batches_of_pictures(id, backend):
    world = make_world(id, backend=backend)
    actions = Actions(world.action_space).sample(np.random.default_rng(0), 512)
    tracemalloc.start()
    envs = WorldVectorEnv(world, 512)
    observation = envs.reset(seed=0)[0]
    for _ in range(5):
        observation = envs.step(actions)[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 1 < peak / sum(value.nbytes for key, value in observation.items() if key != "text") < 2.6
    assert envs.observation_space == batch_space(world.observation_space, 512)
