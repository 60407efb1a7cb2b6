import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from tests.unienv.separability.laws import numbers, random_law, seeds
from unienv.separability import output_nonseparability, output_nonseparability_of_cells


def product_divergence(joint, seed):
    """KL(p || prod q_m) at the best of random and alternating choices of q_m; axes (X^1, X^2, Y^1, Y^2)."""
    inputs = joint.sum(axis=(2, 3))

    def divergence(scores):
        one, two = np.split(scores, [joint.shape[0] * joint.shape[2]])
        one = one.reshape(joint.shape[0], 1, joint.shape[2], 1)
        two = two.reshape(1, joint.shape[1], 1, joint.shape[3])
        log_q = one - np.logaddexp.reduce(one, axis=2, keepdims=True)
        log_q = log_q + two - np.logaddexp.reduce(two, axis=3, keepdims=True)
        return (joint * (np.log(joint / inputs[:, :, None, None]) - log_q)).sum()

    start = np.random.default_rng(seed).normal(size=joint.shape[0] * joint.shape[2] + joint.shape[1] * joint.shape[3])
    return minimize(divergence, start, method="BFGS").fun


@pytest.mark.parametrize("seed", range(4))
def test_the_closed_form_is_the_least_divergence_to_products(seed):
    joint = random_law(seed, (2, 3, 2, 2), zeros=0.0) * 0.9 + 0.1 / 24
    found = output_nonseparability(joint, 2)
    assert found.nonseparability > 1e-3
    assert found.nonseparability == pytest.approx(product_divergence(joint, seed), abs=1e-7)


@settings(max_examples=60)
@given(seed=seeds, sizes=st.lists(st.integers(1, 3), min_size=6, max_size=6))
def test_parts_add_up_with_own_actions(seed, sizes):
    joint = random_law(seed, tuple(sizes))
    found = output_nonseparability(joint, 2, own_actions=True)
    parts = found.total_correlation + sum(found.influence) + sum(found.action_coupling)
    assert found.nonseparability == pytest.approx(parts, abs=1e-12)
    assert found.given_actions == pytest.approx(found.nonseparability - sum(found.action_coupling), abs=1e-12)
    assert min(*found.influence, *found.action_coupling, found.total_correlation) >= 0
    together = joint.transpose(0, 2, 1, 3, 4, 5).reshape(sizes[0] * sizes[2], sizes[1] * sizes[3], *sizes[4:])
    whole = output_nonseparability(together, 2)  # the action is a part of the input
    assert whole.nonseparability == pytest.approx(found.nonseparability, abs=1e-12)
    assert whole.total_correlation == pytest.approx(found.total_correlation, abs=1e-12)
    split = np.add(found.influence, found.action_coupling)
    assert whole.influence == pytest.approx(split, abs=1e-12)
    assert whole.action_coupling == (0, 0)


def test_action_coupling_by_hand():
    """Y^1 is the other's action, Y^2 the other's observation."""
    cells = np.zeros((2,) * 6)
    for o1, o2, a1, a2 in np.ndindex(2, 2, 2, 2):
        cells[o1, o2, a1, a2, a2, o1] = 1 / 16
    found = output_nonseparability(cells, 2, own_actions=True)
    assert found.nonseparability == pytest.approx(2 * np.log(2))
    assert found.influence == pytest.approx((0, np.log(2)))
    assert found.action_coupling == pytest.approx((np.log(2), 0))
    assert found.total_correlation == pytest.approx(0, abs=1e-12)
    assert found.given_actions == pytest.approx(np.log(2))


@settings(max_examples=40)
@given(seed=seeds, sizes=st.lists(st.integers(2, 3), min_size=4, max_size=4))
def test_coarser_outputs_are_no_less_separable(seed, sizes):
    joint = random_law(seed, tuple(sizes))
    coarse = np.concatenate([joint[:, :, :1] + joint[:, :, 1:2], joint[:, :, 2:]], axis=2)  # Y^1: 0 and 1 become one
    fine, rough = (output_nonseparability(p, 2).nonseparability for p in (joint, coarse))
    assert rough <= fine + 1e-12


def test_coarser_inputs_may_be_less_separable():
    copies = np.zeros((2, 2, 2, 2))
    copies[[0, 1], [0, 1], [0, 1], [0, 1]] = 0.5
    assert output_nonseparability(copies, 2).nonseparability == pytest.approx(0, abs=1e-12)
    blind = copies.sum(axis=0, keepdims=True)
    assert output_nonseparability(blind, 2).nonseparability == pytest.approx(np.log(2))


@settings(max_examples=30)
@given(seed=seeds, modalities=st.integers(1, 3))
def test_cells_of_outputs_agree_with_tables(seed, modalities):
    draw = np.random.default_rng(seed)
    observations, actions, outputs = draw.integers(0, 2, (3, 40, modalities))
    mass = draw.dirichlet(np.ones(40))
    found = output_nonseparability_of_cells(observations, actions, outputs, mass)
    dense = np.zeros((2,) * 3 * modalities)
    np.add.at(dense, (*observations.T, *actions.T, *outputs.T), mass)
    assert numbers(found) == pytest.approx(numbers(output_nonseparability(dense, modalities, True)), abs=1e-12)
    shared = np.repeat(actions[:, :1], modalities, axis=1)
    found = output_nonseparability_of_cells(observations, shared, outputs, mass)
    dense = np.zeros((4,) * modalities + (2,) * modalities)
    np.add.at(dense, (*(observations * 2 + shared).T, *outputs.T), mass)
    assert numbers(found) == pytest.approx(numbers(output_nonseparability(dense, modalities)), abs=1e-12)
    assert found.action_coupling == (0,) * modalities


# Mistakes


@pytest.mark.parametrize(
    "shape, modalities, own, complaint",
    [
        ((2, 2, 2, 2), 1, False, r"num_modalities=1 and shape \(2, 2, 2, 2\)"),
        ((2, 2, 2, 2), 0, False, "num_modalities=0"),
        ((2, 2, 2), 2, False, "2 for each modality"),
        ((2, 2, 2, 2), 2, True, r"3 for each modality.*|.*\(O\^1"),
    ],
)
def test_wrong_numbers_of_modalities_are_refused_in_one_line(shape, modalities, own, complaint):
    with pytest.raises(ValueError, match=rf"\A.*({complaint}).*\Z"):
        output_nonseparability(np.full(shape, 1 / np.prod(shape)), modalities, own)


@pytest.mark.parametrize("wrong", [{"mass": [0.5, 0.6]}, {"mass": [[0.5], [0.5]]}, {"outputs": [[0, 0, 0]] * 2}])
def test_bad_cells_of_outputs_are_refused_in_one_line(wrong):
    good = {"observations": [[0, 0]] * 2, "actions": [[0, 0]] * 2, "outputs": [[0, 0], [1, 1]], "mass": [0.5, 0.5]}
    assert output_nonseparability_of_cells(**good).nonseparability == pytest.approx(np.log(2))
    with pytest.raises(ValueError, match=r"\A.*(sum to 1|of one C and M).*\Z"):
        output_nonseparability_of_cells(**good | wrong)
