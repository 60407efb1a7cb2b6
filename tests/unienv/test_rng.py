from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, chisquare

from tests.compare import host
from unienv.backend import array_namespace_of
from unienv.rng import Keys, mix, slots, streams

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
N = 40_000


def signed(z):
    return z - (1 << 64) if z >> 63 else z


def splitmix(z):
    """The finaliser of the paper, in integers without a width."""
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
    return z ^ z >> 31


def keys(seeds=N, episode=0, step=0):
    slot = slots(np.arange(seeds))
    return Keys(np, streams(slot, slot * 0 + episode), slot * 0 + step)


def test_mix_is_splitmix64():
    words = [0, 1, MASK, 1 << 63, (1 << 63) - 1, *(x * GOLDEN & MASK for x in range(1, 2000))]
    assert mix(np.array([signed(z) for z in words])).tolist() == [signed(splitmix(z)) for z in words]


def test_mix_gives_the_published_sequence():
    states = [1234567 + GOLDEN * t & MASK for t in range(1, 6)]
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert mix(np.array([signed(z) for z in states])).tolist() == [signed(z) for z in published]


def test_bits_are_the_hash_of_seed_episode_step_salt_and_index():
    for seed, episode, step, salt, index in [(0, 0, 0, 0, 0), (7, 2, 31, 5, 3), (2**62, 999, 10**6, 63, 65_535)]:
        slot = splitmix(seed * GOLDEN & MASK)
        stream = splitmix(slot + episode * GOLDEN & MASK)
        counter = (step * 64 + salt) * 65_536 + index
        drawn = Keys(np, streams(slots(np.array([seed])), np.array([episode])), np.array([step]))
        assert drawn.bits(salt, index + 1)[0, index] == splitmix(stream + counter * GOLDEN & MASK) >> 32


@pytest.mark.parametrize("high", [2, 3, 10, 64])
def test_integers_are_uniform(high):
    drawn = keys().integers(1, [high] * 2)
    for column in drawn.T:
        assert chisquare(np.bincount(column, minlength=high)).pvalue > 1e-3
        assert (column.min(), column.max()) == (0, high - 1)


def test_integers_scale_the_bits_column_by_column():
    highs = [1, 2, 30, 2**31 - 1]
    bits = keys(500).bits(3, 4).tolist()
    assert keys(500).integers(3, highs).tolist() == [
        [b * h // 2**32 for b, h in zip(r, highs, strict=True)] for r in bits
    ]


def test_uniform_numbers_are_uniform():
    drawn = keys().uniform(2, 1)[:, 0]
    assert drawn.dtype == np.float64 and drawn.min() >= 0 and drawn.max() < 1
    assert chisquare(np.bincount((drawn * 100).astype(int), minlength=100)).pvalue > 1e-3
    assert (np.modf(drawn * 2**32)[0] == 0).all()


PAIRS = {
    "salts": (keys().integers(0, [8])[:, 0], keys().integers(1, [8])[:, 0]),
    "indices": tuple(keys().integers(0, [8, 8]).T),
    "steps": (keys(step=1).integers(0, [8])[:, 0], keys(step=2).integers(0, [8])[:, 0]),
    "episodes": (keys(episode=0).integers(0, [8])[:, 0], keys(episode=1).integers(0, [8])[:, 0]),
    "slots": (keys().integers(0, [8])[:-1, 0], keys().integers(0, [8])[1:, 0]),
    "slot and episode": (keys(episode=0).integers(0, [8])[1:, 0], keys(episode=1).integers(0, [8])[:-1, 0]),
    "episode and step": (keys(episode=1).integers(0, [8])[:, 0], keys(step=1).integers(0, [8])[:, 0]),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_draws_of_different_keys_are_independent(pair):
    table = np.zeros((8, 8))
    np.add.at(table, PAIRS[pair], 1)
    assert chi2_contingency(table).pvalue > 1e-3


def test_consecutive_episodes_of_one_slot_are_uniform_and_independent():
    episodes = np.arange(N)
    drawn = Keys(np, streams(slots(episodes * 0 + 3), episodes), episodes * 0).integers(0, [8])[:, 0]
    table = np.zeros((8, 8))
    np.add.at(table, (drawn[:-1], drawn[1:]), 1)
    assert chisquare(np.bincount(drawn, minlength=8)).pvalue > 1e-3
    assert chi2_contingency(table).pvalue > 1e-3


def test_equal_keys_give_equal_draws():
    assert np.array_equal(keys(50, 3, 2).bits(4, 5), keys(50, 3, 2).bits(4, 5))
    assert np.array_equal(keys(50, 3, 2).bits(4, 5), keys(90, 3, 2).bits(4, 9)[:50, :5])


def test_permutations_are_permutations():
    drawn = keys(300).permutation(6, 17)
    assert (np.sort(drawn, axis=1) == np.arange(17)).all()


def test_permutations_of_three_are_uniform():
    drawn = keys().permutation(6, 3) @ [9, 3, 1]
    counts = [(drawn == np.dot(order, [9, 3, 1])).sum() for order in permutations(range(3))]
    assert sum(counts) == N
    assert chisquare(counts).pvalue > 1e-3


def test_numpy_and_torch_draw_the_same_bits():
    xp = array_namespace_of("torch")
    seeds = np.array([*range(2000), 2**62, 2**63 - 1])
    slot, slot_t = slots(seeds), slots(torch.from_numpy(seeds))
    ours = Keys(np, streams(slot, slot * 0 + 5), slot * 0 + 9)
    theirs = Keys(xp, streams(slot_t, slot_t * 0 + 5), slot_t * 0 + 9)
    for name, given in [("bits", 8), ("integers", [2, 7, 2**31 - 1]), ("uniform", 3), ("permutation", 9)]:
        one, other = getattr(ours, name)(63, given), host(getattr(theirs, name)(63, given))
        assert one.dtype == other.dtype and np.array_equal(one, other)
