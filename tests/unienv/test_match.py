from collections import Counter
from fractions import Fraction
from itertools import product
from typing import ClassVar

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import xlogy
from scipy.stats import chisquare

from tests.contract import WorldContract
from unienv.rng import Keys, slots, streams
from unienv.separability.draws import LIMIT, branch
from unienv.sprites import COLOURS, FLOOR
from unienv.worlds.match import KINDS, NO, YES, Match, MatchState


class TestMatch(WorldContract):
    world_id = "UniEnv/Match-v0"


class TestAdditiveMatch(WorldContract):
    world_id = "UniEnv/Match-v0"
    parameters: ClassVar = {"kind": "additive", "coupling": 0.5, "num_colours": 2, "num_shapes": 1}


class TestRedundantMatch(WorldContract):
    world_id = "UniEnv/Match-v0"
    parameters: ClassVar = {"kind": "redundant", "num_colours": 6, "num_shapes": 5}


def law(world):
    """P(shown, named, image cue, text cue), from every draw that a start can make."""
    _, _, start = branch(lambda keys, rows: world.initial(keys), 1, LIMIT)
    rows = list(zip(*(field.tolist() for field in start[:4]), strict=True))
    return {cell: Fraction(count, len(rows)) for cell, count in Counter(rows).items()}


def states(cells):
    """The world's states in these cells, the picture in the first place."""
    columns = np.array(list(cells)).T
    return MatchState(*columns, place=columns[0] * 0, answered=columns[0] < 0)


def success_table(world, cells, answer):
    """P(success | cell, answer) of each cell, from every draw of feedback."""
    cells = list(cells)

    def success(keys, rows):
        return world.feedback(states([cells[row] for row in rows]), {}, np.full(len(rows), answer), keys)["success"]

    rows, weight, right = branch(success, len(cells), LIMIT)
    return dict(zip(cells, np.bincount(rows, weight * right), strict=True))


def least_divergence(law, table, sizes):
    """min over log-additive q of E KL(p || q), with q(success | text, image) = sigmoid(f(text) + g(image))."""
    shown, named, image_cue, text_cue = np.array(list(law)).T
    text, image = named * 2 + text_cue, shown * 2 + image_cue
    weight, p = np.array([float(x) for x in law.values()]), np.array([table[cell] for cell in law])

    def cross_entropy(scores):
        z = scores[text] + scores[sizes + image]
        gradient = np.zeros_like(scores)
        slope = weight * (1 / (1 + np.exp(-z)) - p)
        np.add.at(gradient, text, slope)
        np.add.at(gradient, sizes + image, slope)
        return weight @ (np.logaddexp(0, z) - p * z), gradient

    best = minimize(cross_entropy, np.zeros(2 * sizes), jac=True, method="BFGS", options={"gtol": 1e-9})
    assert abs(best.jac).max() < 1e-7  # the problem is convex, so this is the minimum
    return best.fun + weight @ (xlogy(p, p) + xlogy(1 - p, 1 - p))


@pytest.mark.parametrize("colours, shapes", [(2, 1), (3, 1), (2, 2)])
def test_start_law_is_balanced(colours, shapes):
    k = colours * shapes
    for kind in KINDS:
        cells = law(Match(kind, num_colours=colours, num_shapes=shapes))
        for shown, named, image_cue, text_cue in product(range(k), range(k), range(2), range(2)):
            pair = Fraction(1, 2 * k) if shown == named else Fraction(1, 2 * k * (k - 1))
            times = Fraction(image_cue == text_cue, 2) if kind == "redundant" else Fraction(1, 4)
            assert cells.get((shown, named, image_cue, text_cue), 0) == pair * times


def test_drawn_starts_follow_the_law():
    world = Match(num_colours=3, num_shapes=1)
    slot = slots(np.arange(36_000))
    start = world.initial(Keys(np, streams(slot, slot * 0), slot * 0))
    drawn = Counter(zip(*(field.tolist() for field in (*start[:4], start.place)), strict=True))
    cells = {(*cell, place): float(p) / 9 for cell, p in law(world).items() for place in range(9)}
    assert drawn.keys() <= cells.keys()
    assert chisquare([drawn[cell] for cell in cells], [36_000 * p for p in cells.values()]).pvalue > 1e-3


