from collections import Counter, defaultdict
from itertools import permutations
from typing import ClassVar

import numpy as np
import pytest
from scipy.stats import binom, chisquare

from tests.contract import WorldContract
from unienv.rng import Keys, slots, streams
from unienv.separability import exact, ladder
from unienv.separability.enumeration import LIMIT, branch
from unienv.sprites import COLOURS
from unienv.world import take
from unienv.worlds.rules import MOVES, Rules, RulesState

QUERY = [[0, 1, 2], [0, 0, 1], [2, 2, 1]]
MOVED = {
    "mirror it left and right": [[2, 1, 0], [1, 0, 0], [1, 2, 2]],
    "mirror it up and down": [[2, 2, 1], [0, 0, 1], [0, 1, 2]],
    "turn it to the left": [[2, 1, 1], [1, 0, 2], [0, 0, 2]],
    "turn it to the right": [[2, 0, 0], [2, 0, 1], [1, 1, 2]],
    "turn it half way round": [[1, 2, 2], [1, 0, 0], [2, 1, 0]],
    "leave it as it is": QUERY,
}


class TestRules(WorldContract):
    world_id = "UniEnv/Rules-v0"


class TestSmallRules(WorldContract):
    world_id = "UniEnv/Rules-v0"
    parameters: ClassVar = dict(Rules.small)


def starts(world, count):
    slot = slots(np.arange(count))
    return world.initial(Keys(np, streams(slot, slot * 0), slot * 0))


def all_starts(world):
    """Every start of a small world, one row a draw; all draws are equally likely."""
    _, weight, state = branch(lambda keys, rows: world.initial(keys), 1, LIMIT)
    assert np.ptp(weight) < 1e-15
    return state


def one(move=0, recolour=(0, 1, 2), shown=(0, 1, 2, 2, 0, 0), query=QUERY):
    """A state of one world of default size; orbits are corners, edges, centre."""
    cells = np.array(query).reshape(1, -1)
    return RulesState(np.array([shown]), np.array([recolour]), np.array([move]), cells, np.array([False]))


@pytest.mark.parametrize("move, hint", list(enumerate(MOVED)))
def test_moves_by_hand(move, hint):
    world = Rules()
    assert list(MOVES)[move] == hint
    for recolour in permutations(range(3)):
        state = one(move, recolour)
        assert world.vocabulary.decode(world.observe(state)["text"][0]) == f"hint : {hint}"
        assert world.oracle(state).tolist() == [[recolour[colour] for row in MOVED[hint] for colour in row]]


def test_examples_by_hand():
    inputs, outputs = Rules().examples(one(recolour=(1, 2, 0)))
    assert inputs.tolist() == [[0, 1, 0, 1, 2, 1, 0, 1, 0, 2, 0, 2, 0, 0, 0, 2, 0, 2]]
    assert outputs.tolist() == [[1, 2, 1, 2, 0, 2, 1, 2, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0]]


def test_map_by_hand():
    lines = Rules().describe(one(move=2, recolour=(1, 2, 0)), 0).splitlines()
    examples = ["RGR    GBG", "GBG -> BRB", "RGR    GBG", "", "BRB    RGR", "RRR -> GGG", "BRB    RGR"]
    assert lines == ["hint : turn it to the left", "", *examples, "", "RGB    ???", "RRG -> ???", "BBG    ???"]


def answer_with(world, state, answer):
    """Right cells, success, reward and end of one world's answer."""
    feedback = world.feedback(state, {}, answer, None)
    after = world.transition(state, {}, answer, feedback, None)
    reward = world.reward(state, {}, answer, feedback)
    return tuple(value.item() for value in (feedback["cells"], feedback["success"], reward, world.terminal(after)))


def test_answers_by_hand():
    state = one(move=4, recolour=(2, 0, 1))
    right = np.array([[0, 1, 1, 0, 2, 2, 1, 0, 2]])
    for wrong in ([], [4], [0, 8], list(range(9))):
        answer = right.copy()
        answer[:, wrong] = (answer[:, wrong] + 1) % 3
        cells = 9 - len(wrong)
        assert answer_with(Rules(), state, answer) == (cells, not wrong, cells / 9, True)
    assert not state.answered.any()  # transitions leave their input alone


@pytest.mark.parametrize("parameters", [{}, {"size": 2, "num_colours": 2}, {"size": 5, "num_colours": 6}, {"size": 4}])
def test_examples_show_every_colour_and_no_move(parameters):
    world = Rules(**parameters)
    state = starts(world, 200)
    inputs, outputs = world.examples(state)
    assert (np.sort(state.recolour, axis=1) == np.arange(world.num_colours)).all()
    assert np.array_equal(outputs, np.take_along_axis(state.recolour, inputs, axis=1))
    assert all(set(row) == set(range(world.num_colours)) for row in inputs.tolist())
    for grids in (inputs, outputs):
        for grid in grids.reshape(-1, world.size, world.size):
            assert all(np.array_equal(move(grid), grid) for move in MOVES.values())


@pytest.mark.parametrize("size, orbits", [(2, 1), (3, 3), (4, 3), (5, 6), (8, 10)])
def test_orbits_are_told_apart(size, orbits):
    world = Rules(size, num_colours=2)
    inputs, _ = world.examples(starts(world, 400))
    cells = inputs.reshape(-1, size * size).T  # (cells, examples): cells of one orbit agree everywhere, others do not
    assert len(np.unique(cells, axis=0)) == world.num_orbits == orbits


