"""The law of describe: what is not separable in its small version, in nats, and what late fusion makes of it."""

from itertools import permutations, product

import numpy as np
import pytest

from tests.unienv.test_describe import DIAL, keys, name
from unienv.separability import exact, feedback_nonseparability, ladder
from unienv.worlds.describe import Describe


@pytest.fixture(scope="module")
def measured():
    return {c: exact(Describe(**{**Describe.small, "coupling": c})) for c in DIAL}


def test_without_coupling_all_is_separable(measured):
    for step in measured[0.0].steps:
        assert step.feedback.nonseparability < 1e-9
        assert step.signal.nonseparability < 1e-9
        assert step.output.nonseparability < 1e-9
        assert step.feedback.information > 0.4


@pytest.mark.parametrize("part, quantity", [
    ("feedback", "nonseparability"),
    ("signal", "nonseparability"),
    ("output", "nonseparability"),
    ("output", "total_correlation"),
])  # fmt: skip
def test_nonseparability_grows_with_coupling(measured, part, quantity):
    for step in range(2):
        curve = [getattr(getattr(measured[c].steps[step], part), quantity) for c in DIAL]
        assert (np.diff(curve) > 1e-4).all()
    assert (np.diff([measured[c].total(part, quantity) for c in DIAL]) > 1e-4).all()


def test_first_step_of_the_small_version_in_closed_form(measured):
    h = lambda *law: float(-sum(p * np.log(p) for p in law if p > 1e-15))  # noqa: E731
    coin = lambda p: h(p, 1 - p)  # noqa: E731
    for c, found in measured.items():
        output = found.steps[0].output
        # One modality alone: 4 of 25 utterances and any cell are wrong with 3c/4. Both: half of these with c/2 or c.
        influence = coin(3 * c / 4) - coin(c / 2) / 2 - coin(c) / 2
        assert output.influence == pytest.approx((influence * 4 / 25, influence), abs=1e-9)
        assert output.action_coupling == pytest.approx((0, 0), abs=1e-9)
        # 2 of 25 utterances and 2 of 4 cells hang on which candidate is meant: half on the same, half on both.
        same = h((1 + (1 - c) ** 2) / 2, c * (1 - c) / 2, c * (1 - c) / 2, c**2 / 2)
        both = h(1 - c, c / 2, c / 2)
        assert output.total_correlation == pytest.approx((4 * coin(c / 2) - same - both) / 50, abs=1e-9)
    assert measured[1.0].steps[0].output.total_correlation == pytest.approx(np.log(2) / 25)
    # Success is non-separable for 8 of 100 answers, those that point into the row they say, if the shape is there.
    assert measured[1.0].steps[0].signal.nonseparability == pytest.approx(8 / 100 * (coin(1 / 4) - np.log(2) / 2) / 2)


def chances(c, colour, board, said, cell):
    """Law (2, 2) of the parts (text, image), before anything is crossed out, by the rules as they are told."""
    literal = said[0] in ("square", "circle") and said[1] in ("1", "2")
    law = np.zeros((2, 2))
    for goal in (place for place in range(4) if board[place][0] == colour):  # either with probability 1/2
        text = literal * (1 - c) + (said == (board[goal][1], "12"[goal // 2])) * c
        image = (1 - c) + (cell == goal) * c
        law += np.outer([1 - text, text], [1 - image, image]) / 2
    return law


@pytest.mark.parametrize("c", DIAL)
def test_first_step_of_the_small_version_by_the_rules(measured, c):
    colours, shapes = ("red", "green"), ("square", "circle")
    boards = list(permutations(product(colours, shapes)))
    answers = list(product(product(["", *shapes, "1", "2"], repeat=2), range(4)))
    law = np.array([chances(c, *given, *answer) for given in product(colours, boards) for answer in answers])
    law = law.reshape(2, 24, 100, 4) / 4800
    first = measured[c].steps[0]
    for found, outcomes in ((first.feedback, law), (first.signal, np.stack([law[..., :3].sum(-1), law[..., 3]], -1))):
        expected = feedback_nonseparability(outcomes)
        assert found.nonseparability == pytest.approx(expected.nonseparability, abs=1e-7)
        assert found.information == pytest.approx(expected.information, abs=1e-9)


def test_figures_of_the_small_version(measured):
    told = [(0.0, 0.0), (0.0161, 0.0170), (0.0445, 0.0477), (0.0970, 0.1067), (0.2505, 0.2930)]
    for found, nats in zip(measured.values(), told, strict=True):
        mean = [found.total(part, "nonseparability") / found.length for part in ("feedback", "output")]
        assert mean == pytest.approx(nats, abs=1e-4)


def test_one_decision_by_whole_answers():
    found = ladder(Describe(**{**Describe.small, "tries": 1}))
    assert (found.blind, *found.single, found.late, found.joint) == pytest.approx((1 / 8, 1 / 8, 1 / 4, 1 / 2, 1 / 2))


@pytest.mark.parametrize("parameters", [{}, {"size": 2, "num_colours": 3, "num_shapes": 2}])
def test_scores_of_whole_answers_agree_on_a_candidate(parameters):
    world = Describe(**parameters)
    state = world.initial(keys(4000))
    colour, shape = np.divmod(state.board - 1, world.num_shapes)  # (N, cells)
    there = state.board > 0
    first, earlier = (np.where(there, look, 9).min(axis=1, keepdims=True) for look in (colour, shape))
    last, later = (np.where(there, look, -1).max(axis=1, keepdims=True) for look in (colour, shape))
    chosen = ((colour == first) & (shape == earlier)) | ((colour == last) & (shape == later))
    by_image = np.where(there & chosen, -(first + last) / 2 * shape, -np.inf)
    asked = world.observe(state)["text"][:, 1:2] - world.vocabulary.id("red")
    cell = (asked * shape + by_image).argmax(axis=1)
    action = {"text": name(world, shape[np.arange(4000), cell], cell), "image": cell}
    feedback = world.feedback(state, {}, action, keys(4000, 1))
    assert abs(feedback["success"].mean() - 0.5) < 0.04
    assert np.array_equal(feedback["text"], feedback["image"])
