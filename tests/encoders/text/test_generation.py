import math

import numpy as np
import pytest
import torch

from encoders.text.generation import distances, distinct, jensen_shannon, ngrams, novel, valid, words

LOG2 = math.log(2.0)


def sentences(law, size, seed):
    """Sentences of four words, each drawn from a law of its own."""
    rng = np.random.default_rng(seed)
    return [" ".join("abcdef"[i] for i in rng.choice(6, 4, p=law)) for _ in range(size)]


EVEN = np.full(6, 1 / 6)
SKEWED = np.array([0.3, 0.3, 0.1, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("row", [[3, 0, 5, 0], np.array([3, 5, 0]), torch.tensor([3, 5, 0, 0]), (3, 5)])
def test_padding_is_no_word(row):
    assert words(row) == (3, 5)


def test_words_of_a_string_are_parted_by_spaces():
    assert words(" go  to the door ") == ("go", "to", "the", "door")


def test_ngrams_stay_within_sentences():
    assert ngrams(["a b a b", "a c", "b"], 2) == {("a", "b"): 2, ("b", "a"): 1, ("a", "c"): 1}
    assert ngrams(torch.tensor([[1, 2, 0], [2, 0, 0]]), 1) == {(1,): 1, (2,): 2}


def test_distinct_worked_by_hand():
    assert distinct(["a b a b", "a c"], 1) == pytest.approx(3 / 6)
    assert distinct(["a b a b", "a c"], 2) == pytest.approx(3 / 4)
    assert distinct(["a b a b", "a c"], 4) == 1.0
    assert math.isnan(distinct(["a b a b", "a c"], 5))


def divergence(first, second, n):
    return jensen_shannon(ngrams(first, n), ngrams(second, n))


def test_divergence_worked_by_hand():
    assert divergence(["a b"], ["b a", "a b a b"], 1) == pytest.approx(0.0, abs=1e-12)
    assert divergence(["a b"], ["b a"], 2) == pytest.approx(LOG2)
    # (1, 0) and (1/2, 1/2), in the middle (3/4, 1/4)
    by_hand = 0.5 * math.log(4 / 3) + 0.5 * (0.5 * math.log(2 / 3) + 0.5 * math.log(2))
    assert divergence(["a a"], ["a b"], 1) == pytest.approx(by_hand)
    assert divergence(["a b"], ["a a"], 1) == pytest.approx(by_hand)
    assert math.isnan(divergence(["a b"], ["a"], 2))


def test_divergence_counts_rows_like_strings():
    rows = [[1, 2, 1, 0], [2, 3, 0, 0]], [[3, 2, 1, 2], [1, 1, 0, 0]]
    texts = ["a b a", "b c"], ["c b a b", "a a"]
    for n in (1, 2):
        assert divergence(*rows, n) == pytest.approx(divergence(*texts, n))


def test_distances_of_a_like_generator_are_at_the_floor():
    found = distances(sentences(EVEN, 500, 0), sentences(EVEN, 1000, 1), np.random.default_rng(0))
    assert list(found) == [1, 2, 3, 4]
    for distance in found.values():
        assert distance.size == 500
        assert distance.divergence == pytest.approx(distance.floor, rel=0.3, abs=2e-3)
    assert found[4].floor > 0.3  # most of what occurs occurs once


def test_distances_of_an_unlike_generator_are_above_the_floor():
    found = distances(sentences(SKEWED, 500, 0), sentences(EVEN, 1000, 1), np.random.default_rng(0))
    middle = (EVEN + SKEWED) / 2
    exact = sum((law * np.log(law / middle)).sum() for law in (EVEN, SKEWED)) / 2
    assert found[1].divergence - found[1].floor == pytest.approx(exact, abs=5e-3)
    for n in (1, 2, 3):
        assert found[n].divergence > found[n].floor + 0.02


@pytest.mark.parametrize(("generated", "real", "size"), [(10, 100, 10), (100, 31, 15), (1, 2, 1)])
def test_both_sides_of_a_distance_have_one_size(generated, real, size):
    one = sentences(EVEN, generated, 0), sentences(EVEN, real, 1)
    found = distances(*one, np.random.default_rng(0), orders=(1,))
    assert found[1].size == size
    assert found == distances(*one, np.random.default_rng(0), orders=(1,))


def test_the_parts_of_a_split_are_apart():
    real = [f"word{i}" for i in range(40)]
    found = distances(real[:20], real, np.random.default_rng(0), orders=(1,))[1]
    assert found.floor == pytest.approx(LOG2)
    assert found.divergence < LOG2


def test_shares_worked_by_hand():
    generated = ["go up", "go go", "up", "go  up"]
    assert valid(generated, lambda sentence: sentence.startswith("go")) == 0.75
    assert novel(generated, ["go up", "up", "down"]) == 0.25
    assert novel([[1, 2, 0], [2, 1, 0], [2, 2, 0]], np.array([[1, 2, 0, 0]])) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ngrams(["a"], 0), "n of n-grams must be at least 1, got 0"),
        (lambda: valid([], bool), "at least one sentence"),
        (lambda: novel([], ["a"]), "at least one sentence"),
        (lambda: distances([], ["a", "b"], np.random.default_rng(0)), "got 0 and 2"),
        (lambda: distances(["a"], ["b"], np.random.default_rng(0)), "got 1 and 1"),
        (lambda: distances(["a"], ["a", "b"], np.random.default_rng(0), splits=0), "splits must be at least 1, got 0"),
    ],
)
def test_mistakes_are_answered_in_one_line(call, message):
    with pytest.raises(ValueError, match=message):
        call()
