import math
from itertools import islice

import pytest
import torch

from encoders.text.corpus import Documents, open_corpus
from experiments.bridge.generation import generation, proportion
from experiments.bridge.measure import read
from experiments.bridge.summary import Mean


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def worlds():
    return open_corpus("goto")


def drawn(corpus, split, count, length, seed):
    return read(next(corpus.batches(split, count, length, seeded(seed))), corpus.tokens)


def test_copies_are_valid_and_not_new(worlds):
    texts = drawn(worlds, "train", 200, 24, seed=1)
    found = generation(texts, worlds, 24, seeded())
    assert found["n"] == 200
    assert found["valid"]["value"] == 1.0
    assert found["novel"]["value"] == 0.0
    assert 0.0 < found["distinct"]["1"] < found["distinct"]["2"] < 0.5
    for distance in found["distances"].values():
        assert distance["divergence"] < 2.0 * distance["floor"] < 0.2


def test_held_out_sentences_are_valid_and_new(worlds):
    found = generation(list(worlds.texts("test")), worlds, 24, seeded())
    assert found["valid"]["value"] == found["novel"]["value"] == 1.0


def test_nonsense_is_far_from_valid(worlds):
    texts = [" ".join(reversed(text.split())) for text in drawn(worlds, "train", 100, 24, seed=1)]
    found = generation(texts, worlds, 24, seeded())
    assert found["valid"]["value"] == 0.0
    assert found["distances"]["1"]["divergence"] < 0.05  # the words are right
    assert found["distances"]["4"]["divergence"] > 0.9 * math.log(2)  # their order is not


def test_files_have_no_grammar(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(f"passage {i} has {i % 7} words and {i % 3} more" for i in range(300)))
    corpus = Documents(path)
    known = list(islice(corpus.texts("train"), 10))
    found = generation([*known, *(f"new {i}" for i in range(10))], corpus, 32, seeded())
    assert found["valid"] is None
    assert found["novel"]["value"] == 0.5
    assert found["distances"]["1"]["floor"] < found["distances"]["1"]["divergence"]


@pytest.mark.parametrize(
    "right, n, low, high",
    [(50, 100, 0.4038, 0.5962), (999, 1000, 0.9944, 0.9998), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)],
)
def test_shares_have_wilsons_interval(right, n, low, high):
    """From what is measured to what is shown."""
    assert Mean(**proportion(right / n, n)).share_bounds == pytest.approx((low, high), abs=2e-4)
