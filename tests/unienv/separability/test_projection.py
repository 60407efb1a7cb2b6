import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unienv.separability import projection
from unienv.separability.canonical import match, mod_sum, of_function, threshold, two_by_two
from unienv.separability.projection import project


def cells(joint):
    """Cells and contexts of a dense table (n_1, .., n_M, 1, Y), one expert a modality."""
    *sizes, _, outcomes = joint.shape
    return joint.reshape(-1, outcomes), np.indices(sizes).reshape(len(sizes), -1).T


def pairs(joint):
    """The same with one expert for each pair of three modalities."""
    table, codes = cells(joint)
    size = max(joint.shape)
    return table, np.stack([codes[:, i] * size + codes[:, j] for i, j in ((0, 1), (0, 2), (1, 2))], axis=1)


def marginals(joint, contexts):
    """Mass of each (context, outcome) of each expert, and of each cell."""
    sums = [joint.sum(axis=1)]
    for context in contexts.T:
        table = np.zeros((context.max() + 1, joint.shape[1]))
        np.add.at(table, context, joint)
        sums.append(table.ravel())
    return np.concatenate(sums)


def random_table(draw, kind):
    """(2, 2, 1, 2) laws, from soft to nearly deterministic, with and without zeros."""
    p = [
        lambda: draw.dirichlet(np.ones(8)),
        lambda: draw.dirichlet(np.full(8, 0.1)),
        lambda: draw.dirichlet(np.ones(8)) * (draw.random(8) < 0.6),
        lambda: draw.dirichlet(np.full(8, 0.05)) * (draw.random(8) < 0.8),
        lambda: 10.0 ** draw.uniform(-14, 0, 8),
        lambda: draw.integers(0, 3, 8).astype(float),
    ][kind]()
    return (p / p.sum()).reshape(2, 2, 1, 2) if p.sum() > 0 else random_table(draw, kind)


@pytest.mark.parametrize("kind", range(6))
def test_random_tables_agree_with_the_cubic(kind):
    draw = np.random.default_rng(kind)
    for _ in range(500):
        joint = random_table(draw, kind)
        found = project(*cells(joint))
        assert found.value == pytest.approx(two_by_two(joint), abs=1e-9), joint
        assert found.certificate < 1e-9, joint


def random_cells(seed, sizes, outcomes, zeros):
    draw = np.random.default_rng(seed)
    joint = draw.dirichlet(np.full(outcomes, 0.5), sizes) * (draw.random((*sizes, outcomes)) >= zeros)
    joint *= draw.random(sizes)[..., None]
    return (joint / joint.sum())[..., None, :] if joint.sum() > 0 else random_cells(seed + 1, sizes, outcomes, zeros)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple),
    outcomes=st.integers(1, 4),
    zeros=st.sampled_from([0.0, 0.3, 0.6]),
)
def test_the_projection_has_the_marginals_and_is_log_additive(seed, sizes, outcomes, zeros):
    joint, contexts = cells(random_cells(seed, sizes, outcomes, zeros))
    found = project(joint, contexts)
    assert marginals(found.joint, contexts) == pytest.approx(marginals(joint, contexts), abs=1e-10)
    assert (found.joint[joint > 0] > 0).all()
    assert found.certificate < 1e-9
    q = found.joint
    divergence = (joint[joint > 0] * np.log(joint[joint > 0] / q[joint > 0])).sum()
    assert found.value == pytest.approx(max(divergence, 0), abs=1e-12)
    # log Q is a sum of scores, of a cell and of each (context, outcome), wherever Q is not 0
    cell, outcome = np.nonzero(q)
    columns = [np.eye(len(q))[cell]]
    for context in contexts.T:
        columns.append(np.eye((contexts.max() + 1) * outcomes)[context[cell] * outcomes + outcome])
    design = np.concatenate(columns, axis=1) * np.sqrt(q[cell, outcome])[:, None]
    wanted = np.log(q[cell, outcome]) * np.sqrt(q[cell, outcome])
    fitted = design @ np.linalg.lstsq(design, wanted, rcond=1e-12)[0]
    assert fitted == pytest.approx(wanted, abs=1e-5)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1), sizes=st.sampled_from([(3, 3), (4, 3), (2, 2, 2), (2, 3, 2)]), y=st.integers(2, 3)
)
def test_circulations_find_a_part_of_the_support_that_the_programme_finds(seed, sizes, y):
    outcome = np.random.default_rng(seed).integers(0, y, sizes)
    joint, contexts = cells(np.eye(y)[outcome][..., None, :] / outcome.size)
    p, rows = joint.ravel(), projection._rows(contexts, y)
    free = projection._peel(p > 0, rows, np.ones(p.size, bool))
    cycles = projection._circulate(p > 0, rows, free, y)
    programme = projection._raise(p > 0, rows)
    assert (programme >= cycles).all()
    assert (free | (p > 0) >= programme).all()
    assert (projection._support(p, rows, free, y) == programme).all()
    if y == 2 and len(sizes) == 2:
        assert (cycles == programme).all()


