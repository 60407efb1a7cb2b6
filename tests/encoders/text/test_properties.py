"""Whatever files are given as a corpus, as tokens or as a trained model: what they hold, or one line."""

import json
import shutil
from dataclasses import asdict

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.torch import save

from encoders.pixels import PixelConfig, PixelVAE, load_pixels, save_pixels
from encoders.tensors import load_tensors
from encoders.text.corpus import SPLITS, Documents, open_corpus
from encoders.text.documents import passages
from encoders.text.pretrained import load_text, save_text
from encoders.text.tokens import Bytes, Words, learn_byte_pairs, load_tokens, save_tokens
from encoders.text.vae import TextVAE, VAEConfig
from tests.properties import told
from unienv.modality import Vocabulary
from unienv.registry import world_names

PROFILE = settings(
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TRIES = settings(PROFILE, max_examples=60)
LONG = 1 << 16  # bytes at which documents are cut

pieces = st.one_of(
    st.binary(max_size=6),
    st.text(max_size=6).map(lambda text: text.encode(errors="replace")),
    st.sampled_from(
        [b"\n", b"\n\n", b"\r\n", b"\r", b" ", b"\t", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80"]
    ),
    st.sampled_from(["\x85", "\u2028", "\x0b", "\x1c", "\u00a0", "e\u0301", "🦜"]).map(str.encode),
    st.builds(lambda n, of: of * n, st.integers(LONG - 3, LONG + 3), st.sampled_from([b"a", b"\n", "é".encode()])),
)
contents = st.lists(pieces, max_size=6).map(b"".join)


def is_text(content):
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


@PROFILE
@given(contents)
def test_documents_hold_all_that_is_no_space(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    found = told(lambda: list(passages(tmp_path / "a.txt")))
    assert (found is not None) == is_text(content)
    for start, passage in found or ():
        assert 0 < len(passage) <= LONG and content[start : start + len(passage)] == passage and passage.decode()
    if found is not None:
        assert b"".join(b"".join(passage for _, passage in found).split()) == b"".join(content.split())


@PROFILE
@given(st.dictionaries(st.sampled_from(["a.txt", "b", ".hidden", "c/d.txt"]), contents, max_size=3))
def test_any_folder_is_a_corpus_or_refused(tmp_path, files):
    folder = tmp_path / "texts"
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    corpus = told(lambda: Documents(folder))
    if corpus is None:
        return
    assert all(is_text(content) for name, content in files.items() if name != ".hidden")
    for split in SPLITS:
        rows = told(lambda s=split: next(corpus.batches(s, 2, 5, torch.Generator().manual_seed(0))))
        assert (rows is not None) == any(corpus.texts(split))
        assert rows is None or (rows.shape == (2, 5) and int(rows.min()) > 0 and int(rows.max()) < len(corpus.tokens))


def test_any_name_of_a_corpus_is_opened_or_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = []
    odd = ["match,", ",", "worlds,match", "dataset", "/dev/null", "/proc/self/mem", ".", "é" * 300]
    quick = st.lists(st.sampled_from(["describe", " describe", "terminal "]), min_size=1, max_size=2).map(",".join)
    kinds = st.sampled_from(["", "words", "bytes", "bpe"])

    @TRIES
    @given(st.tuples(st.text(max_size=8) | st.sampled_from(odd), st.text(max_size=3) | kinds) | st.tuples(quick, kinds))
    def check(named):
        source, tokens = named
        corpus = told(lambda: open_corpus(source, tokens or None))
        if corpus is not None:
            made.append(corpus)
            assert all(name.strip() in ("worlds", *world_names()) for name in source.split(","))
            assert any(corpus.texts("train"))

    check()
    assert len(made) > TRIES.max_examples / 5


@settings(PROFILE, max_examples=40)
@given(st.lists(st.text(max_size=5), max_size=4), st.text(max_size=12))
def test_any_text_comes_back_from_tokens(tmp_path, learned, text):
    for tokens in (Bytes(), learn_byte_pairs(learned, 300)):
        save_tokens(tmp_path / "tokens.json", tokens)
        again = load_tokens(tmp_path / "tokens.json")
        told(lambda t=again: t.row(text, 8))
        encoded = told(lambda t=again: t.encode(text))
        assert encoded is None or (again.decode(encoded) == text and tokens.encode(text) == encoded)


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.dictionaries(
            st.sampled_from(["tokens", "words", "buckets", "tokenizer", "V", "config"]), parts, max_size=3
        )
    ),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with a text model and a model of pictures."""
    folder = tmp_path_factory.mktemp("models")
    tokens = Words(Vocabulary(["a", "b"]))
    save_text(folder / "text", TextVAE(len(tokens), VAEConfig(width=4, layers=1, heads=1, latent=3, patch=1)), tokens)
    save_pixels(folder / "pixels", PixelVAE(PixelConfig(latent=2, width=8)))
    return folder


@pytest.mark.parametrize("part, load", [("text", load_text), ("pixels", load_pixels)])
def test_a_damaged_model_is_read_or_refused(tmp_path, models, part, load):
    names = sorted(path.name for path in (models / part).iterdir())

    @PROFILE
    @given(st.sampled_from(names), st.data())
    def check(name, data):
        shutil.copytree(models / part, tmp_path / part, dirs_exist_ok=True)
        content = (models / part / name).read_bytes()
        place = data.draw(st.integers(0, min(len(content), 400)))
        removed = data.draw(st.integers(0, 9) | st.just(len(content)))
        (tmp_path / part / name).write_bytes(
            content[:place] + data.draw(st.binary(max_size=4)) + content[place + removed :]
        )
        told(lambda: load(tmp_path / part))

    check()


word = st.text(min_size=1, max_size=3).filter(lambda text: text.split() == [text])
share = st.floats(allow_nan=False)
SHAPE = {"width": 4, "layers": 1, "heads": 1, "latent": 3, "patch": 1}
RIGHT = {
    "tokens.json": st.lists(word, max_size=2, unique=True).map(
        lambda words: {"tokens": "words", "words": words, "buckets": 2 - len(words)}
    ),
    "vae.json": st.fixed_dictionaries({"kl": share, "mask_weight": share, "mask_ratio": share}).map(
        lambda weights: {"V": 6, "config": SHAPE | weights}
    ),
}


def test_any_description_of_a_model_is_read_or_refused(tmp_path, models):
    made = []
    one = st.sampled_from([*RIGHT]).flatmap(lambda name: st.tuples(st.just(name), RIGHT[name]))

    @TRIES
    @given(one, st.lists(trees | st.binary(max_size=30), max_size=1))
    def check(one, wild):
        name, right = one
        tree = wild[0] if wild else right
        shutil.copytree(models / "text", tmp_path / "text", dirs_exist_ok=True)
        (tmp_path / "text" / name).write_bytes(tree if isinstance(tree, bytes) else json.dumps(tree).encode())
        found = told(lambda: load_text(tmp_path / "text"))
        if found is not None:
            made.append(found)
            vae, tokens = found
            held = {"tokens.json": {"tokens": "words", **tokens.state()}}
            held["vae.json"] = {"V": len(tokens), "config": asdict(vae.config)}
            assert wild or held[name] == right

    check()
    assert len(made) > TRIES.max_examples / 5


def test_any_bytes_are_tensors_or_refused(tmp_path):
    made, shapes = [], arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    tensors = arrays.arrays(st.sampled_from(["?", "u1", "i8", "f2", "f4"]), shapes).map(torch.from_numpy)
    wild = st.tuples(st.integers(0, 80), st.binary(max_size=60))

    @PROFILE
    @given(st.dictionaries(st.text(max_size=3), tensors, max_size=3), st.lists(wild, max_size=1))
    def check(right, wild):
        content = save(right)
        for place, piece in wild:
            content = content[:place] + piece + content[place + len(piece) :]
        (tmp_path / "a.safetensors").write_bytes(content)
        found = told(lambda: load_tensors(tmp_path / "a.safetensors"))
        if found is not None:
            made.append(found)
            assert wild or save(found) == content

    check()
    assert len(made) > PROFILE.max_examples / 5
