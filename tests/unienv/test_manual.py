from itertools import combinations, permutations
from typing import ClassVar

import numpy as np
import pytest
from scipy.stats import chisquare

from tests.contract import WorldContract
from unienv.rng import Keys, slots, streams
from unienv.separability import exact
from unienv.separability.enumeration import LIMIT, branch
from unienv.sprites import COLOURS
from unienv.worlds.manual import TEMPLATES, Manual, ManualState, draw_manuals

WAIT, UP, DOWN, LEFT, RIGHT = range(5)
SHUT, OPEN, JAMMED = range(3)


class TestManual(WorldContract):
    world_id = "UniEnv/Manual-v0"


class TestOldLocks(WorldContract):
    world_id = "UniEnv/Manual-v0"
    parameters: ClassVar = {"size": 3, "num_keys": 4, "split": "train", "coupling": 0.3, "horizon": 9}


class TestCrowdedManual(WorldContract):
    world_id = "UniEnv/Manual-v0"
    parameters: ClassVar = {"size": 2, "num_keys": 3, "paraphrases": 4, "split": "test"}


def starts(world, count):
    slot = slots(np.arange(count))
    return world.initial(Keys(np, streams(slot, slot * 0), slot * 0))


def one(agent, keys, door=0, symbol=0, opens=(0, 1), sentences=(0, 3), lock=SHUT):
    """A state of one world."""
    fields = (agent, keys, door, symbol, opens, sentences, lock)
    return ManualState(*(np.array([field]) for field in fields))


def walk(world, state, *actions):
    """The state after the last action, and its feedback."""
    told = ""
    for action in actions:
        action = np.array([action])
        feedback = world.feedback(state, {}, action, None)
        state = world.transition(state, {}, action, feedback, None)
        told = " ".join(name for name, part in feedback.items() if part[0])
    return state, told


def chances(world, state, action=UP):
    """P(success) and P(wrong) of a step in each world, over every draw."""
    count = len(state.agent)

    def outcome(keys, rows):
        copies = ManualState(*(field[rows] for field in state))
        feedback = world.feedback(copies, {}, np.full(len(rows), action), keys)
        return np.stack([feedback["success"], feedback["wrong"]])

    rows, weight, ends = branch(outcome, count, LIMIT)
    return [np.bincount(rows, weight * end, count).tolist() for end in ends]


def entropy(p):
    """In nats."""
    return -p * np.log(p) - (1 - p) * np.log(1 - p)


# The manuals