@pytest.mark.parametrize(
    "joint",
    [
        threshold(8, 8),
        threshold(60, 55),
        of_function(np.add, 12, 12),
        of_function(lambda *bits: sum(bits) >= 5, 4, 4, 4),
        of_function(lambda *bits: sum(bits) >= 3, 2, 2, 2, 2, 2),
    ],
    ids=str,
)
def test_limits_of_the_class_cost_nothing(joint):
    found = project(*cells(joint))
    assert found.value == 0
    assert found.joint.ravel() == pytest.approx(joint.ravel(), abs=1e-15)


def test_elimination_alone_settles_nested_zeros():
    joint, contexts = cells(threshold(8, 8))
    everything = np.ones(joint.size, bool)
    assert not projection._peel(joint.ravel() > 0, projection._rows(contexts, 2), everything).any()


@pytest.mark.parametrize("decades", [20, 100, 320])
def test_masses_of_any_size_are_no_trouble(decades):
    draw = np.random.default_rng(decades)
    for _ in range(60):
        p = 10.0 ** -draw.uniform(0, decades, (3, 3, 1, 2))
        found = project(*cells(p / p.sum()))
        assert 0 <= found.value < np.log(2)
        assert found.certificate < 1e-9


def test_additive_choice_among_many_outcomes_costs_nothing():
    draw = np.random.default_rng(3)
    scores = draw.random((12, 1, 4)) + draw.random((1, 15, 4))
    assert project(*cells(np.eye(4)[scores.argmax(axis=-1)][..., None, :] / 180)).value == 0


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_large_tables_are_exact(noise):
    p = 1 / 64 + noise * (1 - 2 / 64)
    entropy = [-sum(q * np.log(q) for q in (p, 1 - p) if q > 0) for p in (p, noise)]
    found = project(*cells(match(64, noise)))
    assert found.value == pytest.approx(entropy[0] - entropy[1], abs=1e-12)
    assert found.certificate < 1e-12


def small_answers(monkeypatch, joint, **limits):
    for name, value in limits.items():
        monkeypatch.setattr(projection, name, value)
    return project(*joint)


@pytest.mark.parametrize("order", [cells, pairs])
def test_all_solvers_agree(monkeypatch, order):
    law = order(random_cells(5, (5, 6, 4), 3, 0.3))
    answers = [
        small_answers(monkeypatch, law),
        small_answers(monkeypatch, law, _SMALL=0),
        small_answers(monkeypatch, law, _SMALL=0, _DENSE=0),
        small_answers(monkeypatch, law, _SMALL=0, _DENSE=0, _SCHUR=0),
    ]
    for answer in answers:
        assert answer.value > 0.01
        assert answer.value == pytest.approx(answers[0].value, abs=1e-10)
        assert answer.certificate < 1e-9


def test_blocks_are_solved_apart_and_add_up():
    law, other = cells(random_cells(1, (3, 3), 2, 0.2)), cells(mod_sum(2))
    joint = np.concatenate([0.25 * law[0], 0.75 * other[0]])
    contexts = np.concatenate([law[1], other[1] + 10])
    expected = 0.25 * project(*law).value + 0.75 * np.log(2)
    assert project(joint, contexts).value == pytest.approx(expected, abs=1e-12)


def test_a_solver_that_stops_early_says_so(monkeypatch):
    law = cells(random_cells(5, (5, 6, 4), 3, 0.0))
    exact = project(*law)
    early = small_answers(monkeypatch, law, _STEPS=1, _SWEEPS=1)
    assert early.value - exact.value > 1e-8
    assert early.excess >= early.value - exact.value  # the bound holds
    assert early.certificate > 1e-8 > exact.certificate


def test_cells_and_outcomes_without_mass_stay_without():
    joint = np.zeros((6, 3))
    joint[[0, 1, 2, 4]] = np.array([[0.2, 0, 0.05], [0.05, 0, 0.2], [0.05, 0, 0.2], [0.2, 0, 0.05]])
    found = project(joint, np.array([[0, 0], [0, 1], [1, 0], [9, 9], [1, 1], [7, 7]]))
    assert (found.joint[[3, 5]] == 0).all() and (found.joint[:, 1] == 0).all()
    assert found.value == pytest.approx(np.log(2) + 0.2 * np.log(0.2) + 0.8 * np.log(0.8), abs=1e-12)


@pytest.mark.parametrize("shape, contexts", [((4,), (4, 2)), ((4, 2), (4,)), ((4, 2), (3, 2)), ((4, 2), (4, 0))])
def test_shapes_that_do_not_fit_are_refused(shape, contexts):
    with pytest.raises(ValueError, match=r"\Aproject needs .*\Z"):
        project(np.full(shape, 1 / 8), np.zeros(contexts, int))
