"""Whatever tables, transitions, data sets and parameters of worlds are given: a checked result, or one line."""

import io
import json
from typing import get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.properties import told
from unienv.actions import Actions
from unienv.adapt import make_vector
from unienv.registry import make_world, parameters_of, world_class
from unienv.separability import (
    estimate,
    feedback_nonseparability,
    feedback_nonseparability_of_cells,
    output_nonseparability,
    output_nonseparability_of_cells,
)
from unienv.separability.transitions import Distinct, Transitions, record
from unienv.vector import WorldVectorEnv
from unienv.worlds.dataset import Dataset

PROFILE = settings(
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
KINDS = [
    np.dtype(name) for name in ("?", "i1", "u1", "i8", "u8", "f2", "f4", "f8", ">f8", "c8", "U3", "S2", "M8[D]", "O")
]
numbers = st.floats(allow_subnormal=False) | st.sampled_from([0.0, 0.25, 0.5, 1.0, -0.1, 1e-320, 1e300])


# Tables


@st.composite
def anything(draw, most=4):
    """An array of any type and of few axes, some of them empty."""
    kind = draw(st.sampled_from(KINDS))
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=most, min_side=0, max_side=3))
    if kind.kind == "O":
        return draw(arrays.arrays(object, shape, elements=st.none() | st.text(max_size=2) | st.integers()))
    return draw(arrays.arrays(kind, shape))


@st.composite
def laws(draw, low=2, most=5):
    """An array >= 0 whose sum is 1, or nearly, or not at all."""
    shape = draw(arrays.array_shapes(min_dims=low, max_dims=most, min_side=1, max_side=3))
    weight = draw(arrays.arrays(np.float64, shape, elements=st.integers(0, 4).map(float)))
    assume(weight.sum() > 0)
    scale = draw(st.sampled_from([1.0, 1.0, 1.0, 1 + 1e-12, 1.001, 0.5]))
    return weight / weight.sum() * scale


@PROFILE
@given(anything() | laws())
def test_any_table_is_measured_or_refused(joint):
    found = told(lambda: feedback_nonseparability(joint))
    if found is not None:
        slack = 1e-6 + found.certificate
        assert -slack <= found.nonseparability <= found.one_modality + slack <= found.information + 2 * slack
        assert sum(found.connected) == pytest.approx(found.nonseparability, abs=slack)
        assert found.information <= np.log(joint.shape[-1]) + slack
    for own in (False, True):
        for modalities in (0, 1, 2):
            measured = told(lambda m=modalities, o=own: output_nonseparability(joint, m, o))
            assert measured is None or measured.nonseparability >= 0


@PROFILE
@given(anything(3), anything(2), laws(1, 3) | anything(3))
def test_any_cells_are_measured_or_refused(codes, action, joint):
    told(lambda: feedback_nonseparability_of_cells(codes, action, joint))
    told(lambda: output_nonseparability_of_cells(codes, codes, codes, joint))


@PROFILE
@given(st.data())
def test_cells_of_any_codes_are_measured(data):
    cells, modalities, answers = (data.draw(st.integers(1, most)) for most in (6, 3, 3))
    wide = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2)
    codes = data.draw(arrays.arrays(np.int64, (cells, modalities), elements=wide))
    action = data.draw(arrays.arrays(np.int64, cells, elements=wide))
    joint = data.draw(arrays.arrays(np.float64, (cells, answers), elements=st.integers(1, 5).map(float)))
    found = feedback_nonseparability_of_cells(codes, action, joint / joint.sum())
    assert 0 <= found.nonseparability <= found.information + 1e-6 + found.certificate


# Transitions


@PROFILE
@given(st.dictionaries(st.text(max_size=3), anything(3), max_size=2), anything(2), anything(2), st.none() | anything(1))
def test_any_arrays_are_transitions_or_refused(observation, action, feedback, episode):
    found = told(lambda: Transitions(observation, action, feedback, episode))
    assert found is None or len(found) == len(action)


@st.composite
def recorded(draw, most=12):
    """Transitions as a user may give them."""
    n = draw(st.integers(1, most))
    column = arrays.arrays(np.int64, n, elements=st.integers(0, 2))
    seen = arrays.arrays(np.float32, (n, 2), elements=st.sampled_from([0.0, -0.0, 1.0, 3e38]))
    which = draw(arrays.arrays(np.int64, n, elements=st.integers(0, 1)))
    observation = {"text": draw(column), "image": draw(seen), "other": Distinct(np.eye(2), which)}
    return Transitions(observation, draw(column) - 1, draw(column), draw(st.none() | column))


@PROFILE
@given(recorded())
def test_transitions_come_back_from_a_file(tmp_path, transitions):
    transitions.save(tmp_path / "seen.npz")
    again = Transitions.load(tmp_path / "seen.npz")
    assert again.modalities == transitions.modalities and again.names == transitions.names
    for one, two in zip(again.observation.values(), transitions.observation.values(), strict=True):
        assert np.array_equal(one.items[one.which], two.items[two.which]) and one.items.dtype == two.items.dtype
    assert np.array_equal(again.feedback, transitions.feedback) and np.array_equal(again.episode, transitions.episode)


@settings(PROFILE, max_examples=15)
@given(recorded(40))
def test_any_transitions_are_estimated_or_refused(transitions):
    found = told(lambda: estimate(transitions, "table", replicates=19))
    assert found is None or (np.isfinite(found.nonseparability) and 0 <= found.p_value <= 1)


