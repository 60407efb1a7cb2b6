from collections import Counter, deque
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
from scipy.stats import chisquare

from tests.contract import WorldContract
from unienv.rng import Keys, slots, streams
from unienv.sprites import COLOURS, SHAPES, agent_tile, floor_tile, object_tiles
from unienv.worlds.goto import Goto, GotoState

WAIT, UP, DOWN, LEFT, RIGHT = range(5)
KINDS = [(colour, shape) for colour in COLOURS for shape in SHAPES]


class TestGoto(WorldContract):
    world_id = "UniEnv/Goto-v0"


class TestSmallGoto(WorldContract):
    world_id = "UniEnv/Goto-v0"
    parameters: ClassVar = {"size": 4, "num_objects": 6, "horizon": 5}


class TestCrowdedGoto(WorldContract):
    world_id = "UniEnv/Goto-v0"
    parameters: ClassVar = {"size": 3, "num_objects": 4, "horizon": 9}


def starts(world, count):
    slot = slots(np.arange(count))
    return world.initial(Keys(np, streams(slot, slot * 0), slot * 0))


def one(agent, cells, kinds, goal=0):
    """A state of one world."""
    return GotoState(np.array([agent]), np.array([cells]), np.array([kinds]), np.array([goal]))


def walk(world, state, action):
    """Next state, success, wrong and end of one world's step."""
    action = np.array([action])
    feedback = world.feedback(state, {}, action, None)
    state = world.transition(state, {}, action, feedback, None)
    return state, bool(feedback["success"][0]), bool(feedback["wrong"][0]), bool(world.terminal(state)[0])


def distance(size, start, goal, blocked):
    """Steps of a shortest path by breadth-first search; None where there is none."""
    reached, queue = {start: 0}, deque([start])
    while queue:
        cell = queue.popleft()
        if cell == goal:
            return reached[cell]
        row, column = divmod(cell, size)
        for r, c in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            near = r * size + c
            if 0 <= r < size and 0 <= c < size and near not in reached and near not in blocked:
                reached[near] = reached[cell] + 1
                queue.append(near)
    return None


