import dataclasses

import numpy as np
import pytest

from tests.unienv.separability.test_estimate import drawn, sigmoid
from unienv.adapt import make_vector
from unienv.separability.estimate import estimate
from unienv.separability.features import describe
from unienv.separability.neural import Cells, Heads, Sizes, fit_nested
from unienv.separability.transitions import Transitions, record

SMALL = Sizes(width=16, products=16, separable_steps=80, joint_steps=150, batch=512)
LONG = dataclasses.replace(SMALL, separable_steps=300)


def parity(_, a, b, c):
    return (a + b + c) % 2


def words(n, seed):
    """Three modalities of 4 values each: their last bits decide by parity."""
    return drawn(parity, n, seed, (4, 4, 4))


def test_three_modalities_with_parity():
    found = estimate(words(3000, 0), "net", sizes=SMALL, net_seeds=1, replicates=39)
    assert found.nonseparability == pytest.approx(np.log(2), rel=0.05)
    assert found.detected and found.p_value == pytest.approx(1 / 40)
    assert found.share == pytest.approx(1, abs=0.02)
    assert (found.folds, found.net_seeds, found.df, found.method) == (5, 1, None, "net")
    assert [width for width, *_ in found.ladder] == [4, 16, 64]
    assert found.ladder[1][2] == pytest.approx(found.gain, abs=0.02)
    (nothing, of_nothing), (true, of_true) = found.calibration
    assert nothing == pytest.approx(0, abs=1e-9) and abs(of_nothing) < 0.02
    assert 0.05 < true < np.log(2) and of_true > 0.02


def test_nothing_is_detected_in_a_separable_law():
    law = lambda _, a, b: sigmoid(1.5 * (a - 1.5) - (b - 2) ** 2 + 1)  # noqa: E731
    found = [estimate(drawn(law, 2000, s, (4, 5)), "net", 5, 1, 39, False, SMALL, s) for s in range(3)]
    assert all(abs(x.gain) < 0.01 and abs(x.nonseparability) < 0.03 for x in found)
    assert sum(x.detected for x in found) <= 1 and found[0].calibration == ()
    assert all("not detected" in str(x) for x in found if not x.detected)


def test_a_deterministic_separable_law_is_not_taken_for_joint():
    found = estimate(drawn(lambda _, a, b: a > 1, 2000, 0, (4, 4)), "net", 5, 1, 39, False, LONG)
    assert not found.detected and abs(found.nonseparability) < 1e-2
    assert found.information == pytest.approx(np.log(2), abs=0.02)


def test_pictures_and_words_of_match():
    played = record(make_vector("match", 256, num_colours=2, num_shapes=1), 4000)
    found = estimate(played, "net", sizes=SMALL, net_seeds=1, replicates=19, calibrate=False)
    assert found.nonseparability == pytest.approx(np.log(2), abs=0.07) and found.detected


def test_auto_takes_nets_where_cells_are_thin():
    data = drawn(lambda _, a, b: 0.5 + 0 * a, 400, 0, (30, 30))
    found = estimate(data, net_seeds=1, replicates=19, calibrate=False, sizes=SMALL)
    assert found.method == "net" and not found.detected


def test_starved_separable_nets_are_warned_of():
    law = lambda _, a, b: (np.sin(5.0 * a) + np.sin(7.0 * b)) > 0  # noqa: E731
    starved = Sizes(width=1, products=8, separable_steps=80, joint_steps=20, batch=512)
    found = estimate(drawn(law, 2000, 0, (9, 9)), "net", 5, 1, 19, False, starved)
    assert any("wider" in warning for warning in found.warnings)
    assert found.ladder[0][1] > found.ladder[-1][1] + 0.05


def test_equal_seeds_give_equal_numbers():
    tiny = Sizes(width=4, products=4, separable_steps=10, joint_steps=10, batch=512)
    first, again, other = (estimate(words(500, 0), "net", 5, 1, 19, False, tiny, seed) for seed in (1, 1, 2))
    assert first == again and first.null != other.null


def test_episodes_are_kept_together():
    """Each episode has a coin of its own, shown by neither modality: nets that met the episode could know it."""
    generator = np.random.default_rng(0)
    episode = np.repeat(np.arange(40), 50)
    mark = generator.permutation(40)[episode]
    y = generator.integers(0, 2, 40)[episode]
    data = Transitions({"mark": mark, "noise": generator.integers(0, 3, 2000)}, np.zeros(2000, int), y, episode)
    found = estimate(data, "net", 5, 1, 19, False, SMALL)
    assert found.information < 0.05  # ln 2 if rows of an episode stood on both sides


def features(items, seed=0):
    weight = np.full(len(items), 1 / len(items))
    return describe(items, weight, np.random.default_rng(seed))


@pytest.mark.parametrize("shape", [(64, 64, 3), (20, 13, 1), (3, 16, 16, 3)])
def test_features_tell_pictures_and_videos_apart(shape):
    pictures = np.zeros((6, *shape), np.uint8)
    for i in range(1, 6):
        pictures[i, ..., i : i + 2, 3:9, :] = 40 * i
    x = features(pictures)
    assert x.dtype == np.float32 and np.isfinite(x).all()
    gaps = np.linalg.norm(x[:, None] - x[None], axis=-1) + np.eye(6)
    assert gaps.min() > 0.1


