import subprocess
import sys
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from tests.unienv.separability.laws import numbers, random_law, seeds
from unienv.separability import feedback_nonseparability, feedback_nonseparability_of_cells
from unienv.separability.canonical import FEEDBACK, match, noisy_xor, of_success, parity, unique, xor
from unienv.separability.feedback import lump
from unienv.separability.projection import project


def feedback_shapes(least=1):
    return st.tuples(st.lists(st.integers(1, 3), min_size=least, max_size=3), st.integers(1, 2), st.integers(1, 3)).map(
        lambda s: (*s[0], s[1], s[2])
    )


def entropy(p):
    return -(p[p > 0] * np.log(p[p > 0])).sum()


@settings(max_examples=80)
@given(seed=seeds, shape=feedback_shapes())
def test_orders_add_up_and_the_chain_of_bounds_holds(seed, shape):
    joint = random_law(seed, shape)
    found = feedback_nonseparability(joint)
    assert 0 <= found.nonseparability <= found.one_modality + 1e-10
    assert found.one_modality <= found.information + 1e-10
    assert len(found.connected) == len(shape) - 3
    assert min(found.connected, default=0) >= 0
    assert sum(found.connected) == pytest.approx(found.nonseparability, abs=1e-12)
    assert found.certificate < 1e-9
    inputs = joint.sum(axis=-1)
    assert found.entropy == pytest.approx(entropy(joint) - entropy(inputs), abs=1e-12)
    outcome = joint.sum(axis=tuple(range(joint.ndim - 1)))
    assert found.information == pytest.approx(entropy(inputs) + entropy(outcome) - entropy(joint), abs=1e-12)
    best = min(
        (entropy(pair) - entropy(pair.sum(axis=-1)))
        for m in range(len(shape) - 2)
        for pair in [joint.sum(axis=tuple(k for k in range(len(shape) - 2) if k != m))]
    )
    assert found.one_modality == pytest.approx(best - found.entropy, abs=1e-10)


def least_divergence(joint):
    """min KL over log-additive q of a positive table (n_1, n_2, A, Y), by a general-purpose optimiser."""
    first, second, actions, outcomes = joint.shape
    sizes = (first, 1, actions, outcomes), (1, second, actions, outcomes)
    split = int(np.prod(sizes[0]))
    inputs = joint.sum(axis=-1, keepdims=True)

    def cross_entropy(scores):
        z = scores[:split].reshape(sizes[0]) + scores[split:].reshape(sizes[1])
        log_q = z - np.logaddexp.reduce(z, axis=-1, keepdims=True)
        slope = inputs * np.exp(log_q) - joint
        return -(joint * log_q).sum(), np.r_[slope.sum(axis=1).ravel(), slope.sum(axis=0).ravel()]

    start = np.zeros(split + int(np.prod(sizes[1])))
    best = minimize(cross_entropy, start, jac=True, method="BFGS", options={"gtol": 1e-9})
    assert abs(best.jac).max() < 1e-6
    return best.fun + (joint * np.log(joint / inputs)).sum()


@pytest.mark.parametrize("shape", [(2, 2, 1, 2), (3, 2, 2, 2), (3, 4, 1, 3), (2, 3, 3, 2)])
def test_it_is_the_least_divergence_to_sums_of_scores(shape):
    joint = random_law(len(shape) + shape[0], shape, zeros=0.0) * 0.9 + 0.1 / np.prod(shape)
    found = feedback_nonseparability(joint)
    assert found.nonseparability > 1e-3
    assert found.nonseparability == pytest.approx(least_divergence(joint), abs=1e-9)


@settings(max_examples=40)
@given(seed=seeds, shape=feedback_shapes(least=2), data=st.data())
def test_names_of_modalities_and_values_do_not_matter(seed, shape, data):
    joint = random_law(seed, shape)
    expected = feedback_nonseparability(joint)
    modalities = len(shape) - 2
    order = data.draw(st.sampled_from(list(permutations(range(modalities)))))
    other = joint.transpose(*order, modalities, modalities + 1)
    for axis, size in enumerate(other.shape):
        other = other.take(data.draw(st.permutations(range(size))), axis=axis)
    assert numbers(feedback_nonseparability(other)) == pytest.approx(numbers(expected), abs=1e-9)


@settings(max_examples=30)
@given(seed=seeds, shape=feedback_shapes(least=2))
def test_actions_are_weighted_blocks(seed, shape):
    joint = random_law(seed, shape)
    weight = joint.sum(axis=tuple(k for k in range(joint.ndim) if k != joint.ndim - 2))
    parts = sum(
        p * feedback_nonseparability(joint[..., [a], :] / p).nonseparability for a, p in enumerate(weight) if p > 0
    )
    assert feedback_nonseparability(joint).nonseparability == pytest.approx(parts, abs=1e-9)


