from collections import Counter
from itertools import product
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy.stats import chisquare

from tests.contract import WorldContract
from unienv.rng import Keys, slots, streams
from unienv.sprites import COLOURS, SHAPES, floor_tile, object_tiles
from unienv.world import take
from unienv.worlds.describe import Describe, DescribeState

DIAL = (0.0, 0.25, 0.5, 0.75, 1.0)


class TestDescribe(WorldContract):
    world_id = "UniEnv/Describe-v0"
    bad_actions: ClassVar[list[Any]] = [
        *WorldContract.bad_actions,
        {"text": np.array([1, 1]), "image": 16},
        {"text": np.array([1, 10]), "image": 0},
        {"text": np.array([1]), "image": 0},
        {"text": np.array([1, 1, 1]), "image": 0},
        {"text": np.array([1, 0.5]), "image": 0},
    ]


class TestLooseDescribe(WorldContract):
    world_id = "UniEnv/Describe-v0"
    parameters: ClassVar = {**Describe.small, "coupling": 0.5, "tries": 5}


class TestCrowdedDescribe(WorldContract):
    world_id = "UniEnv/Describe-v0"
    parameters: ClassVar = {"size": 3, "num_objects": 8, "tries": 6}


def keys(count, step=0):
    slot = slots(np.arange(count))
    return Keys(np, streams(slot, slot * 0), slot * 0 + step)


def two_by_two(coupling=1.0, crossed=(), goal=0):
    """A world of 2 x 2 cells, red square, red circle / green square, green circle, and its state."""
    state = DescribeState(np.array([[1, 2, 3, 4]]), np.isin([range(4)], crossed), np.array([goal]), np.zeros(1, bool))
    return Describe(**{**Describe.small, "coupling": coupling}), state


