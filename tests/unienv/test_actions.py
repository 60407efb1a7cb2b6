import numpy as np
import pytest
import torch
from gymnasium import spaces

from tests.compare import differ
from unienv.actions import Actions, batch_of_one, row
from unienv.rng import Keys, slots
from unienv.worlds.match import Match

SPACES = [
    spaces.Discrete(5),
    spaces.Discrete(3, start=-1),
    spaces.MultiDiscrete([2, 3, 4]),
    spaces.MultiDiscrete([2, 3], start=[5, 0]),
    spaces.MultiDiscrete([2, 3], dtype=np.int8),
    spaces.Dict({"text": spaces.MultiDiscrete([4, 4]), "image": spaces.Discrete(3, start=1)}),
]


def batch_of(space, count):
    sampled = [space.sample() for _ in range(count)]
    if isinstance(space, spaces.Dict):
        return {key: np.stack([action[key] for action in sampled]) for key in space}
    return np.stack(sampled)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_join_undoes_split(space):
    space.seed(0)
    actions, batch = Actions(space), batch_of(space, 20)
    columns = actions.split(batch)
    assert columns.shape == (20, len(actions.nvec))
    assert (columns >= 0).all() and (columns < actions.nvec).all()
    assert not differ(actions.join(columns), batch)
    assert all(row(actions.join(columns), i) in space for i in range(20))


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_backends_agree(space):
    actions = Actions(space)
    columns = actions.unnumber(np.arange(actions.count))
    joined = actions.join(torch.from_numpy(columns))
    assert not differ(joined, actions.join(columns))
    assert not differ(actions.split(joined), columns)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_numbers_name_each_action_once(space):
    actions = Actions(space)
    columns = actions.unnumber(np.arange(actions.count))
    assert actions.count == np.prod(actions.nvec) == len(np.unique(columns, axis=0))
    last = columns[1:, -1] - columns[:-1, -1]
    assert set(last.tolist()) <= {1, 1 - actions.nvec[-1]}


def test_parts_know_their_owners():
    actions = Actions(SPACES[-1])
    assert (actions.owners, actions.nvec) == (("image", "text", "text"), (3, 4, 4))
    assert Actions(spaces.Discrete(2)).owners == ("",)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_draws_and_samples_are_uniform(space):
    actions, count = Actions(space), 6000
    keys = Keys(np, slots(np.arange(count)), np.zeros(count, np.int64))
    for drawn in (actions.draw(keys, 3), actions.sample(np.random.default_rng(0), count)):
        columns = actions.split(drawn)
        for column, choices in zip(columns.T, actions.nvec, strict=True):
            share = np.bincount(column, minlength=choices) / count
            assert np.abs(share - 1 / choices).max() < 4.5 / np.sqrt(count * choices)


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_one_action_is_a_batch_of_one(space):
    space.seed(1)
    action = space.sample()
    actions = Actions(space)
    columns = actions.split(batch_of_one(action))
    assert columns.shape == (1, len(actions.nvec))
    assert not differ(actions.read(batch_of_one(action), 1, np.asarray), batch_of_one(action))


BOTH = SPACES[-1]
BAD = [
    (spaces.Discrete(3), [0, 3], r"Discrete\(3\).*got 3 in slot 1"),
    (spaces.Discrete(3), [0, 1, 2], r"shape \(2,\), got \(3,\)"),
    (spaces.Discrete(3), [0.0, 1.0], "integer"),
    (spaces.MultiDiscrete([2, 2]), [[0, 0], [0, 2]], r"got \[0, 2\] in slot 1"),
    (BOTH, [0, 1], "parts image, text, got list"),
    (BOTH, {"text": [[0, 0]] * 2}, r"parts image, text, got \['text'\]"),
    (BOTH, {"text": [[0, 0]] * 2, "image": [0, 1]}, "part 'image', got 0 in slot 0"),
]


@pytest.mark.parametrize("space, values, told", BAD)
def test_bad_batches_are_told_in_one_line(space, values, told):
    with pytest.raises(ValueError, match=rf"\A.*{told}.*\Z"):
        Actions(space).read(values, 2, np.asarray)


@pytest.mark.parametrize(
    "space", [spaces.MultiBinary(2), spaces.Box(0, 1), spaces.MultiDiscrete([[2, 2]]), spaces.Dict(x=spaces.Box(0, 1))]
)
def test_other_spaces_are_refused(space):
    with pytest.raises(ValueError, match=r"\A.*Discrete, MultiDiscrete.*Dict.*got.*\Z"):
        Actions(space)


def test_actions_are_named_for_people():
    world = Match()
    assert world.name_action(1) == "yes"
    word = world.vocabulary.id("red")
    said = world.name_action({"text": np.array([word, 0]), "image": 3})
    assert said == 'text: "red", image: 3'
    assert world.name_action(np.array([1, 0, 2])) == "1 0 2"