def test_an_action_is_no_modality():
    """Follow the text: [action = text] needs text and action, which one expert has."""
    follow = of_success(np.eye(2)[:, None] * np.ones((2, 3, 2)))[..., 0, :].reshape(2, 3, 2, 2)
    found = feedback_nonseparability(follow)
    assert found.information == pytest.approx(np.log(2))
    assert found.nonseparability == found.one_modality == 0
    as_modality = follow.sum(axis=1)[:, :, None]
    assert feedback_nonseparability(as_modality).nonseparability == pytest.approx(np.log(2))


def test_a_single_modality_is_separable():
    found = feedback_nonseparability(random_law(2, (4, 2, 3)))
    assert (found.nonseparability, found.connected, found.one_modality) == (0.0, (), 0.0)
    assert found.information > 0.01


def test_share_is_of_the_information_and_absent_without_any():
    assert feedback_nonseparability(xor()).share == pytest.approx(1)
    assert feedback_nonseparability(unique()).share == 0
    silent = feedback_nonseparability(noisy_xor(0.0))
    assert silent.information == pytest.approx(0, abs=1e-12)
    assert silent.share is None
    assert "n/a" in str(silent) and "100.0%" in str(feedback_nonseparability(xor()))


@pytest.mark.parametrize("strength, tolerance", [(0.1, 2e-2), (0.01, 2e-4)])
def test_weak_interaction_is_twice_its_variance(strength, tolerance):
    success = 0.5 + strength * np.array([[0.9, -0.2, 0.1], [-0.7, 0.4, 0.3]])
    additive = success.mean(axis=0) + success.mean(axis=1, keepdims=True) - success.mean()
    variance = ((success - additive) ** 2).mean()
    assert feedback_nonseparability(of_success(success)).nonseparability / variance == pytest.approx(2, rel=tolerance)


def cells_of(joint):
    """A dense law as cells: codes (C, M), action (C,), joint (C, Y)."""
    index = np.argwhere(joint.sum(axis=-1) > 0)
    return index[:, :-1], index[:, -1], joint[tuple(index.T)]


@settings(max_examples=30)
@given(seed=seeds, shape=feedback_shapes(least=2))
def test_cells_may_come_in_any_order_with_any_codes_and_in_parts(seed, shape):
    joint = random_law(seed, shape)
    codes, action, mass = cells_of(joint)
    draw = np.random.default_rng(seed)
    twice = draw.permutation(np.r_[np.arange(len(mass)), np.arange(len(mass))])
    found = feedback_nonseparability_of_cells(1000 - 17 * codes[twice], action[twice] - 5, mass[twice] / 2)
    assert numbers(found) == pytest.approx(numbers(feedback_nonseparability(joint)), abs=1e-10)


def unlumped(codes, action, joint):
    """NS_fb without lumping."""
    contexts = codes * (action.max() + 1) + action[:, None]
    return project(joint, contexts).value


@settings(max_examples=40)
@given(seed=seeds, shape=feedback_shapes(least=2), parts=st.integers(2, 3))
def test_splitting_a_value_by_chance_changes_nothing_and_lumping_undoes_it(seed, shape, parts):
    codes, action, joint = cells_of(random_law(seed, shape))
    shares = np.random.default_rng(seed).dirichlet(np.ones(parts), codes[:, 0].max() + 1)  # of each value of O^1
    split = np.repeat(codes, parts, axis=0)
    split[:, 0] = split[:, 0] * parts + np.tile(np.arange(parts), len(codes))
    law = (joint[:, None, :] * shares[codes[:, 0]][:, :, None]).reshape(-1, joint.shape[1])
    actions = np.repeat(action, parts)
    expected = unlumped(codes, action, joint)
    assert unlumped(split, actions, law) == pytest.approx(expected, abs=1e-9)
    assert feedback_nonseparability_of_cells(split, actions, law).nonseparability == pytest.approx(expected, abs=1e-9)
    contexts, merged = lump(split, actions, law)
    assert len(contexts) == len(lump(codes, action, joint)[0]) <= len(codes)
    assert merged.sum() == pytest.approx(1)


