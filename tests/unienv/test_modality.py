import subprocess
import sys

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from unienv.modality import Vocabulary, check_modalities, pixel_space, text_space

WORDS = st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5), min_size=1, unique=True)


@given(WORDS, st.data())
def test_decode_inverts_encode(words, data):
    vocabulary = Vocabulary(words)
    sentence = data.draw(st.lists(st.sampled_from(words), max_size=6))
    tokens = vocabulary.encode(" ".join(sentence), 6)
    assert (tokens.dtype, tokens.shape) == (np.int32, (6,))
    assert (tokens[len(sentence) :] == 0).all() and (tokens[: len(sentence)] > 0).all()
    assert tokens in text_space(vocabulary, 6)
    assert vocabulary.decode(tokens) == " ".join(sentence)


def test_ids_by_hand():
    vocabulary = Vocabulary(["go", "to", "red"])
    assert len(vocabulary) == 4
    assert vocabulary.encode("go to red", 5).tolist() == [1, 2, 3, 0, 0]
    assert vocabulary.encode("  red   go ", 2).tolist() == [3, 1]
    assert vocabulary.encode("go to red red", 3).tolist() == [1, 2, 3]
    assert vocabulary.decode([0, 3, 0, 1]) == "red go"


def test_unlisted_words():
    with pytest.raises(ValueError, match=r"\A.*'blue'.*\Z"):
        Vocabulary(["red"]).encode("red blue", 4)
    vocabulary = Vocabulary(["red"], buckets=8)
    assert len(vocabulary) == 10
    assert vocabulary.id("red") == 1 and vocabulary.id("blue") in range(2, 10)
    assert vocabulary.decode(vocabulary.encode("red blue red", 4)) == "red <?> red"


@given(st.text(min_size=1))
def test_a_bucket_is_an_id_after_the_words(word):
    vocabulary = Vocabulary(["red", "green"], buckets=5)
    if word not in vocabulary.words:
        assert 3 <= vocabulary.id(word) < len(vocabulary) == 8


def test_buckets_are_used_evenly():
    vocabulary = Vocabulary([], buckets=16)
    counts = np.bincount([vocabulary.id(f"word{i}") for i in range(1600)], minlength=17)[1:]
    assert counts.min() > 60 and counts.max() < 140


def test_buckets_are_those_of_fnv1a_in_every_process():
    vocabulary = Vocabulary([], buckets=1 << 32)
    published = {"a": 0xE40C292C, "b": 0xE70C2DE5, "foobar": 0xBF9CF968}
    assert {word: vocabulary.id(word) - 1 for word in published} == published
    code = "from unienv.modality import Vocabulary; print(Vocabulary([], 1 << 32).id('foobar') - 1)"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        assert int(done.stdout) == published["foobar"]


@pytest.mark.parametrize("words", [["red", "red"], ["red", ""], ["light blue"], ["red\n"]])
def test_bad_words_are_refused(words):
    with pytest.raises(ValueError, match=r"\A.*\Z"):
        Vocabulary(words)


TEXT, IMAGE, VIDEO = text_space(Vocabulary(["red"]), 3), pixel_space((8, 8, 3)), pixel_space((2, 8, 8, 3))


def test_spaces_by_hand():
    assert spaces.Box(0, 1, (3,), np.int32) == TEXT
    assert spaces.Box(0, 255, (8, 8, 3), np.uint8) == IMAGE


def test_modalities_come_in_order_without_the_rest():
    space = spaces.Dict({"video": VIDEO, "mission": IMAGE, "image": IMAGE, "text": TEXT})
    assert list(check_modalities(space, "x").items()) == [("text", TEXT), ("image", IMAGE), ("video", VIDEO)]
    assert list(check_modalities(spaces.Dict({"video": VIDEO, "text": TEXT}), "x")) == ["text", "video"]


@pytest.mark.parametrize(
    "space, told",
    [
        (IMAGE, "expected a Dict"),
        (spaces.Dict({"image": IMAGE}), "has no text in"),
        (spaces.Dict({"text": TEXT}), "has no image or video in"),
        (spaces.Dict({"mission": TEXT}), r"has no text and no image or video .* \['mission'\]"),
        (spaces.Dict({"text": spaces.Text(9), "image": IMAGE}), "observes text as"),
        (spaces.Dict({"text": spaces.Box(0, 1, (3,), np.int64), "image": IMAGE}), "observes text as .* int32"),
        (spaces.Dict({"text": TEXT, "image": spaces.Box(0, 1, (8, 8, 3), np.float32)}), "observes image as .* uint8"),
        (spaces.Dict({"text": TEXT, "image": pixel_space((8, 8))}), r"observes image as .* \(H, W, 3\) of uint8"),
        (spaces.Dict({"text": TEXT, "image": pixel_space((8, 8, 1))}), "observes image of 1 channels; expected 3"),
        (spaces.Dict({"text": TEXT, "image": IMAGE, "video": IMAGE}), r"observes video as .* \(F, H, W, 3\)"),
    ],
)
def test_other_spaces_are_refused_in_one_line(space, told):
    with pytest.raises(ValueError, match=rf"\AGarden-v0 .*{told}.*\Z"):
        check_modalities(space, "Garden-v0")
