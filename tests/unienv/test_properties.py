"""Whatever tables, transitions, data sets and parameters of worlds are given: a checked result, or one line."""

import io
import json
from functools import partial
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
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
KINDS = [
    np.dtype(name) for name in ("?", "i1", "u1", "i8", "u8", "f2", "f4", "f8", ">f8", "c8", "U3", "S2", "M8[D]", "O")
]
WHOLE = st.sampled_from(["i1", "u1", "i8", "u8"])
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


@st.composite
def cells(draw):
    """Codes and action of cells, their law with an outcome, and without it."""
    n, modalities, answers = (draw(st.integers(1, most)) for most in (5, 3, 3))
    codes, action = draw(arrays.arrays(WHOLE, (n, modalities))), draw(arrays.arrays(WHOLE, n))
    weight = draw(arrays.arrays(np.float64, (n, answers), elements=st.integers(0, 4).map(float)))
    weight[0, 0] += 1
    return codes, action, weight / weight.sum(), weight.sum(axis=1) / weight.sum()


def test_any_cells_are_measured_or_refused():
    made, mass = [], laws(1, 3) | anything(3)

    @PROFILE
    @given(cells() | st.tuples(anything(3), anything(2), mass, mass))
    def check(cells):
        codes, action, joint, mass = cells
        found = told(lambda: feedback_nonseparability_of_cells(codes, action, joint))
        assert found is None or 0 <= found.nonseparability <= found.information + 1e-6 + found.certificate
        measured = told(lambda: output_nonseparability_of_cells(codes, codes, np.flip(codes), mass))
        assert measured is None or measured.nonseparability == pytest.approx(
            measured.given_actions + sum(measured.action_coupling), abs=1e-9
        )
        made.append((found is not None, measured is not None))

    check()
    assert min(np.sum(made, axis=0)) > PROFILE.max_examples / 5


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


def finite(shape):
    """Arrays of numbers."""
    return st.sampled_from(KINDS[:9]).flatmap(
        lambda kind: arrays.arrays(kind, shape, elements=arrays.from_dtype(kind, allow_nan=False, allow_infinity=False))
    )


@st.composite
def rows(draw):
    """What transitions are made of, at most one part of it anything."""
    n = draw(st.integers(1, 4))
    shape = arrays.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3).map(lambda rest: (n, *rest))
    of = partial(st.dictionaries, st.text(max_size=3), max_size=2)
    parts = {
        "observation": (of(finite(shape), min_size=1), of(anything(3))),
        "action": (arrays.arrays(WHOLE, n), anything(2)),
        "feedback": (arrays.arrays(st.sampled_from(["?", "u1"]), n), anything(2)),
        "episode": (st.none() | arrays.arrays(WHOLE, n), anything(1)),
    }
    wild = draw(st.sampled_from([*parts, *[None] * 6]))
    return {name: draw(either[name == wild]) for name, either in parts.items()}


def test_any_arrays_are_transitions_or_refused():
    made = []

    @PROFILE
    @given(rows())
    def check(rows):
        found = told(lambda: Transitions(**rows))
        if found is not None:
            made.append(found)
            assert len(found) == len(rows["action"])
            for name, seen in found.observation.items():
                assert np.array_equal(seen.items[seen.which], rows["observation"][name])

    check()
    assert len(made) > PROFILE.max_examples / 5