@pytest.mark.parametrize(
    "items",
    [
        np.arange(9),
        np.arange(30, dtype=np.int32).reshape(10, 3),
        np.random.default_rng(0).normal(size=(700, 4)),
        np.array([[True], [False]]),
        np.zeros((1, 8), np.int32),
        np.random.default_rng(0).integers(0, 10**6, (700, 2)),
    ],
)
def test_features_of_numbers_are_finite_and_of_moderate_size(items):
    x = features(items)
    assert x.shape[0] == len(items) and np.isfinite(x).all() and np.abs(x).sum(axis=1).max() < 1e3
    assert len(np.unique(x, axis=0)) == len(np.unique(items, axis=0)) or len(items) == 1


def test_features_do_not_depend_on_units():
    """A large offset leaves the differences, and what is huge does not become infinite."""
    x = np.random.default_rng(0).normal(size=(700, 2))
    for moved in (1.7e9 + 50 * x, x * 1e300, x * 1e-300):
        np.testing.assert_allclose(features(moved)[:, :2] ** 2, features(x)[:, :2] ** 2, rtol=1e-2, atol=1e-4)


def test_shared_parts_bring_features_together():
    pictures = np.zeros((3, 32, 32, 3), np.uint8)
    pictures[0, :8, :8], pictures[1, 16:24, 8:16], pictures[2, :8, :8] = 200, 200, 90
    first, moved, other = features(pictures)[:, :2]  # of the coarse ones: which patches there are
    assert np.linalg.norm(first - moved) < 0.1 * np.linalg.norm(first - other)


def table(law, seed=0, n=4000):
    """Cells of a 3 x 3 table with all counts, for members that all train on the same."""
    a, b = np.divmod(np.arange(9), 3)
    generator = np.random.default_rng(seed)
    ones = generator.binomial(n, law(a, b)).astype(np.float32)
    counts = np.stack([n - ones, ones], axis=1)
    one_hot = tuple(np.eye(3, dtype=np.float32) for _ in range(2))
    return Cells(one_hot, np.stack([a, b], axis=1), np.zeros(9, np.int64)), counts


def test_separable_nets_are_additive_and_joint_nets_are_not():
    cells, counts = table(lambda a, b: 0.2 + 0.6 * (a == b))
    nets = fit_nested(cells, counts[None].repeat(2, 0), counts[None].repeat(2, 0), SMALL, 0)
    odds = lambda laws: (laws[..., 1] - laws[..., 0]).reshape(2, 3, 3)  # noqa: E731
    bend = lambda z: z - z.mean(1, keepdims=True) - z.mean(2, keepdims=True) + z.mean((1, 2), keepdims=True)  # noqa: E731
    assert np.abs(bend(odds(nets.separable))).max() < 1e-4
    assert np.abs(bend(odds(nets.joint))).max() > 1
    assert np.exp(nets.joint[..., 1]).reshape(2, 3, 3)[:, np.eye(3, dtype=bool)] == pytest.approx(0.8, abs=0.05)


def test_a_residual_that_does_not_help_is_nothing():
    cells, counts = table(lambda a, b: 0.2 + 0.6 * (a == b))
    contrary = counts[:, ::-1].copy()[None]  # whatever is learned makes the inner split worse
    nets = fit_nested(cells, counts[None], contrary, SMALL, 0)
    assert (nets.joint == pytest.approx(nets.separable, abs=1e-5)) and np.ptp(nets.joint - nets.separable) < 1e-5


def test_members_of_an_ensemble_do_not_mix():
    cells, counts = table(lambda a, b: 0.2 + 0.6 * (a == b))
    _, other = table(lambda a, b: 0.5 + 0 * a)
    pair, twins = np.stack([counts, other]), np.stack([counts, counts])
    mixed, alone = (fit_nested(cells, x, x, SMALL, 0).joint[0] for x in (pair, twins))
    assert mixed == pytest.approx(alone, abs=1e-5)


def test_heads_find_the_maximum_of_the_likelihood():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(400, 3)).astype(np.float32)
    scores = x @ generator.normal(size=(3, 3))
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    counts = np.stack([generator.multinomial(50, p) for _ in range(2)], axis=-1).astype(np.float32)
    fitted, joint = Heads(x, x[:, :1] * 0, np.zeros(400, int)).fit(counts, steps=40)
    assert np.exp(fitted).sum(axis=1) == pytest.approx(1, abs=1e-4) and joint == pytest.approx(fitted, abs=1e-4)
    pull = counts - counts.sum(axis=1, keepdims=True) * np.exp(fitted)
    assert np.abs(np.einsum("cd,cyb->dyb", x, pull)).max() < 5  # of 20 000 draws; the ridge holds it off 0
    assert np.abs(np.exp(fitted) - p[..., None]).max() < 0.05


def test_heads_of_many_outcomes_converge():
    """Steps are held small by a curvature that must not fall below the outcome's own, however many there are."""
    generator = np.random.default_rng(0)
    x = np.eye(4, dtype=np.float32)[generator.integers(0, 4, 600)]
    p = generator.dirichlet(np.ones(64), size=4)
    counts = generator.multinomial(30, x @ p)[..., None].astype(np.float32)
    fitted, _ = Heads(x, x[:, :1] * 0, np.zeros(600, int)).fit(counts, steps=10)
    assert np.abs(np.exp(fitted[..., 0]) - x @ p).max() < 0.03