def name(world, shape, cell):
    """The utterance (N, 2) for shapes and cells (N,)."""
    return np.stack([shape + world.vocabulary.id("square"), cell // world.size + world.vocabulary.id("1")], axis=1)


def answer(world, state, words, cell, step=1):
    """Next state, the three parts of feedback and the end, of one answer in every world."""
    n = len(state.goal)
    action = {"text": np.tile(world.vocabulary.encode(words, 2), (n, 1)), "image": np.full(n, cell)}
    feedback = world.feedback(state, {}, action, keys(n, step))
    after = world.transition(state, {}, action, feedback, keys(n, step))
    return after, *(feedback[part] for part in ("text", "image", "success")), world.terminal(after)


@pytest.mark.parametrize("size, num_objects", [(4, 4), (5, 12), (2, 4)])
def test_the_text_leaves_two_candidates_of_different_shapes(size, num_objects):
    world = Describe(size=size, num_objects=num_objects)
    state = world.initial(keys(500))
    texts = world.observe(state)["text"]
    assert not state.crossed.any() and not state.done.any()
    for board, goal, text in zip(state.board, state.goal, texts, strict=True):
        colours, shapes = np.divmod(board[board > 0] - 1, 5)
        assert set(Counter(colours).values()) == {2} and set(Counter(shapes).values()) == {num_objects // 2}
        assert len(set(board[board > 0])) == num_objects
        assert world.vocabulary.decode(text) == f"which {list(COLOURS)[(board[goal] - 1) // 5]} one ?"


def test_starts_are_uniform():
    state = Describe().initial(keys(30_000))
    meant = np.take_along_axis(state.board, state.goal[:, None], axis=1)[:, 0]
    assert chisquare(np.bincount(meant - 1, minlength=30)).pvalue > 1e-3
    assert chisquare(np.bincount(state.goal, minlength=16)).pvalue > 1e-3
    rank = ((state.board > 0) & (np.arange(16) < state.goal[:, None])).sum(axis=1)  # the goal in reading order
    assert chisquare(np.bincount(rank, minlength=4)).pvalue > 1e-3
    twin = (state.board > 0) & ((state.board - 1) // 5 == ((meant - 1) // 5)[:, None])
    twin[np.arange(30_000), state.goal] = False
    assert chisquare(np.bincount(twin.argmax(axis=1), minlength=16)).pvalue > 1e-3


@pytest.mark.parametrize("goal, words, cell, right", [
    (0, "square 1", 0, (True, True)),  # names and shows the red square
    (0, "circle 1", 1, (False, False)),  # the other red one, in both
    (0, "square 1", 1, (True, False)),
    (0, "circle 1", 0, (False, True)),
    (0, "square 1", 2, (True, False)),
    (0, "square 2", 0, (False, True)),  # a square, but a green one
    (3, "circle 2", 3, (True, True)),
    (3, "circle 1", 3, (False, True)),
    (3, "square 2", 1, (False, False)),
])  # fmt: skip
def test_joint_answers_by_hand(goal, words, cell, right):
    world, state = two_by_two(goal=goal)
    after, text, image, success, over = answer(world, state, words, cell)
    assert (text[0], image[0]) == right
    assert success[0] == over[0] == all(right)
    assert np.flatnonzero(after.crossed[0]).tolist() == ([] if right[1] else [cell])
    assert not state.crossed.any()  # transitions leave their input alone


@pytest.mark.parametrize("words, fits, names", [
    ("ring 2", True, True), ("ring 1", True, False), ("circle 2", True, False), ("cross 1", True, False),
    ("2 ring", False, False), ("ring", False, False), ("ring ring", False, False), ("2 2", False, False),
    ("", False, False),
])  # fmt: skip
def test_what_may_be_said_of_a_ring_in_row_2(words, fits, names):
    board = np.array([[2, 15, 5, 12]])  # red circle, blue ring / red ring, blue circle
    state = DescribeState(board, board < 0, np.array([2]), np.zeros(1, bool))
    for cell in range(4):
        assert answer(Describe(coupling=0.0, size=2), state, words, cell)[1][0] == fits
        assert answer(Describe(coupling=1.0, size=2), state, words, cell)[1][0] == names


@pytest.mark.parametrize("parameters", [Describe.small, {"num_shapes": 3, "size": 3}])
def test_one_utterance_is_right_of_each_object(parameters):
    joint, loose = Describe(**parameters), Describe(**parameters, coupling=0.0)
    m, size = joint.num_shapes, joint.size
    assert joint.actions.nvec == (size**2, 1 + m + size, 1 + m + size)
    utterances = np.array(list(product(range(1 + m + size), repeat=2)))
    starts = joint.initial(keys(100))
    for world, count in ((joint, 1), (loose, m * size)):
        for i in range(100):
            many = take(starts, np.full(len(utterances), i))
            action = {"text": utterances, "image": many.goal}
            right = world.feedback(many, {}, action, keys(len(utterances), 1))["text"]
            assert right.sum() == count
            assert right[(utterances == joint.oracle(many)["text"]).all(axis=1)].all()


def test_silence_says_nothing():
    world, state = two_by_two(coupling=0.0)
    for said in ([0, 0], [0, 1], [0, 3], [1, 0]):
        assert not world.feedback(state, {}, {"text": np.array([said]), "image": state.goal}, keys(1))["text"][0]


def test_the_oracle_says_shape_and_row():
    world = Describe(size=2)
    board = np.array([[0, 2, 0, 5]])
    state = DescribeState(board, board < 0, np.array([3]), np.zeros(1, bool))
    best = {part: values[0] for part, values in world.oracle(state).items()}
    assert world.name_action(best) == 'text: "ring 2", image: 3'


def test_a_cell_by_itself_holds_an_object_and_is_not_crossed_out():
    for goal in (0, 3):
        world, state = two_by_two(coupling=0.0, crossed=(1,), goal=goal)
        assert [bool(answer(world, state, "square 2", cell)[2][0]) for cell in range(4)] == [True, False, True, True]
    world = Describe(coupling=0.0)
    state = world.initial(keys(50))
    for cell in range(16):
        assert np.array_equal(answer(world, state, "cross 4", cell)[2], state.board[:, cell] > 0)


def test_a_crossed_cell_stays_so_and_is_wrong():
    world, state = two_by_two()
    once = answer(world, state, "square 1", 1)[0]
    for _ in range(3):
        again, _, image, success, over = answer(world, once, "square 1", 1)
        assert not image[0] and not success[0] and not over[0]
        assert again.crossed.tolist() == once.crossed.tolist() == [[False, True, False, False]]
    assert answer(world, once, "square 1", 0)[4][0]


def test_each_part_tosses_a_coin_of_its_own():
    world, state = two_by_two(coupling=0.25)
    many = take(state, np.zeros(20_000, int))
    text, image = answer(world, many, "circle 1", 2)[1:3]  # right by themselves, wrong jointly
    seen = np.bincount(text * 2 + image, minlength=4)
    assert chisquare(seen, 20_000 * np.array([0.25 * 0.25, 0.25 * 0.75, 0.75 * 0.25, 0.75 * 0.75])).pvalue > 1e-3


@pytest.mark.parametrize("coupling", DIAL)
def test_the_oracle_is_right_at_once_and_after_any_misses(coupling):
    world = Describe(coupling=coupling)
    state = world.initial(keys(300))
    for step in range(1, 5):
        assert world.feedback(state, {}, world.oracle(state), keys(300, step))["success"].all()
        state = answer(world, state, "", step, step)[0]
    assert state.crossed.any()


def test_who_sees_both_needs_two_tries_at_the_most():
    world = Describe(num_objects=8)
    state = world.initial(keys(4000))
    rates = []
    for step in (1, 2):
        going = ~state.done
        texts = world.observe(state)["text"]
        colour = texts[:, 1] - world.vocabulary.id("red")
        wanted = (state.board > 0) & ((state.board - 1) // 5 == colour[:, None]) & ~state.crossed
        cell = wanted.argmax(axis=1)
        shape = (state.board[np.arange(4000), cell] - 1) % 5
        action = {"text": name(world, shape, cell), "image": cell}
        feedback = world.feedback(state, {}, action, keys(4000, step))
        rates.append(feedback["success"][going].mean())
        state = world.transition(state, {}, action, feedback, keys(4000, step))
    assert abs(rates[0] - 0.5) < 0.04
    assert rates[1] == 1.0


@pytest.mark.parametrize("parameters, chance", [(Describe.small, 1 / 10**2), ({}, 1 / 40**2)])
def test_uniform_actions_succeed_by_chance(parameters, chance):
    world = Describe(**parameters)
    state = take(world.initial(keys(3)), np.repeat(np.arange(3), world.actions.count))
    action = world.actions.join(world.actions.unnumber(np.tile(np.arange(world.actions.count), 3)))
    success = world.feedback(state, {}, action, keys(len(state.goal), 1))["success"]
    assert success.reshape(3, -1).mean(axis=1).tolist() == pytest.approx([chance] * 3)


def test_without_coupling_each_part_is_a_function_of_its_own_modality():
    world = Describe(coupling=0.0, num_colours=2, num_shapes=2)
    state = world.initial(keys(400))
    known: dict[Any, set] = {}
    rng = np.random.default_rng(0)
    for step in range(1, 6):
        seen, action = world.observe(state), world.actions.sample(rng, 400)
        feedback = world.feedback(state, seen, action, keys(400, step))
        state = world.transition(state, seen, action, feedback, keys(400, step))
        after = world.observe(state)
        for m in ("text", "image"):
            for row in range(400):
                given = (m, seen[m][row].tobytes(), action[m][row].tobytes())
                known.setdefault(given, set()).add((bool(feedback[m][row]), after[m][row].tobytes()))
    assert sum(given[0] == "image" for given in known) > 1000
    assert {len(outcomes) for outcomes in known.values()} == {1}


def test_every_tile_is_in_its_place():
    world = Describe(num_objects=6)
    state = world.initial(keys(50))
    state = state._replace(crossed=np.random.default_rng(0).random((50, 16)) < 0.3)
    plain = np.stack([floor_tile(), *object_tiles(list(COLOURS), list(SHAPES))])
    struck = plain.copy()
    for i in range(8):
        struck[:, i, 7 - i] = 245
    looks = np.concatenate([plain, struck])
    assert len({tile.tobytes() for tile in looks}) == len(looks) == 62
    image = world.observe(state)["image"].reshape(-1, 4, 8, 4, 8, 3).swapaxes(2, 3).reshape(-1, 16, 8, 8, 3)
    assert np.array_equal(image, looks[state.board + 31 * state.crossed])


def test_map_by_hand():
    world = Describe(size=2, num_colours=6, num_shapes=5)
    board = np.array([[1, 2, 21, 22]])
    state = DescribeState(board, board % 2 == 0, np.array([3]), np.zeros(1, bool))
    drawn = world.describe(state, 0).splitlines()
    assert drawn[0] == "which purple one ?"
    assert [line.split() for line in drawn[1:]] == [["Rs", "Rcx"], ["Ps", "Pcx"]]
    empty = state._replace(board=np.array([[0, 0, 21, 22]]))
    assert [line.split() for line in world.describe(empty, 0).splitlines()[1:]] == [[".", ".x"], ["Ps", "Pcx"]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"coupling": -0.1},
        {"coupling": 1.5},
        {"coupling": float("nan")},
        {"size": 1},
        {"size": 65},
        {"num_objects": 2},
        {"num_objects": 5},
        {"num_objects": 14},
        {"size": 2, "num_objects": 6},
        {"num_colours": 7},
        {"num_shapes": 1},
        {"tries": 0},
        {"signal": "rewards"},
        {"backend": "jax"},
    ],
)
def test_bad_parameters_are_refused_in_one_line(wrong):
    with pytest.raises(ValueError, match=rf"\A.*{list(wrong.values())[-1]}.*\Z"):
        Describe(**wrong)