@pytest.mark.parametrize("num_keys, held_out", [(3, 3), (4, 4), (5, 25)])
def test_splits_part_the_manuals_and_are_balanced(num_keys, held_out):
    manuals = {split: set(map(tuple, draw_manuals(num_keys, split).tolist())) for split in ("all", "train", "test")}
    assert manuals["all"] == set(permutations(range(num_keys)))
    assert manuals["train"] | manuals["test"] == manuals["all"] and not manuals["train"] & manuals["test"]
    assert len(manuals["test"]) == held_out
    for table in map(np.array, map(list, manuals.values())):
        counts = [np.bincount(table[:, colour], minlength=num_keys) for colour in range(num_keys)]
        assert (np.array(counts) == len(table) // num_keys).all()


@pytest.mark.parametrize("num_keys", [4, 5])
def test_any_two_sentences_of_one_manual_meet_in_training(num_keys):
    table = draw_manuals(num_keys, "train").tolist()
    for one_colour, other in combinations(range(num_keys), 2):
        met = {(manual[one_colour], manual[other]) for manual in table}
        assert met == set(permutations(range(num_keys), 2))


@pytest.mark.parametrize("split", ["all", "train", "test"])
def test_starts_are_uniform_and_the_text_tells_the_manual(split):
    world, count = Manual(size=3, num_keys=4, paraphrases=3, split=split), 20_000
    state = starts(world, count)
    cells = np.concatenate([state.keys, state.agent[:, None]], axis=1)
    assert (np.sort(cells, axis=1)[:, 1:] != np.sort(cells, axis=1)[:, :-1]).all()
    assert not state.lock.any()
    manuals = [tuple(manual) for manual in draw_manuals(4, split).tolist()]
    manual = np.array([manuals.index(tuple(opens)) for opens in state.opens.tolist()])
    place = (state.door * 4 + state.symbol) * 9
    for key in range(4):
        assert chisquare(np.bincount(place + state.keys[:, key], minlength=108)).pvalue > 1e-3
    assert chisquare(np.bincount(state.agent, minlength=9)).pvalue > 1e-3
    assert chisquare(np.bincount(manual * 4 + state.symbol, minlength=4 * len(manuals))).pvalue > 1e-3
    assert chisquare(np.bincount(state.sentences[:, 0], minlength=48)).pvalue > 1e-3
    orders = np.unique(state.sentences // 4 % 4, axis=0, return_counts=True)[1]
    assert len(orders) == 24 and chisquare(orders).pvalue > 1e-3
    wordings = np.unique(state.sentences // 16, axis=0, return_counts=True)[1]
    assert len(wordings) == 81 and chisquare(wordings).pvalue > 1e-3
    assert (np.take_along_axis(state.opens, state.sentences // 4 % 4, axis=1) == state.sentences % 4).all()


def test_the_text_by_hand():
    world = Manual(size=4, num_keys=3, paraphrases=4)
    assert all(len(template.split()) == 8 for template in TEMPLATES)
    state = one(
        5, [0, 1, 2], opens=[2, 0, 1], sentences=[(0 * 3 + 1) * 3 + 0, (1 * 3 + 0) * 3 + 2, (3 * 3 + 2) * 3 + 1]
    )
    assert world.vocabulary.decode(world.observe(state)["text"][0]) == (
        "the green key opens the square door . the triangle door needs the red key . at the circle turn the blue key ."
    )


# The room


def test_steps_by_hand():
    world = Manual(size=3, num_keys=2, paraphrases=1)
    state = one(agent=4, keys=[3, 5], door=1, symbol=1, opens=[1, 0])  # red opens circle doors
    before = [field.copy() for field in state]
    at_door, told = walk(world, state, UP)
    assert (at_door.agent[0], told) == (1, "")
    assert (
        walk(world, at_door, UP)[1] == "" and not world.terminal(walk(world, at_door, UP)[0])[0]
    )  # no key, still shut
    red, told = walk(world, state, LEFT)
    assert (red.agent[0], red.keys.tolist(), told) == (3, [[9, 5]], "picked")
    for bump in (WAIT, LEFT):
        assert all(np.array_equal(x, y) for x, y in zip(walk(world, red, bump)[0], red, strict=True))
    opened, told = walk(world, red, RIGHT, UP, UP)
    assert (opened.agent[0], opened.lock[0], told) == (1, OPEN, "success") and world.terminal(opened)[0]
    jammed, told = walk(world, state, RIGHT, LEFT, UP, UP)
    assert (jammed.agent[0], jammed.lock[0], told) == (1, JAMMED, "wrong") and world.terminal(jammed)[0]
    for action in (WAIT, DOWN, LEFT, RIGHT):
        assert walk(world, walk(world, red, RIGHT, UP)[0], action)[0].lock[0] == SHUT
    assert walk(world, red, UP, UP)[0].lock[0] == SHUT  # against the wall beside the door
    assert all(np.array_equal(x, y) for x, y in zip(before, state, strict=True))


def test_keys_change_places():
    world = Manual(size=3, num_keys=2, paraphrases=1)
    state = one(agent=4, keys=[9, 5])
    swapped, told = walk(world, state, RIGHT)
    assert (swapped.keys.tolist(), told) == ([[5, 9]], "picked")
    assert walk(world, swapped, WAIT)[1] == walk(world, swapped, RIGHT)[1] == ""  # the key underfoot stays there
    assert walk(world, swapped, LEFT)[0].keys.tolist() == [[5, 9]]
    back, told = walk(world, swapped, LEFT, RIGHT)
    assert (back.keys.tolist(), told) == ([[9, 5]], "picked")


def tiles(world, state):
    """(size + 1, size, 8, 8, 3): what one state looks like."""
    image, size = world.observe(state)["image"][0], world.size
    return image.reshape(size + 1, 8, size, 8, 3).swapaxes(1, 2)


def test_the_picture_by_hand():
    world = Manual(size=3, num_keys=3)
    hidden = tiles(world, one(agent=4, keys=[9, 4, 8], door=2, symbol=1, opens=[0, 1, 2], sentences=[0, 0, 0]))
    floor, wall = hidden[1, 0], hidden[0, 0]
    for row, column, look in [(0, 1, wall), (1, 1, floor), (1, 2, floor), (2, 0, floor), (3, 0, floor), (3, 1, floor)]:
        assert np.array_equal(hidden[row, column], look)
    assert (hidden[2, 1] == COLOURS["red"]).all(axis=-1).any()  # the collar
    assert (hidden[3, 2] == COLOURS["blue"]).all(axis=-1).any()
    base = one(agent=4, keys=[0, 6, 8], door=2, opens=[0, 1, 2], sentences=[0, 0, 0])
    looks = [
        tiles(world, base._replace(symbol=np.array([s]), lock=np.array([k])))[0, 2] for s in range(3) for k in (0, 2)
    ]
    looks += [tiles(world, base)[cell] for cell in ((1, 0), (3, 0), (3, 2), (2, 1))]
    for colour in range(3):
        keys = base.keys.copy()
        keys[0, colour] = 9
        looks.append(tiles(world, base._replace(keys=keys))[2, 1])
        opened = tiles(world, base._replace(keys=keys, agent=np.array([2]), lock=np.array([OPEN])))
        assert np.array_equal(opened[0, 2], looks[-1]) and np.array_equal(opened[1, 2], floor)
    assert len({look.tobytes() for look in [*looks, floor, wall]}) == 6 + 4 + 3 + 2


def test_the_map_by_hand():
    world = Manual(size=3, num_keys=2)
    state = one(agent=2, keys=[3, 9], door=2, symbol=1)
    drawn = world.describe(state, 0).splitlines()
    assert drawn[0] == "the red key opens the square door . the green key opens the circle door ."
    assert drawn[1:] == ["## ## ci", " .  . @G", " R  .  .", " .  .  ."]
    assert world.describe(state._replace(lock=np.array([JAMMED])), 0).splitlines()[1:3] == ["## ## xx", " .  . @G"]
    assert world.describe(state._replace(lock=np.array([OPEN])), 0).splitlines()[1:3] == ["## ## @G", " .  .  ."]


# The lock


@pytest.mark.parametrize("coupling", [0.0, 0.25, 1.0])
def test_the_lock_obeys_the_manual_with_probability_coupling(coupling):
    world = Manual(size=2, num_keys=3, coupling=coupling)
    carried, symbol, manual = np.array(np.meshgrid(range(3), range(3), range(6))).reshape(3, -1)
    rows, opens = np.arange(54), draw_manuals(3, "all")[manual]
    keys = np.tile([1, 2, 3], (54, 1))
    keys[rows, carried] = 4
    state = ManualState(rows * 0, keys, rows * 0, symbol, opens, np.zeros((54, 3), int), rows * 0)
    expected = coupling * (opens[rows, carried] == symbol) + (1 - coupling) * (carried == symbol)
    success, wrong = chances(world, state)
    assert success == pytest.approx(expected, abs=1e-12) and wrong == pytest.approx(1 - expected, abs=1e-12)
    assert chances(world, state, WAIT) == [[0.0] * 54] * 2


@pytest.mark.parametrize("coupling", [0.0, 1.0])
def test_a_certain_lock_takes_no_draw(coupling):
    world = Manual(coupling=coupling)
    state = starts(world, 100)
    for _ in range(60):
        action = world.oracle(state)
        feedback = world.feedback(state, {}, action, None)
        state = world.transition(state, {}, action, feedback, None)


def test_draws_follow_the_coupling():
    world, count = Manual(size=2, num_keys=2, coupling=0.3), 20_000
    slot = slots(np.arange(count))
    base = one(agent=0, keys=[4, 3], symbol=0, opens=[1, 0])  # red opens squares by the old locks alone
    state = ManualState(*(np.repeat(field, count, axis=0) for field in base))
    success = world.feedback(state, {}, np.full(count, UP), Keys(np, streams(slot, slot), slot * 0 + 1))["success"]
    assert chisquare([success.sum(), count - success.sum()], [0.7 * count, 0.3 * count]).pvalue > 1e-3


# The oracle


@pytest.mark.parametrize("size, num_keys", [(2, 3), (3, 5), (5, 3), (6, 5)])
@pytest.mark.parametrize("coupling", [0.0, 1.0])
def test_the_oracle_always_gets_out(size, num_keys, coupling):
    world = Manual(size, num_keys, coupling=coupling)
    state, out = starts(world, 3000), np.zeros(3000, bool)
    for _ in range(6 * size + 8 * num_keys):
        action = world.oracle(state)
        feedback = world.feedback(state, {}, action, None)
        assert not (feedback["wrong"] & ~out).any()
        out |= feedback["success"]
        state = world.transition(state, {}, action, feedback, None)
    assert out.all()


def test_the_oracle_walks_a_shortest_path_by_hand():
    world = Manual(size=4, num_keys=2)
    state = one(agent=15, keys=[12, 5], door=1, symbol=0)  # the right key is below to the left, the other in between
    way = []
    while not world.terminal(state)[0]:
        way.append(int(world.oracle(state)[0]))
        state, told = walk(world, state, way[-1])
    assert told == "success" and way[:3] == [LEFT] * 3 and len(way) == 3 + 4 + 1
    assert walk(world, one(15, [12, 5], 1, 0), *way[:-1])[0].keys.tolist() == [[16, 5]]


def test_the_oracle_passes_a_key_that_bars_the_way():
    world = Manual(size=2, num_keys=3)
    state = one(agent=3, keys=[4, 1, 2], door=0, symbol=0, opens=[0, 1, 2], sentences=[0, 4, 8])
    way = []
    while not world.terminal(state)[0]:
        way.append(int(world.oracle(state)[0]))
        state, told = walk(world, state, way[-1])
    assert told == "success" and len(way) == 2 + 2 + 1


def test_the_oracle_takes_the_likelier_key():
    state = one(agent=3, keys=[4, 2], door=0, symbol=0, opens=[1, 0])
    assert Manual(2, 2, coupling=0.4).oracle(state).tolist() == [UP]  # red, in hand
    assert Manual(2, 2, coupling=0.6).oracle(state).tolist() == [LEFT]  # green


# Non-separability


def test_nonseparability_is_zero_without_coupling_and_grows_with_it():
    per_step = []
    for coupling in (0.0, 0.25, 0.5, 0.75, 1.0):
        found = exact(Manual(**Manual.small, coupling=coupling))
        feedback = np.array([step.feedback.nonseparability for step in found.steps])
        alive = np.array([step.alive for step in found.steps])
        tried = 1 - alive[1:] / alive[:-1]  # an attempt with a key ends the episode
        worth = entropy(coupling / 2) - entropy(coupling) / 2 if 0 < coupling < 1 else coupling * np.log(2)
        assert feedback[:-1] == pytest.approx(tried * worth, abs=1e-9)
        text, image = zip(*(step.output.influence for step in found.steps), strict=True)
        assert np.abs(text).max() < 1e-9  # the manual stays
        assert image == pytest.approx(feedback, abs=1e-9)  # whether the agent passes hangs on the manual as well
        per_step.append(feedback)
    assert np.abs(per_step[0]).max() < 1e-9
    assert per_step[-1][0] < 1e-9  # no key is in hand at the start
    assert (np.diff(per_step, axis=0)[:, 1:] > 1e-4).all()


@pytest.mark.parametrize("split", ["all", "train", "test"])
def test_an_attempt_with_three_keys_is_worth_the_entropy_of_a_third(split):
    found = exact(Manual(size=2, num_keys=3, paraphrases=1, split=split, horizon=3))
    alive = np.array([step.alive for step in found.steps])
    nats = [step.feedback.nonseparability for step in found.steps[:2]]
    assert nats == pytest.approx((1 - alive[1:] / alive[:-1]) * entropy(1 / 3), abs=1e-8)
    assert nats[1] > 1e-3


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 1},
        {"size": 65},
        {"num_keys": 1},
        {"num_keys": 6},
        {"size": 2, "num_keys": 4},
        {"horizon": 0},
        {"paraphrases": 0},
        {"paraphrases": 5},
        {"split": "tets"},
        {"split": "test", "num_keys": 2},
        {"coupling": -0.1},
        {"coupling": float("nan")},
        {"signal": "rewards"},
    ],
)
def test_bad_parameters_are_refused_in_one_line(wrong):
    with pytest.raises(ValueError, match=rf"\A.*got .*{list(wrong.values())[-1]}.*\Z"):
        Manual(**wrong)
