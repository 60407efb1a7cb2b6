"""Tests of the bells: the contract of every world, and the rules of this one by hand."""

from itertools import permutations
from typing import ClassVar

import numpy as np
import pytest
from scipy.stats import chisquare

from examples.my_world import Bells, BellsState
from tests.contract import WorldContract
from unienv.rng import Keys, slots, streams
from unienv.separability import exact, ladder

RED, GREEN, BLUE = range(3)


class TestBells(WorldContract):
    """All that holds for every world: the Gymnasium interface, seeds, equal bits on numpy and torch, and the like."""

    world_id = "UniEnv/Bells-v0"


class TestUnheardBells(WorldContract):
    """The same with other parameters."""

    world_id = "UniEnv/Bells-v0"
    parameters: ClassVar = {"num_bells": 5, "coupling": 0.5}


def keys(count):
    """Randomness of `count` worlds."""
    slot = slots(np.arange(count))
    return Keys(np, streams(slot, slot * 0), slot * 0)


def ring(world, state, place):
    """Next state, right and success of one world's step."""
    action = np.array([place])
    feedback = world.feedback(state, {}, action, keys(1))
    return world.transition(state, {}, action, feedback, keys(1)), *(bool(part[0]) for part in feedback.values())


def start(colours, song):
    """One world, of bells in this order."""
    silent = np.zeros((1, len(colours)), bool)
    return BellsState(np.array([colours]), np.array([song]), silent, silent[:, 0], silent[:, 0])


def test_a_song_by_hand():
    """Each state after each ring, as the rules tell it."""
    world, state = Bells(), start([BLUE, RED, GREEN], [GREEN, BLUE])
    text = world.observe(state)["text"][0]
    assert world.vocabulary.decode(text) == "ring green then blue"
    first, right, success = ring(world, state, 2)
    assert (right, success, world.terminal(first)[0]) == (True, False, False)
    assert first.rung.tolist() == [[False, False, True]] and not state.rung.any()
    second, right, success = ring(world, first, 0)
    assert (right, success, world.terminal(second)[0]) == (True, True, True)
    for before, place in ((state, 0), (first, 2)):
        after, right, success = ring(world, before, place)
        assert (right, success, world.terminal(after)[0]) == (False, False, True)


def test_what_nobody_listens_to_is_right():
    """With coupling 0 any two bells make the song."""
    world, state = Bells(coupling=0.0), start([BLUE, RED, GREEN], [GREEN, BLUE])
    state, right, _ = ring(world, state, 1)
    assert right and ring(world, state, 1)[1:] == (True, True)


def test_starts_are_uniform():
    """Every order of the bells with every song, equally often."""
    state = Bells().initial(keys(20_000))
    orders = [list(permutations(range(3))).index(tuple(row)) for row in state.colours.tolist()]
    songs = [list(permutations(range(3), 2)).index(tuple(row)) for row in state.song.tolist()]
    assert chisquare(np.bincount(np.array(orders) * 6 + songs, minlength=36)).pvalue > 1e-3


def test_every_bell_looks_different():
    """Colour and whether it has rung can be seen."""
    world, state = Bells(num_bells=6), start(range(6), [0, 1])
    images = [world.observe(s)["image"][0] for s in (state, state._replace(rung=~state.rung))]
    tiles = {image[:, place * 8 : place * 8 + 8].tobytes() for image in images for place in range(6)}
    assert len(tiles) == 12


def entropy(p):
    """Binary entropy in nats."""
    return -sum(q * np.log(q) for q in (p, 1 - p) if q > 0)


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("c", [0.0, 0.5, 1.0])
def test_nonseparability_is_as_the_docstring_says(n, c):
    """Exact, by enumeration."""
    first, second = (step.feedback.nonseparability for step in exact(Bells(c, n)).steps)
    other = (n - 1) / n
    assert first == pytest.approx(entropy(c * other) - other * entropy(c), abs=1e-9)
    if c == 1.0:
        assert second == pytest.approx(other * entropy(1 / (n - 1)), abs=1e-9)


def test_late_fusion_loses():
    """The best sum of scores, proved, against the best joint choice."""
    rungs = ladder(Bells())
    assert rungs.certified and rungs.gap == pytest.approx(1 / 16)


@pytest.mark.parametrize("wrong", [{"coupling": 1.5}, {"coupling": float("nan")}, {"num_bells": 1}, {"num_bells": 7}])
def test_bad_parameters_are_refused_in_one_line(wrong):
    """What was expected, and what came."""
    with pytest.raises(ValueError, match=rf"\A{next(iter(wrong))} must lie in .*{next(iter(wrong.values()))}\Z"):
        Bells(**wrong)
