"""Rows of a data set as transitions: each once, equal ones together, and when exact figures say nothing."""

import numpy as np
import pytest

from unienv.separability.rows import guesses, recurring, rows_of, trivial
from unienv.worlds.dataset import dataset

N = 240


def arrays(images):
    """N rows: the label is the parity of a word and a brightness; `images` different pictures of each brightness."""
    generator = np.random.default_rng(0)
    word, light = generator.integers(0, 2, (2, N))
    image = np.zeros((N, 4, 4, 3), np.uint8) + (light * 100).astype(np.uint8)[:, None, None, None]
    image[:, 0, 0, 0] += generator.integers(0, images, N).astype(np.uint8)
    image[:, 0, 1, 0] = generator.integers(0, images, N)
    return {"text": np.where(word, "yes", "no"), "image": image, "label": word ^ light}


@pytest.fixture
def path(tmp_path):
    def save(images):
        np.savez(tmp_path / f"{images}.npz", **arrays(images))
        return str(tmp_path / f"{images}.npz")

    return save


def test_each_row_is_guessed_once():
    rows = arrays(2)
    told = guesses(dataset(*(rows[name] for name in ("text", "image", "label")), split="all"), seed=3)
    assert len(told) == N and set(told.modalities) == {"text", "image"} and told.names == ("wrong", "right")
    assert (told.feedback == (told.action == rows["label"])).all() and 0.3 < told.action.mean() < 0.7
    shown = {name: value.items[value.which] for name, value in told.observation.items()}
    assert (shown["image"] == rows["image"]).all()
    pairs = [image.tobytes() + text.tobytes() for image, text in zip(shown["image"], shown["text"], strict=True)]
    alike = np.array(pairs)[:, None] == np.array(pairs)
    assert (alike == (told.episode[:, None] == told.episode)).all()  # else nets were tested on what they learned from


def test_guesses_follow_their_seed():
    world = dataset(*(arrays(2)[name] for name in ("text", "image", "label")))
    one, same, other = (guesses(world, seed=seed).action for seed in (0, 0, 1))
    assert (one == same).all() and (one != other).any()


def test_what_recurs_is_told_by_modality(path):
    few, many = (recurring(rows_of({"id": "dataset", "path": path(images)})) for images in (2, 100))
    assert few == {"text": 1.0, "image": 1.0} and many["text"] == 1.0 and many["image"] < 0.1


def test_exact_figures_say_nothing_where_a_modality_tells_its_row(path):
    assert trivial(rows_of({"id": "dataset", "path": path(2)})) is None
    assert rows_of({"id": "match"}) is None and trivial(None) is None
    assert "of the rows show image that no other shows" in trivial(rows_of({"id": "dataset", "path": path(100)}))