@st.composite
def recorded(draw, least=1, most=12):
    """Transitions as a user may give them."""
    n = draw(st.integers(least, most))
    column = arrays.arrays(np.int64, n, elements=st.integers(0, 2))
    seen = arrays.arrays(np.float32, (n, 2), elements=st.sampled_from([0.0, -0.0, 1.0, 3e38]))
    which = draw(arrays.arrays(np.int64, n, elements=st.integers(0, 1)))
    observation = {"text": draw(column), "image": draw(seen), "other": Distinct(np.eye(2), which)}
    episode = draw(st.sampled_from([None, np.arange(n), np.arange(n) // 2, draw(column)]))
    return Transitions(observation, draw(column) - 1, draw(column), episode)


@PROFILE
@given(recorded())
def test_transitions_come_back_from_a_file(tmp_path, transitions):
    transitions.save(tmp_path / "seen.npz")
    again = Transitions.load(tmp_path / "seen.npz")
    assert again.modalities == transitions.modalities and again.names == transitions.names
    for one, two in zip(again.observation.values(), transitions.observation.values(), strict=True):
        assert np.array_equal(one.items[one.which], two.items[two.which]) and one.items.dtype == two.items.dtype
    assert np.array_equal(again.feedback, transitions.feedback) and np.array_equal(again.episode, transitions.episode)


def test_any_transitions_are_estimated_or_refused():
    made = []

    @settings(PROFILE, max_examples=15)
    @given(recorded(most=40) | recorded(least=20, most=40))
    def check(transitions):
        found = told(lambda: estimate(transitions, "table", replicates=19))
        if found is not None:
            made.append(found)
            assert np.isfinite(found.nonseparability) and 0 <= found.p_value <= 1

    check()
    assert len(made) > 3


COLUMNS = {  # of two transitions
    "header": st.lists(st.text(max_size=3), min_size=2, max_size=3, unique=True).map(
        lambda names: np.array(json.dumps({"modalities": ["text"], "names": names}))
    ),
    "action": arrays.arrays(WHOLE, 2),
    "feedback": arrays.arrays(WHOLE, 2, elements=st.integers(0, 1)),
    "episode": arrays.arrays(WHOLE, 2),
    "items0": finite(arrays.array_shapes(max_dims=3, max_side=3)),
    "which0": arrays.arrays(WHOLE, 2, elements=st.integers(0, 1)),
}


def test_a_file_with_any_column_is_read_or_refused(tmp_path):
    made = []
    one = st.sampled_from([*COLUMNS]).flatmap(lambda name: st.tuples(st.just(name), COLUMNS[name]))

    @PROFILE
    @given(one, st.lists(st.none() | anything(3), max_size=1))
    def check(one, wild):
        name, column = one
        columns = {"action": np.zeros(2, int), "feedback": np.array([0, 1]), "episode": np.arange(2)}
        columns |= {"items0": np.zeros((2, 3)), "which0": np.zeros(2, int)}
        columns["header"] = np.array(json.dumps({"modalities": ["text"], "names": ["no", "yes"]}))
        columns[name] = wild[0] if wild else column
        np.savez(tmp_path / "seen.npz", **{key: value for key, value in columns.items() if value is not None})
        found = told(lambda: Transitions.load(tmp_path / "seen.npz"))
        if found is not None:
            made.append(found)
            assert len(found) == len(found.feedback) == 2
            for key in ("action", "feedback", "episode"):
                assert np.array_equal(getattr(found, key), columns[key].astype(np.int64))
            seen = found.observation["text"]
            assert np.array_equal(seen.items[seen.which], columns["items0"][columns["which0"]])

    check()
    assert len(made) > PROFILE.max_examples / 5


HEADERS = st.recursive(
    st.none() | st.integers() | st.text(max_size=4) | st.floats(),
    lambda parts: st.lists(parts, max_size=2) | st.dictionaries(st.sampled_from(["modalities", "names"]), parts),
    max_leaves=5,
)


RIGHT = st.fixed_dictionaries(
    {
        "modalities": st.lists(st.text(max_size=4), min_size=1, max_size=1),
        "names": st.lists(st.text(max_size=4) | st.integers(), min_size=2, max_size=4, unique_by=str),
    }
)


def test_a_file_with_any_header_is_read_or_refused(tmp_path):
    made = []

    @PROFILE
    @given(HEADERS | RIGHT)
    def check(header):
        columns = {"action": np.zeros(2, int), "feedback": np.array([0, 1]), "episode": np.arange(2)}
        columns |= {"items0": np.zeros((1, 3)), "which0": np.zeros(2, int), "header": np.array(json.dumps(header))}
        np.savez(tmp_path / "seen.npz", **columns)
        found = told(lambda: Transitions.load(tmp_path / "seen.npz"))
        if found is not None:
            made.append(found)
            assert found.modalities == tuple(map(str, header["modalities"]))
            assert header["names"] is None or found.names == tuple(map(str, header["names"]))

    check()
    assert len(made) > PROFILE.max_examples / 5


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
    """text, image and label, at most one of them anything."""
    n = draw(st.integers(2, 5))
    ids = arrays.arrays(np.int64, (n, 2), elements=st.integers(0, 3))
    shape = st.sampled_from([(n, 8, 8, 3), (n, 2, 3), (n, 1, 1, 1)])
    parts = {
        "text": (arrays.arrays("U4", n) | ids, anything(2) | ids.map(np.negative)),
        "image": (arrays.arrays("u1", shape), anything()),
        "label": (arrays.arrays(st.sampled_from(["U2", "i8"]), n, unique=True), anything(2)),
    }
    wild = draw(st.lists(st.sampled_from([*parts]), max_size=1))
    return {name: draw(either[name in wild]) for name, either in parts.items()}


def test_any_data_set_is_a_world_or_refused(tmp_path):
    made = []

    @PROFILE
    @given(columns(), st.sampled_from(["train", "test", "all", "all"]), st.booleans())
    def check(rows, split, written):
        path = rows
        if written:
            np.savez(tmp_path / "data.npz", **rows)
            path = str(tmp_path / "data.npz")
        world = told(lambda: Dataset(path, split))
        if world is not None:
            made.append(world)
            envs = WorldVectorEnv(world, 3)
            assert envs.reset(seed=0)[0] in envs.observation_space
            envs.step(Actions(envs.single_action_space).sample(np.random.default_rng(0), 3))

    check()
    assert len(made) > PROFILE.max_examples / 5


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