@PROFILE
@given(st.sampled_from(["header", "action", "feedback", "episode", "items0", "which0"]), anything(3), st.booleans())
def test_a_file_with_any_column_is_read_or_refused(tmp_path, name, column, left_out):
    columns = {"action": np.zeros(2, int), "feedback": np.array([0, 1]), "episode": np.arange(2)}
    columns |= {"items0": np.zeros((1, 3)), "which0": np.zeros(2, int)}
    columns["header"] = np.array(json.dumps({"modalities": ["text"], "names": ["no", "yes"]}))
    columns = {key: value for key, value in columns.items() if key != name} | ({} if left_out else {name: column})
    np.savez(tmp_path / "seen.npz", **columns)
    found = told(lambda: Transitions.load(tmp_path / "seen.npz"))
    assert found is None or len(found) == len(found.feedback)


HEADERS = st.recursive(
    st.none() | st.integers() | st.text(max_size=4) | st.floats(),
    lambda parts: st.lists(parts, max_size=2) | st.dictionaries(st.sampled_from(["modalities", "names"]), parts),
    max_leaves=5,
)


@PROFILE
@given(HEADERS)
def test_a_file_with_any_header_is_read_or_refused(tmp_path, header):
    columns = {"action": np.zeros(2, int), "feedback": np.array([0, 1]), "episode": np.arange(2)}
    columns |= {"items0": np.zeros((1, 3)), "which0": np.zeros(2, int), "header": np.array(json.dumps(header))}
    np.savez(tmp_path / "seen.npz", **columns)
    told(lambda: Transitions.load(tmp_path / "seen.npz"))


@settings(PROFILE, max_examples=10)
@given(st.integers(-2, 6), st.sampled_from(["uniform", "", None, 3, lambda seen: None, lambda seen: [9] * 2]))
def test_any_policy_is_recorded_or_refused(steps, policy):
    envs = make_vector("match", 2)
    found = told(lambda: record(envs, steps, policy))
    assert found is None or len(found) == steps
    envs.close()


# Data sets


@st.composite
def columns(draw):
    """text, image and label, right or nearly."""
    n = draw(st.integers(0, 5))
    text = draw(arrays.arrays("U4", n) | arrays.arrays(np.int64, (n, 2), elements=st.integers(-1, 3)) | anything(2))
    image = draw(
        st.sampled_from([(n, 8, 8, 3), (n, 2, 3), (n, 1, 1, 1)]).flatmap(lambda s: arrays.arrays("u1", s)) | anything()
    )
    label = draw(arrays.arrays(np.int64, n, elements=st.integers(0, 2)) | arrays.arrays("U2", n) | anything(2))
    return {"text": text, "image": image, "label": label}


@PROFILE
@given(columns(), st.sampled_from(["train", "test", "all"]), st.booleans())
def test_any_data_set_is_a_world_or_refused(tmp_path, rows, split, written):
    path = rows
    if written:
        np.savez(tmp_path / "data.npz", **rows)
        path = str(tmp_path / "data.npz")
    world = told(lambda: Dataset(path, split))
    if world is not None:
        envs = WorldVectorEnv(world, 3)
        assert envs.reset(seed=0)[0] in envs.observation_space
        envs.step(Actions(envs.single_action_space).sample(np.random.default_rng(0), 3))


@PROFILE
@given(st.integers(0, 600), st.binary(min_size=1, max_size=6), st.integers(0, 6))
def test_a_damaged_data_set_is_read_or_refused(tmp_path, place, bytes_, removed):
    whole = io.BytesIO()
    rows = {"text": np.array(["a b", "b"]), "image": np.zeros((2, 4, 4, 3), np.uint8), "label": np.arange(2)}
    np.savez_compressed(whole, **rows)
    content = whole.getvalue()
    (tmp_path / "data.npz").write_bytes(content[:place] + bytes_ + content[place + removed :])
    told(lambda: Dataset(str(tmp_path / "data.npz"), "all"))


# Worlds

VALUES = {  # a large size is only a matter of memory
    int: st.integers(-2, 9),
    float: st.floats(0, 1) | st.floats(),
    str: st.text(max_size=4) | st.sampled_from(["reward", "label", "preference", "train", "test", "additive"]),
    type(None): st.none(),
}


@pytest.mark.parametrize("name", ["chase", "describe", "goto", "manual", "match", "rules", "terminal"])
def test_any_parameters_are_a_world_or_refused(name):
    """Values of the right type, which configurations see to."""
    kind = world_class(name)[0]
    hints = get_type_hints(kind.__init__)
    own = [key for key in parameters_of(kind) if key not in ("backend", "device")]
    setting = st.sampled_from(own).flatmap(
        lambda key: st.tuples(st.just(key), st.one_of(*(VALUES[of] for of in get_args(hints[key]) or (hints[key],))))
    )

    @settings(PROFILE, max_examples=30)
    @given(st.lists(setting, max_size=3).map(dict))
    def check(parameters):
        world = told(lambda: make_world(name, **parameters))
        if world is not None:
            envs = WorldVectorEnv(world, 2)
            assert envs.reset(seed=0)[0] in envs.observation_space
            envs.step(Actions(envs.single_action_space).sample(np.random.default_rng(0), 2))

    check()
