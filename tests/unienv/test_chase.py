from collections import Counter
from itertools import permutations, product
from typing import ClassVar

import numpy as np
import pytest
from scipy.ndimage import label
from scipy.stats import chisquare

from tests.contract import WorldContract
from unienv.rng import Keys, slots, streams
from unienv.separability import exact, feedback_nonseparability, ladder
from unienv.separability.enumeration import LIMIT, branch
from unienv.worlds.chase import MOTIONS, Chase, ChaseState

STRAIGHT, LEFT, RIGHT, BACK, FASTER, SLOWER = range(6)
GOLD = (255, 206, 40)


class TestChase(WorldContract):
    world_id = "UniEnv/Chase-v0"


class TestThirdOrderChase(WorldContract):
    world_id = "UniEnv/Chase-v0"
    parameters: ClassVar = {"order": 3, "coupling": 0.5, "num_objects": 2, "num_motions": 4, "field": 3, "frames": 3}


def small(**parameters):
    return Chase(**{**Chase.small, **parameters})


def starts(world, count):
    slot = slots(np.arange(count))
    return world.initial(Keys(np, streams(slot, slot * 0), slot * 0))


def all_starts(world):
    """Every start of a small world, once each, for all draws are uniform."""
    return branch(lambda keys, rows: world.initial(keys), 1, LIMIT)[2]


def state(motions, named=0, gold=0, dots=0, codes=None):
    """A state of one world."""
    codes = [0] * len(motions) if codes is None else codes
    fields = (codes, motions, named, gold, dots, False)
    return ChaseState(*(np.array([field]) for field in fields))


def chances(world, states):
    """(N, n) P(success | state, throw at each field), from every draw of feedback."""
    rows = len(states.named)

    def success(action):
        taken = np.full(rows, action)
        source, weight, caught = branch(
            lambda keys, r: world.feedback(pick(states, r), {}, taken[r], keys), rows, LIMIT
        )
        return np.bincount(source, weight * caught["success"], rows)

    return np.stack([success(action) for action in range(world.num_objects)], axis=1)


def pick(states, rows):
    return ChaseState(*(field[rows] for field in states))


def count_spots(mask):
    spots = np.zeros(mask.shape, np.int32)
    label(mask, output=spots)
    return spots.max()


def ends(world, states):
    """Whether one throw ends the episode, and nothing before."""
    after = world.transition(states, {}, states.named, {}, None)
    return bool(world.terminal(after).all() and not world.terminal(states).any())


