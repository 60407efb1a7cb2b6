from itertools import product
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
from scipy.stats import chisquare

import unienv
from tests.contract import WorldContract
from unienv.adapt import dataset, make_env, make_vector
from unienv.env import WorldEnv
from unienv.registry import needs
from unienv.rng import Keys, slots, streams
from unienv.separability import exact
from unienv.separability.enumeration import LIMIT, branch
from unienv.vector import WorldVectorEnv
from unienv.worlds.dataset import SPLITS, Dataset, DatasetState
from unienv.worlds.match import Match

WORDS = ("Red", "green", "blue", "dark blue")
KINDS = ("cat", "dog", "owl")


def drawn(count, size=(8, 16)):
    """Texts, pictures unlike one another, and a label that is a sum of both."""
    word, kind = np.arange(count) % len(WORDS), np.arange(count) % len(KINDS)
    pixels = np.random.default_rng(0).integers(256, size=(count, *size, 3), dtype=np.uint8)
    texts = [f"is it {WORDS[index]}?" for index in word]
    return np.array(texts), pixels, np.array(KINDS)[(word + kind) % len(KINDS)]


def square(*bits):
    """A picture (8, 8, 3) that is as bright as its bits say."""
    return np.full((8, 8, 3), 50 + 10 * int("".join(map(str, bits)), 2), np.uint8)


def logic(rule, copies=1):
    """A world of two bits, one in the text and one in the picture, labelled by a rule of both."""
    cells = list(product(range(2), range(2))) * copies
    texts, images = [("off", "on")[text] for text, _ in cells], np.stack([square(image) for _, image in cells])
    return dataset(texts, images, [rule(*cell) for cell in cells], split="all")


def everything(world):
    """A state a row."""
    row = np.arange(world.num_rows)
    return DatasetState(row, row < 0)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "data.npz"
    texts, images, labels = drawn(60)
    np.savez(path, text=texts, image=images, label=labels)
    return str(path)


class TestDataset(WorldContract):
    world_id = "UniEnv/Dataset-v0"
    more: ClassVar = {}

    @pytest.fixture(autouse=True)
    def of_a_file(self, file):
        self.parameters = {"path": file, **self.more}


class TestHeldOut(TestDataset):
    more: ClassVar = {"split": "test"}


# What is shown and judged


def test_rows_by_hand():
    texts = ["A Red ball!", "blue", "red"]
    images = np.stack([square(0), square(1), square(1)])
    world = dataset(texts, images, ["yes", "no", "yes"], split="all")
    assert world.action_names == ("no", "yes")
    assert world.vocabulary.words == ("!", "a", "ball", "blue", "red")
    state = everything(world)
    seen = world.observe(state)
    assert seen["text"].tolist() == [[2, 5, 3, 1], [4, 0, 0, 0], [5, 0, 0, 0]]
    assert np.array_equal(seen["image"], images)
    assert world.oracle(state).tolist() == [1, 0, 1]
    for guess, right in ((0, [False, True, False]), (1, [True, False, True])):
        action = np.full(3, guess)
        feedback = world.feedback(state, {}, action, None)
        assert feedback["success"].tolist() == right
        assert world.reward(state, {}, action, feedback).tolist() == [float(x) for x in right]
    after = world.transition(state, {}, action, feedback, None)
    assert world.terminal(after).all() and not world.terminal(state).any()
    assert after.row.tolist() == [0, 1, 2]


def test_ids_stay_ids():
    ids = np.array([[3, 1, 0], [2, 0, 0]], np.uint8)
    world = dataset(ids, np.zeros((2, 8, 8, 3), np.uint8), [10, 7], split="all")
    seen = world.observe(everything(world))["text"]
    assert (seen.dtype, seen.tolist()) == (np.int32, ids.tolist())
    assert [world.vocabulary.decode(row) for row in seen] == ["3 1", "2"]
    assert (world.action_names, world.oracle(everything(world)).tolist()) == (("7", "10"), [1, 0])


@pytest.mark.parametrize("channels", [(), (1,)])
def test_grey_pictures_get_three_equal_channels(channels):
    grey = np.arange(2 * 8 * 9, dtype=np.uint8).reshape(2, 8, 9, *channels)
    world = dataset(["a", "b"], grey, [0, 1], split="all")
    seen = world.observe(everything(world))["image"]
    assert seen.shape == (2, 8, 9, 3)
    assert all(np.array_equal(seen[..., channel], grey.reshape(2, 8, 9)) for channel in range(3))


def test_starts_are_uniform_rows():
    world, slot = dataset(*drawn(50), split="all"), slots(np.arange(20_000))
    start = world.initial(Keys(np, streams(slot, slot * 0), slot * 0))
    assert chisquare(np.bincount(start.row, minlength=50)).pvalue > 1e-3
    assert not start.answered.any()