def test_lumping_merges_only_proportional_values():
    alike = np.array([[0.1, 0.4], [0.1, 0.4], [0.2, 0.4]])  # P(Y=1 | o^1, o^2)
    weight = np.array([[0.1, 0.2], [0.2, 0.4], [0.05, 0.05]])
    for law, left in ((weight, 4), (weight[:, ::-1] * [[1, 1], [0.5, 2], [1, 1]], 6)):
        codes, action, joint = cells_of(of_success(alike, law / law.sum()))
        assert len(lump(codes, action, joint)[0]) == left


def test_lumping_is_apart_in_each_action():
    """Action 0 asks whether the values agree, action 1 does not look at the first: there its values are one."""
    joint = np.stack([match(4)[:, :, 0], np.full((4, 4, 2), 1 / 32)], axis=2) / 2
    assert len(lump(*cells_of(joint))[0]) == 16 + 1


def test_large_sparse_laws_are_quick_and_exact():
    """100 contexts of 16 concepts each, 4 actions: matching the named concept, in every context apart."""
    context, shown, named, action = (axis.ravel() for axis in np.indices((100, 16, 16, 4)))
    yes = (shown == named).astype(float)
    codes = np.stack([context * 16 + shown, context * 16 + named], axis=1)
    found = feedback_nonseparability_of_cells(codes, action, np.stack([1 - yes, yes], axis=1) / len(yes))
    p = 1 / 16
    assert found.nonseparability == pytest.approx(-p * np.log(p) - (1 - p) * np.log(1 - p), abs=1e-9)
    assert found.certificate < 1e-9


@pytest.mark.parametrize("name", FEEDBACK)
def test_redundant_copies_of_the_inputs_hide_any_interaction(name):
    """With every input shown to every modality any feedback is separable."""
    codes, action, joint = cells_of(FEEDBACK[name].build())
    whole = np.unique(codes, axis=0, return_inverse=True)[1]
    found = feedback_nonseparability_of_cells(np.stack([whole, whole], axis=1), action, joint)
    assert found.nonseparability == pytest.approx(0, abs=1e-12)


# Mistakes


def with_entry(value):
    joint = xor()
    joint[0, 0, 0, 0] = value
    return joint


@pytest.mark.parametrize(
    "joint, complaint",
    [
        (with_entry(-0.1), "probabilities >= 0, got -0.1"),
        (with_entry(float("nan")), "finite .* got nan"),
        (with_entry(float("inf")), "finite .* got inf"),
        (xor() * 2, "sum to 1 .* got 2.0; divide"),
        (xor() * (1 + 1e-8), "sum to 1"),
        (xor()[:, 0, 0] * 2, r"\(O\^1, .*at least 3, got shape \(2, 2\)"),
        (np.zeros((0, 2, 1, 2)), r"empty table of shape \(0, 2, 1, 2\)"),
    ],
)
def test_bad_feedback_laws_are_refused_in_one_line(joint, complaint):
    with pytest.raises(ValueError, match=rf"\A.*{complaint}.*\Z"):
        feedback_nonseparability(joint)


@pytest.mark.parametrize(
    "codes, action, joint, complaint",
    [
        (np.zeros((2, 2)), np.zeros(2, int), np.full((2, 2), 0.25), "codes .* integer .* got float64"),
        (np.zeros(2, int), np.zeros(2, int), np.full((2, 2), 0.25), "codes .* 2 axes"),
        (np.zeros((2, 2), int), np.zeros((2, 1), int), np.full((2, 2), 0.25), "action .* 1 axes"),
        (np.zeros((2, 0), int), np.zeros(2, int), np.full((2, 2), 0.25), "M >= 1"),
        (np.zeros((3, 2), int), np.zeros(2, int), np.full((2, 2), 0.25), r"of one C.*\(3, 2\), \(2,\) and \(2, 2\)"),
        (np.zeros((0, 2), int), np.zeros(0, int), np.zeros((0, 2)), "empty table"),
    ],
)
def test_bad_cells_are_refused_in_one_line(codes, action, joint, complaint):
    with pytest.raises(ValueError, match=rf"\A.*{complaint}.*\Z"):
        feedback_nonseparability_of_cells(codes, action, joint)


def test_a_law_that_is_passed_in_stays_as_it_is():
    joint = parity(3) * (1 + 1e-10)
    before = joint.copy()
    feedback_nonseparability(joint)
    assert (joint == before).all()


def test_rounding_of_the_sum_is_taken_out():
    joint = xor() * (1 + 9e-10)
    assert feedback_nonseparability(joint).nonseparability == pytest.approx(np.log(2), abs=1e-12)
    assert feedback_nonseparability(joint).information == pytest.approx(np.log(2), abs=1e-12)


def test_importing_unienv_does_not_load_scipy():
    code = "import sys, unienv; print('scipy' in sys.modules, 'unienv.separability' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]