@pytest.mark.parametrize("colours, shapes", [(2, 1), (3, 1)])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coupling", [1 / 8, 1 / 2, 7 / 8])
def test_nonseparability_is_the_least_divergence(kind, coupling, colours, shapes):
    world = Match(kind, coupling, colours, shapes)
    cells = law(world)
    for answer in (YES, NO):
        table = success_table(world, cells, answer)
        assert least_divergence(cells, table, 2 * colours * shapes) == pytest.approx(world.nonseparability(), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_nonseparability_at_the_ends_and_between(kind):
    curve = [Match(kind, c, 2, 1).nonseparability() for c in np.linspace(0, 1, 41)]
    assert curve[0] == pytest.approx(0, abs=1e-12)
    assert curve[-1] == pytest.approx(np.log(2), abs=1e-12)
    assert (np.diff(curve) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_joint_feedback_has_no_log_additive_part(kind):
    world = Match(kind, 1.0, 3, 1)
    cells = law(world)
    assert least_divergence(cells, success_table(world, cells, YES), 6) == pytest.approx(np.log(2), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coupling", [0.0, 0.25, 1.0])
def test_feedback_follows_its_probability(kind, coupling):
    world = Match(kind, coupling, 3, 1)
    vote = {
        "text": lambda day, night: night,
        "image": lambda day, night: day,
        "redundant": lambda day, night: day,
    }.get(kind, lambda day, night: (day + night) / 2)
    cells = law(world)
    yes, no = success_table(world, cells, YES), success_table(world, cells, NO)
    for (shown, named, day, night), p in yes.items():
        assert p == coupling * (shown == named) + (1 - coupling) * vote(day, night)
        assert no[shown, named, day, night] == 1 - p
    assert list(yes.values()) == world.yes_probability(states(cells)).tolist()
    assert world.oracle(states(cells)).tolist() == [int(p > 0.5) for p in yes.values()]


@pytest.mark.parametrize("k", [2, 3, 4])
def test_late_ceiling_is_three_quarters_and_one_modality_is_half(k):
    world = Match(num_colours=k, num_shapes=1)
    pairs = Counter()
    for (shown, named, *_), p in law(world).items():
        pairs[shown, named] += p
    success = lambda rows: sum(p for (i, j), p in pairs.items() if (rows[i] >> j & 1) == (i == j))  # noqa: E731
    tables = list(product(range(2**k), repeat=k))  # row i as a bit mask of the columns that say yes
    nested = [rows for rows in tables if all(a & b in (a, b) for a in rows for b in rows)]  # no 2 x 2 minor is an XOR
    image_only = [rows for rows in tables if set(rows) <= {0, 2**k - 1}]
    text_only = [rows for rows in tables if len(set(rows)) == 1]
    assert len(image_only) == len(text_only) == 2**k
    assert max(map(success, tables)) == 1
    assert max(map(success, nested)) == Fraction(3, 4)
    assert {success(rows) for rows in image_only + text_only} == {Fraction(1, 2)}


def test_one_answer_by_hand():
    world = Match()
    state = states([(5, 5, 0, 1), (5, 6, 0, 1)])
    text = [world.vocabulary.decode(row) for row in world.observe(state)["text"]]
    assert text == ["is this a green circle by day ?", "is this a green triangle by day ?"]
    for answer, right in ((YES, [True, False]), (NO, [False, True])):
        action = np.full(2, answer)
        _, _, feedback = branch(lambda keys, rows, action=action: world.feedback(state, {}, action, keys), 2, LIMIT)
        after = world.transition(state, {}, action, feedback, None)
        assert feedback["success"].tolist() == right
        assert world.reward(state, {}, action, feedback).tolist() == [float(x) for x in right]
        assert after.answered.all() and world.terminal(after).all() and not world.terminal(state).any()


def test_each_modality_shows_its_own_part_of_the_state_and_all_of_it():
    world = Match(num_colours=2, num_shapes=2)
    cells = list(product(range(4), range(4), range(2), range(2), range(9)))
    *columns, place = np.array(cells).T
    seen = world.observe(MatchState(*columns, place=place, answered=place < 0))
    images, texts = {}, {}
    for (shown, named, image_cue, text_cue, where), image, text in zip(cells, seen["image"], seen["text"], strict=True):
        images.setdefault((shown, image_cue, where), set()).add(image.tobytes())
        texts.setdefault((named, text_cue), set()).add(text.tobytes())
    for table in (images, texts):
        assert {len(variants) for variants in table.values()} == {1}
        assert len(set.union(*table.values())) == len(table)


def test_picture_by_hand():
    world = Match()
    shown = np.arange(16)
    for cue, sky in enumerate((FLOOR, (206, 214, 224))):
        image = world.observe(MatchState(shown, shown, shown * 0 + cue, shown * 0, shown * 0 + 8, shown < 0))["image"]
        assert (image[:, :32] == sky).all() and (image[:, :, :32] == sky).all()  # the last place is below, right
        assert (image[:, 48, 48] == [COLOURS[colour] for colour in list(COLOURS)[:4] for _ in range(4)]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "join"},
        {"coupling": -0.1},
        {"coupling": 1.1},
        {"coupling": float("nan")},
        {"num_colours": 0},
        {"num_colours": 7},
        {"num_shapes": 6},
        {"num_colours": 1, "num_shapes": 1},
        {"signal": "rewards"},
    ],
)
def test_bad_parameters_are_refused_in_one_line(wrong):
    with pytest.raises(ValueError, match=rf"\A.*got .*{next(iter(wrong.values()))}.*\Z"):
        Match(**wrong)