def path(world, motion, x, y):
    """Cells (x, y) that a creature shows frame by frame."""
    q = world.field
    codes = world._clips(state([motion] * world.num_objects, codes=[y * q + x] * world.num_objects))[0, :, 0].tolist()
    return [(code % q, code // q) for code in codes]


def test_motions_by_hand():
    world = Chase(field=4, frames=4)
    assert list(MOTIONS)[LEFT] == "turns left"
    assert path(world, STRAIGHT, 2, 1) == [(2, 1), (3, 1), (0, 1), (1, 1)]
    assert path(world, LEFT, 2, 1) == [(2, 1), (3, 1), (3, 0), (3, 3)]
    assert path(world, RIGHT, 2, 1) == [(2, 1), (3, 1), (3, 2), (3, 3)]
    assert path(world, BACK, 2, 1) == [(2, 1), (3, 1), (2, 1), (1, 1)]
    assert path(world, FASTER, 0, 3) == [(0, 3), (1, 3), (3, 3), (1, 3)]
    assert path(world, SLOWER, 0, 3) == [(0, 3), (2, 3), (3, 3), (0, 3)]


def test_the_motion_shows_in_the_later_half():
    turned = {3: 1, 4: 2, 5: 2, 6: 3, 16: 8}  # frames -> frames after the turn
    for frames, count in turned.items():
        rows = [y for _, y in path(Chase(frames=frames, field=8), RIGHT, 0, 0)]
        assert rows == [0] * (frames - count) + [(1 + i) % 8 for i in range(count)]


@pytest.mark.parametrize("field, motions", [(2, 2), (3, 4), *((field, 6) for field in range(4, 9))])
def test_the_clip_of_a_creature_tells_its_motion_and_no_single_frame_does(field, motions):
    for frames in range(3, 17):
        world = Chase(num_objects=2, num_motions=motions, field=field, frames=frames)
        clips = world._paths.reshape(frames, motions, field**2)
        assert len(np.unique(clips.transpose(1, 2, 0).reshape(-1, frames), axis=0)) == motions * field**2
        assert (np.sort(clips, axis=2) == np.arange(field**2)).all()  # one-to-one, at every frame


@pytest.mark.parametrize("field, motions", [(2, 3), (3, 5)])
def test_motions_that_look_alike_are_refused(field, motions):
    with pytest.raises(ValueError, match=rf"\A.*field of {field} .*{motions} motions look alike.*\Z"):
        Chase(num_objects=2, num_motions=motions, field=field)


def test_what_a_frame_shows_is_independent_of_the_motions():
    world = small(num_motions=3, field=3)
    every = all_starts(world)
    video = world.observe(every)["video"]
    for t in range(world.frames):
        seen = {}
        for motions, frame in zip(every.motions.tolist(), video[:, t], strict=True):
            seen.setdefault(tuple(motions), Counter())[frame.tobytes()] += 1
        assert len(seen) == 6
        assert all(count == seen[0, 1] for count in seen.values())
    whole = {}
    for motions, clip in zip(every.motions.tolist(), video, strict=True):
        whole.setdefault(clip.tobytes(), set()).add(tuple(motions))
    assert {len(motions) for motions in whole.values()} == {1}


def test_starts_are_uniform():
    world = Chase(order=3)
    drawn = starts(world, 60_000)
    assert all(len(set(motions)) == 4 for motions in drawn.motions[:500].tolist())
    orders = {order: code for code, order in enumerate(permutations(range(6), 4))}
    task = np.stack([drawn.named, drawn.gold, drawn.dots])
    for codes, count in (
        (np.array([orders[tuple(motions)] for motions in drawn.motions.tolist()]), 360),
        (np.ravel_multi_index(tuple(task), (4, 4, 4)), 64),
        (drawn.starts[:, 0], 16),
        (drawn.starts[:, 1] * 4 + drawn.named, 64),
        (drawn.motions[:, 2] * 16 + drawn.gold * 4 + drawn.dots, 96),
    ):
        assert chisquare(np.bincount(codes, minlength=count)).pvalue > 1e-3
    assert not starts(Chase(), 1000).dots.any()


def test_texts_by_hand():
    world, third = Chase(), Chase(order=3)
    for motion, words in enumerate(MOTIONS):
        shown = state([motion, (motion + 1) % 6, (motion + 2) % 6, (motion + 3) % 6][::-1], named=3, dots=2)
        assert world.vocabulary.decode(world.observe(shown)["text"][0]) == f"catch the one that {words}"
        assert third.vocabulary.decode(third.observe(shown)["text"][0]) == f"count on from the one that {words}"
    assert world.action_names == ("top left", "top right", "bottom left", "bottom right")
    assert small().action_names == ("left", "right")


def test_throws_by_hand():
    named_third = state([STRAIGHT, LEFT, BACK, FASTER], named=2, gold=1, dots=3)
    assert chances(Chase(), named_third._replace(dots=np.array([0]))).tolist() == [[0, 0, 1, 0]]
    assert chances(Chase(order=3), named_third).tolist() == [[0, 1, 0, 0]]  # bottom left, and three on, round again
    assert chances(Chase(order=3, coupling=0.25), named_third._replace(dots=np.array([2]))).tolist() == [
        [0.25, 0.75, 0, 0]
    ]
    assert chances(Chase(order=3, coupling=0.25), named_third).tolist() == [[0, 1, 0, 0]]
    assert chances(Chase(coupling=0), named_third).tolist() == [[0, 1, 0, 0]]
    assert ends(Chase(), named_third)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("coupling", [0.0, 0.3, 0.5, 0.8, 1.0])
def test_feedback_follows_its_probability_and_oracle_is_the_likelier(order, coupling):
    world = Chase(order, coupling)
    drawn = starts(world, 300)
    target, field = (drawn.named + drawn.dots) % 4, np.arange(4)
    p = chances(world, drawn)
    expected = coupling * (field == target[:, None]) + (1 - coupling) * (field == drawn.gold[:, None])
    assert np.allclose(p, expected, atol=1e-15)
    assert (p[np.arange(300), world.oracle(drawn)] == p.max(axis=1)).all()


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("coupling", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_nonseparability_is_exact_and_of_the_order_stated(order, coupling):
    world = small(order=order, coupling=coupling)
    measured = exact(world)
    feedback = measured.steps[0].feedback
    assert measured.length == pytest.approx(1)
    assert feedback.nonseparability == pytest.approx(world.nonseparability(), abs=1e-9)
    assert feedback.connected == pytest.approx([0] * (order - 2) + [world.nonseparability()], abs=1e-9)
    assert measured.steps[0].signal.nonseparability == pytest.approx(world.nonseparability(), abs=1e-9)


@pytest.mark.parametrize("order, objects, motions", [(2, 4, 4), (2, 2, 6), (2, 4, 5), (3, 4, 4), (3, 2, 3)])
def test_nonseparability_with_more_creatures(order, objects, motions):
    """The table of text, sign, video (motions and gold, places left out) and throw, from the world's own feedback."""
    world = Chase(order, 0.4, objects, motions)
    videos = list(product(permutations(range(motions), objects), range(objects)))
    dots = objects if order == 3 else 1
    cells = list(product(range(len(videos)), range(objects), range(dots)))
    moves, gold = (np.array([videos[v][part] for v, _, _ in cells]) for part in (0, 1))
    video, named, dot = np.array(cells).T
    p = chances(world, ChaseState(moves * 0, moves, named, gold, dot, dot < 0))
    table = np.zeros((motions, dots, len(videos), objects, 2))
    table[moves[np.arange(len(cells)), named], dot, video] = np.stack([1 - p, p], axis=2)
    found = feedback_nonseparability(table.squeeze(1) / table.sum() if order == 2 else table / table.sum())
    assert found.connected == pytest.approx([0] * (order - 2) + [world.nonseparability()], abs=1e-9)


@pytest.mark.parametrize("objects", [2, 4, 6])
def test_nonseparability_rises_with_the_coupling(objects):
    curve = [Chase(coupling=c, num_objects=objects).nonseparability() for c in np.linspace(0, 1, 41)]
    p = 1 / objects
    assert curve[0] == 0
    assert curve[-1] == pytest.approx(-p * np.log(p) - (1 - p) * np.log(1 - p))
    assert (np.diff(curve) > 0).all()


@pytest.mark.parametrize("order", [2, 3])
def test_what_two_creatures_are_worth(order):
    worth = ladder(small(order=order))
    assert (worth.blind, *worth.single) == pytest.approx([0.5] * (order + 1))
    assert (worth.late, worth.joint) == pytest.approx((0.75, 1.0))


@pytest.mark.parametrize("parameters", [{}, {"num_objects": 6, "field": 5, "frames": 5}, dict(Chase.small)])
def test_every_creature_is_drawn_in_its_cell_and_the_golden_one_in_gold(parameters):
    world = Chase(**parameters)
    drawn, q, n = starts(world, 30), world.field, world.num_objects
    video = world.observe(drawn)["video"]
    fields = video.reshape(30, world.frames, n // 2, q * 8, 2, q * 8, 3).swapaxes(3, 4)
    fields = fields.reshape(30, world.frames, n, q * 8, q * 8, 3)
    empty = np.median(Chase(field=8)._fields.view(np.uint8).reshape(-1, 64, 64, 3), axis=0)
    inner = empty[8:16, 8:16]  # of the floor, away from the fence
    for world_, t, k in product(range(30), range(world.frames), range(n)):
        seen, code = fields[world_, t, k], world._clips(drawn)[world_, t, k]
        tiles = seen.reshape(q, 8, q, 8, 3).swapaxes(1, 2)[:, :, 1:7, 1:7]
        differs = (tiles != inner[1:7, 1:7]).any(axis=(2, 3, 4))
        assert np.argwhere(differs).tolist() == [[code // q, code % q]]
        assert (seen == GOLD).all(axis=2).any() == (k == drawn.gold[world_])
        rim = np.concatenate([seen[0], seen[-1], seen[:, 0], seen[:, -1]])
        assert (rim == rim[0]).all()


def test_every_look_is_another():
    world = Chase()
    looks = world._fields.reshape(2 * world.field**2, -1)
    assert len(np.unique(looks, axis=0)) == len(looks)


@pytest.mark.parametrize("objects", [2, 4, 6])
def test_the_sign_has_as_many_dots_as_it_should(objects):
    world = Chase(order=3, num_objects=objects)
    drawn = starts(world, 50)
    for dots, image in zip(drawn.dots, world.observe(drawn)["image"], strict=True):
        assert count_spots(image.sum(axis=2) < 200) == dots
    assert set(drawn.dots.tolist()) == set(range(objects))


def test_map_by_hand():
    world = Chase(order=3, num_objects=2, num_motions=2, field=2, frames=3)
    codes = [2, 1]  # from the lower left cell; from the upper right one
    drawn = world.describe(state([STRAIGHT, LEFT], named=1, gold=0, dots=1, codes=codes), 0).splitlines()
    assert drawn[0] == "count on from the one that turns left [dots: 1]"
    assert [line.split() for line in drawn[1:]] == [
        [".", ".", ".", "o", ".", ".", "o", ".", ".", ".", ".", "."],
        ["*", ".", ".", ".", ".", "*", ".", ".", "*", ".", "o", "."],
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"order": 1},
        {"order": 4},
        {"coupling": -0.1},
        {"coupling": 1.1},
        {"coupling": float("nan")},
        {"num_objects": 3},
        {"num_objects": 8},
        {"num_motions": 3},
        {"num_motions": 7},
        {"field": 1},
        {"field": 9},
        {"frames": 2},
        {"frames": 17},
        {"signal": "rewards"},
        {"backend": "jax"},
    ],
)
def test_bad_parameters_are_refused_in_one_line(wrong):
    with pytest.raises(ValueError, match=rf"\A.*got .*{next(iter(wrong.values()))}.*\Z"):
        Chase(**wrong)