@pytest.mark.parametrize("parameters", [{}, {"size": 2, "num_colours": 2}, {"size": 5, "num_colours": 6}])
def test_every_grid_is_in_its_place(parameters):
    world = Rules(**parameters)
    state, s = starts(world, 50), world.size
    images = world.observe(state)["image"]
    colours, blank = np.array(list(COLOURS.values())), images[0].copy()
    for image, query, *examples in zip(images, state.query, *world.examples(state), strict=True):
        inputs, outputs = (grids.reshape(-1, s, s) for grids in examples)
        lefts, rights = [*inputs, query.reshape(s, s)], [*outputs, None]
        for line, sides in enumerate(zip(lefts, rights, strict=True)):
            for left, grid in zip((0, s + 1), sides, strict=True):
                if grid is not None:
                    top = line * (s + 1) * 8
                    area = (slice(top, top + 8 * s), slice(left * 8, (left + s) * 8))
                    seen = image[area].reshape(s, 8, s, 8, 3)[:, 1:, :, 1:]
                    assert (seen == colours[grid][:, None, :, None]).all()
                    image[area] = blank[area] = 0
        assert np.array_equal(image, blank)  # besides the grids all pictures are the same


def test_the_picture_knows_no_move_and_the_hint_no_colour():
    world = Rules()
    state, other = starts(world, 300), take(starts(world, 600), np.arange(300, 600))
    seen = world.observe(state)
    assert np.array_equal(seen["image"], world.observe(state._replace(move=other.move))["image"])
    assert np.array_equal(seen["text"], world.observe(other._replace(move=state.move))["text"])


def test_only_both_determine_the_answer():
    world = Rules(**Rules.small)
    state = all_starts(world)
    seen, answers = world.observe(state), list(map(tuple, world.oracle(state).tolist()))
    texts, images = ([row.tobytes() for row in seen[name]] for name in ("text", "image"))
    of_text, moves_of_image, of_both = defaultdict(Counter), defaultdict(Counter), defaultdict(set)
    for text, image, answer in zip(texts, images, answers, strict=True):
        of_text[text][answer] += 1
        moves_of_image[image][text] += 1
        of_both[text, image].add(answer)
    assert len(of_text) == world.num_moves and len(moves_of_image) == 64
    assert all(len(counts) == 16 and len(set(counts.values())) == 1 for counts in of_text.values())
    assert all(len(counts) == world.num_moves and len(set(counts.values())) == 1 for counts in moves_of_image.values())
    assert all(len(found) == 1 for found in of_both.values())


def test_starts_are_uniform():
    state = starts(Rules(), 30_000)
    recolour = state.recolour[:, 0] * 3 + state.recolour[:, 1]
    queries = state.query[:, :4] @ [27, 9, 3, 1]
    assert chisquare(np.bincount(state.move, minlength=6)).pvalue > 1e-3
    assert chisquare(np.unique(recolour, return_counts=True)[1]).pvalue > 1e-3
    assert all(chisquare(np.bincount(cell, minlength=3)).pvalue > 1e-3 for cell in state.query.T)
    assert chisquare(np.bincount(queries, minlength=81)).pvalue > 1e-3
    assert all(chisquare(np.bincount(orbit, minlength=3)).pvalue > 1e-3 for orbit in state.shown.T)
    together = np.unique(recolour, return_inverse=True)[1] * 18 + state.move * 3 + state.query[:, 8]
    assert chisquare(np.bincount(together, minlength=108)).pvalue > 1e-3


def test_exact_nonseparability_of_the_small_version():
    found = exact(Rules(**Rules.small))
    (step,) = found.steps
    assert found.states == 2 * 2 * 2 * Rules.small["num_moves"] * 16
    cells = binom.pmf(np.arange(5), 4, 0.5)  # a blind answer's right cells; given both modalities they are certain
    assert step.feedback.information == pytest.approx(-cells @ np.log(cells))
    assert step.feedback.entropy == pytest.approx(0)
    assert step.feedback.nonseparability == pytest.approx(0.3249, abs=1e-4)
    assert step.signal.nonseparability == pytest.approx(step.feedback.nonseparability)  # the share tells the number
    assert step.output.nonseparability == pytest.approx(0)


def test_whole_answers_of_late_fusion_with_two_mirrorings():
    """A quarter of the queries look the same half way round: both mirrorings agree. Others come in pairs, an XOR."""
    found = ladder(Rules(size=2, num_colours=2, num_moves=2, signal="label"))
    assert found.single == pytest.approx((1 / 16, 1 / 4 + 3 / 4 * 1 / 2))
    assert (found.late, found.late_bound) == pytest.approx((1 / 4 + 3 / 4 * 3 / 4,) * 2)
    assert found.joint == pytest.approx(1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 1},
        {"size": 9},
        {"num_colours": 1},
        {"num_colours": 7},
        {"num_examples": 0},
        {"num_examples": 9},
        {"num_moves": 1},
        {"num_moves": 7},
        {"num_examples": 1, "num_colours": 4},
        {"size": 2, "num_colours": 3},
        {"signal": "rewards"},
        {"backend": "jax"},
    ],
)
def test_bad_parameters_are_refused_in_one_line(wrong):
    with pytest.raises(ValueError, match=rf"\A.*(got .*|=){list(wrong.values())[-1]}.*\Z"):
        Rules(**wrong)