@pytest.mark.parametrize("size, num_objects", [(8, 4), (5, 12), (3, 4)])
def test_no_single_attribute_tells_the_goal(size, num_objects):
    world = Goto(size, num_objects)
    state = starts(world, 500)
    text = world.observe(state)["text"]
    for agent, cells, kinds, goal, words in zip(*(field.tolist() for field in state), text, strict=True):
        assert len({agent, *cells}) == num_objects + 1
        assert len(set(kinds)) == num_objects
        assert set(Counter(kind // 5 for kind in kinds).values()) == {2}
        assert set(Counter(kind % 5 for kind in kinds).values()) == {num_objects // 2}
        assert world.vocabulary.decode(words) == "go to the {} {}".format(*KINDS[kinds[goal]])


def test_starts_are_uniform():
    state = starts(Goto(), 30_000)
    meant = np.take_along_axis(state.kinds, state.goal[:, None], axis=1)[:, 0]
    place = np.take_along_axis(state.cells, state.goal[:, None], axis=1)[:, 0]
    assert chisquare(np.bincount(state.goal, minlength=4)).pvalue > 1e-3
    assert chisquare(np.bincount(meant, minlength=30)).pvalue > 1e-3
    assert chisquare(np.bincount(place, minlength=64)).pvalue > 1e-3
    assert chisquare(np.bincount(state.agent, minlength=64)).pvalue > 1e-3
    rank = (np.argsort(state.cells, axis=1) == state.goal[:, None]).argmax(axis=1)  # the goal in reading order
    assert chisquare(np.bincount(rank * 30 + meant, minlength=120)).pvalue > 1e-3


def test_steps_by_hand():
    world = Goto(size=4, num_objects=4)
    state = one(agent=5, cells=[6, 9, 4, 15], kinds=[0, 1, 5, 6])
    assert walk(world, state, RIGHT)[1:] == (True, False, True)
    assert walk(world, state, DOWN)[1:] == (False, True, True)
    assert walk(world, state, LEFT)[1:] == (False, True, True)
    for action, cell in ((UP, 1), (WAIT, 5)):
        after, *ends = walk(world, state, action)
        assert (after.agent[0], ends) == (cell, [False, False, False])
        assert all(np.array_equal(x, y) for x, y in zip(after[1:], state[1:], strict=True))
    assert walk(world, state._replace(goal=np.array([1])), DOWN)[1:] == (True, False, True)
    assert state.agent[0] == 5  # transitions leave their input alone


def test_walls_hold():
    world = Goto(size=3, num_objects=4)
    moves = {UP: (-1, 0), DOWN: (1, 0), LEFT: (0, -1), RIGHT: (0, 1)}
    for cell in range(9):
        for action, (down, right) in moves.items():
            row, column = cell // 3 + down, cell % 3 + right
            inside = 0 <= row < 3 and 0 <= column < 3
            after = walk(world, one(cell, [-1] * 4, [0, 1, 5, 6]), action)[0]
            assert after.agent[0] == (row * 3 + column if inside else cell)


def test_every_tile_is_in_its_place():
    world = Goto(size=5, num_objects=12)
    state = starts(world, 50)
    tiles = object_tiles(list(COLOURS), list(SHAPES))
    looks = [floor_tile(), agent_tile(), *tiles]
    assert len({tile.tobytes() for tile in looks}) == len(looks)
    image = world.observe(state)["image"].reshape(-1, 5, 8, 5, 8, 3).swapaxes(2, 3).reshape(-1, 25, 8, 8, 3)
    for agent, cells, kinds, seen in zip(state.agent, state.cells, state.kinds, image, strict=True):
        expected = np.tile(floor_tile(), (25, 1, 1, 1))
        expected[cells] = tiles[kinds]
        expected[agent] = agent_tile()
        assert np.array_equal(seen, expected)


def test_the_agent_covers_what_it_stands_on():
    world = Goto(size=3, num_objects=4)
    image = world.observe(one(4, [4, 0, 1, 2], [0, 1, 5, 6]))["image"][0]
    assert np.array_equal(image[8:16, 8:16], agent_tile())


@pytest.mark.parametrize("horizon", [1, 7, 32])
def test_the_horizon_is_exact(horizon):
    env = gym.make("UniEnv/Goto-v0", horizon=horizon)
    env.reset(seed=0)
    ends = [env.step(WAIT)[2:4] for _ in range(horizon)]
    assert ends == [(False, False)] * (horizon - 1) + [(False, True)]


@pytest.mark.parametrize("size, num_objects", [(8, 4), (4, 8), (3, 4)])
def test_oracle_walks_a_shortest_path_around_the_others(size, num_objects):
    world = Goto(size, num_objects)
    state = starts(world, 200)
    lengths = []
    for agent, cells, goal in zip(state.agent.tolist(), state.cells.tolist(), state.goal.tolist(), strict=True):
        others = {cell for index, cell in enumerate(cells) if index != goal}
        lengths.append(distance(size, agent, cells[goal], others))
    steps, reached = np.zeros(200, int), np.zeros(200, bool)
    for step in range(1, size * size):
        action = world.oracle(state)
        success = world.feedback(state, {}, action, None)["success"] & ~reached
        steps[success] = step
        reached |= success
        state = world.transition(state, {}, action, {}, None)
    assert [length or 0 for length in lengths] == steps.tolist()


def test_oracle_waits_where_the_goal_is_enclosed():
    world = Goto(size=4, num_objects=4)
    enclosed = one(agent=15, cells=[0, 1, 4, 10], kinds=[0, 1, 5, 6])
    assert distance(4, 15, 0, {1, 4, 10}) is None
    assert world.oracle(enclosed).tolist() == [WAIT]


def test_map_by_hand():
    world = Goto(size=3, num_objects=4)
    drawn = world.describe(one(4, [0, 2, 6, 8], [0, 1, 20, 21], goal=3), 0).splitlines()
    assert drawn[0] == "go to the purple circle"
    assert [line.split() for line in drawn[1:]] == [["Rs", ".", "Rc"], [".", "@", "."], ["Ps", ".", "Pc"]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 2},
        {"size": 65},
        {"num_objects": 2},
        {"num_objects": 5},
        {"num_objects": 14},
        {"size": 3, "num_objects": 6},
        {"horizon": 0},
        {"signal": "rewards"},
        {"backend": "jax"},
    ],
)
def test_bad_parameters_are_refused_in_one_line(wrong):
    with pytest.raises(ValueError, match=rf"\A.*got .*{list(wrong.values())[-1]}.*\Z"):
        Goto(**wrong)