def test_what_the_user_does_to_the_arrays_changes_nothing():
    texts, images, labels = drawn(6)
    world = dataset(texts, images, labels, split="all")
    before = world.observe(everything(world))["image"]
    images[:] = 0
    assert np.array_equal(world.observe(everything(world))["image"], before)


# Splits


def shown(world):
    """Each row's sentence, picture and label."""
    seen, label = world.observe(everything(world)), world.oracle(everything(world))
    sentences = [world.vocabulary.decode(row) for row in seen["text"]]
    names = [world.action_names[index] for index in label]
    return list(zip(sentences, map(np.ndarray.tobytes, seen["image"]), names, strict=True))


def test_a_fifth_is_held_out_and_spaces_are_equal():
    parts = {split: dataset(*drawn(2000), split=split) for split in SPLITS}
    train, test, everyone = (sorted(shown(parts[split])) for split in SPLITS)
    assert sorted(train + test) == everyone and not set(train) & set(test)
    assert abs(len(test) - 400) < 4 * np.sqrt(2000 * 0.2 * 0.8)
    spaces = [(world.observation_space, world.action_space, world.vocabulary.words) for world in parts.values()]
    assert spaces[0] == spaces[1] == spaces[2]


def test_equal_pairs_fall_into_the_same_part_whatever_is_added():
    texts, images, labels = drawn(300)
    before = {row[:2] for row in shown(dataset(texts, images, labels, split="test"))}
    texts = [*texts, *(f"{text.upper()} " for text in texts), "a newcomer"]  # equal words
    images, labels = np.concatenate([images, images, images[:1] // 2]), [*labels, *labels[::-1], "yak"]
    test, train = (shown(dataset(texts, images, labels, split=split)) for split in ("test", "train"))
    assert before <= {row[:2] for row in test} and len(test) >= 2 * len(before)
    assert not {row[:2] for row in test} & {row[:2] for row in train}


def test_training_rows_are_the_default():
    assert shown(dataset(*drawn(40))) == shown(dataset(*drawn(40), split="train"))


# How separable


@pytest.mark.parametrize("rule", [lambda text, image: text ^ image, lambda text, image: 1 - (text ^ image)])
def test_xor_is_ln_2_nats(rule):
    (step,) = exact(logic(rule, copies=2)).steps
    assert step.feedback.nonseparability == pytest.approx(np.log(2), abs=1e-12)
    assert step.signal.nonseparability == pytest.approx(np.log(2), abs=1e-12)


@pytest.mark.parametrize("rule", [lambda text, image: text, lambda text, image: image])
def test_a_label_in_one_modality_is_separable(rule):
    (step,) = exact(logic(rule)).steps
    assert step.feedback.nonseparability == pytest.approx(0, abs=1e-9)


def test_pictures_that_never_recur_tell_their_rows():
    texts, images, labels = drawn(64)
    assert exact(dataset(texts, images, labels, split="all")).total("feedback", "nonseparability") < 1e-9


@pytest.mark.parametrize("kind, coupling", [("joint", 1.0), ("additive", 0.5), ("text", 0.25), ("redundant", 0.0)])
def test_rows_of_match_are_as_separable_as_match(kind, coupling):
    world = Match(kind, coupling, num_colours=2, num_shapes=2)
    _, _, states = branch(lambda keys, rows: world.initial(keys), 1, LIMIT)  # equally likely
    states = type(states)(*(field[states.place == 0] for field in states))
    yes = world.yes_probability(states)
    seen, of = world.observe(states), np.arange(8)
    texts = np.repeat([world.vocabulary.decode(row) for row in seen["text"]], len(of))
    labels = np.where(of < len(of) * yes[:, None], "yes", "no").reshape(-1)  # all probabilities are eighths
    rows = dataset(texts, np.repeat(seen["image"], len(of), axis=0), labels, split="all")
    (step,) = exact(rows).steps
    assert rows.num_rows == 96 * len(of) and rows.action_names == ("no", "yes")
    assert step.feedback.nonseparability == pytest.approx(world.nonseparability(), abs=1e-6)
    assert step.feedback.nonseparability == pytest.approx(exact(world).steps[0].feedback.nonseparability, abs=1e-6)


def test_thousands_of_rows_are_enumerated():
    rng = np.random.default_rng(0)
    text, image = rng.integers(4, size=(2, 4000))
    pictures = np.stack([square(*map(int, f"{index:02b}")) for index in range(4)])
    told = exact(dataset([f"number {index}" for index in text], pictures[image], text ^ image, split="all"))
    assert told.states == 8000 and told.steps[0].feedback.nonseparability > 0.1


# How it is made


def test_it_is_made_from_a_file_by_name(file):
    for made in (unienv.make_world("dataset", path=file), make_env("dataset", path=file).unwrapped.world):
        assert isinstance(made, Dataset) and shown(made) == shown(dataset(*drawn(60)))
    envs = make_vector("dataset", 3, path=file, split="test", signal="label")
    assert envs.reset(seed=0)[0]["image"].shape == (3, 8, 16, 3)


def test_arrays_in_memory_make_environments():
    world = dataset(*drawn(30), signal="label")
    assert WorldEnv(world).reset(seed=0)[0] in world.observation_space
    envs = WorldVectorEnv(world, 5)
    envs.reset(seed=0)
    assert envs.step(envs.oracle())[1].tolist() == [1.0] * 5


def test_without_a_path_the_line_says_what_to_give():
    assert needs(Dataset) == ["path"] and needs(Match) == []
    for make in (unienv.make_world, gym.make, gym.make_vec):
        with pytest.raises(ValueError, match=r"\ADataset needs path; give path=.*\Z"):
            make("dataset" if make is unienv.make_world else "UniEnv/Dataset-v0")


GOOD = {"text": np.array(["a", "b", "c"]), "image": np.zeros((3, 8, 8, 3), np.uint8), "label": np.array([0, 1, 1])}


@pytest.mark.parametrize(
    "change, said",
    [
        ({"text": None}, "has no text; expected arrays text, image and label"),
        ({"text": None, "label": None}, "has no text and no label"),
        ({"text": np.zeros((3, 2))}, r"expected text: strings \(n,\) or word ids \(n, L\).*float64 \(3, 2\)"),
        ({"text": np.zeros(3, int)}, r"expected text: strings.*int64 \(3,\)"),
        ({"text": np.full((3, 2), -1)}, "word ids from 0 to 65536, got -1"),
        ({"text": np.full((3, 2), 10**9)}, "word ids from 0 to 65536, got 1000000000"),
        ({"image": np.zeros((3, 8, 8, 3))}, "expected image: uint8.*float64"),
        ({"image": np.zeros((3, 8, 8, 4), np.uint8)}, r"expected image: uint8 .*\(3, 8, 8, 4\)"),
        ({"image": np.zeros((3, 0, 8, 3), np.uint8)}, r"expected image.*\(3, 0, 8, 3\)"),
        ({"label": np.zeros(3)}, "expected label: integers or strings.*float64"),
        ({"label": np.zeros((3, 1), int)}, r"expected label.*\(3, 1\)"),
        ({"label": np.array([0, 1])}, r"equally many texts, images and labels, got \[3, 3, 2\]"),
        ({"label": np.array([4, 4, 4])}, "at least 2 different labels, got only '4'"),
        ({name: array[:0] for name, array in GOOD.items()}, r"expected text.* n >= 1, got <U1 \(0,\)"),
    ],
)
def test_bad_arrays_are_refused_in_one_line(tmp_path, change, said):
    arrays = {name: array for name, array in {**GOOD, **change}.items() if array is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    for path, name in ((arrays, "the data set"), (str(tmp_path / "bad.npz"), "bad.npz")):
        with pytest.raises(ValueError, match=rf"\A.*{name}.*{said}.*\Z"):
            Dataset(path)


def test_bad_files_are_refused_in_one_line(tmp_path):
    np.savez(tmp_path / "objects.npz", **{**GOOD, "text": np.array(["a", "b", None])})
    np.save(tmp_path / "alone.npy", GOOD["label"])
    np.savez(tmp_path / "torn.npz", **GOOD)
    whole = (tmp_path / "torn.npz").read_bytes()
    (tmp_path / "torn.npz").write_bytes(whole[:200] + bytes(100) + whole[300:])
    (tmp_path / "cut.npz").write_bytes(whole[:200])
    for name, said in {
        "objects.npz": "can't be read: Object arrays.*numpy.str_",
        "alone.npy": "is no .npz file; write one with numpy.savez",
        "torn.npz": "can't be read",
        "cut.npz": "is no .npz file",
        "absent.npz": "there is no file",
        ".": "there is no file",
    }.items():
        with pytest.raises(ValueError, match=rf"\A.*{said}.*\Z"):
            Dataset(str(tmp_path / name))


@pytest.mark.parametrize("wrong", [{"split": "tset"}, {"signal": "lable"}, {"backend": "jax"}])
def test_bad_parameters_are_refused_in_one_line(wrong):
    with pytest.raises(ValueError, match=rf"\A.*{next(iter(wrong.values()))}.*\Z"):
        Dataset(GOOD, **wrong)


def test_a_split_without_rows_is_told():
    twice = {name: np.concatenate([array[:1]] * 2) for name, array in GOOD.items()} | {"label": np.array([0, 1])}
    said = []
    for split in ("train", "test"):
        try:
            Dataset(twice, split)
        except ValueError as error:
            said.append(str(error))
    assert len(said) == 1 and said[0].startswith("none of the 2 rows of the data set falls into split=")
