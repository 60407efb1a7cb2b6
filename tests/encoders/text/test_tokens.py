import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.text.tokens import Bytes, Words, learn_byte_pairs, load_tokens, save_tokens
from unienv.modality import PAD, Vocabulary
from unienv.registry import make_world

TEXTS = ["the red key opens the ring door .\n", "the ring door needs the blue key .\n", "Schlüssel, ключ, 鍵\n"] * 20
BYTE_PAIRS = learn_byte_pairs(TEXTS, 300)
WORDS = Words(Vocabulary(["go", "to", "the", "red", "ring"]))
KINDS = {"words": WORDS, "bytes": Bytes(), "bpe": BYTE_PAIRS}


@pytest.fixture(params=KINDS)
def tokens(request):
    return KINDS[request.param]


def test_padding_is_0_and_the_last_three_are_begin_end_and_mask(tokens):
    assert (tokens.pad, tokens.begin, tokens.end, tokens.mask) == (PAD, *range(len(tokens) - 3, len(tokens)))


def test_sizes():
    assert [len(tokens) for tokens in (WORDS, Bytes())] == [1 + 5 + 3, 1 + 256 + 3]
    assert 260 < len(BYTE_PAIRS) <= 300


def test_text_becomes_pieces_and_comes_back(tokens):
    ids = tokens.encode("go to the red ring")
    assert all(0 < i < tokens.begin for i in ids)
    assert tokens.decode(ids) == "go to the red ring"
    assert tokens.encode("") == [] and tokens.decode([]) == ""


def test_texts_side_by_side(tokens):
    texts = ["go to the red ring", "", "the ring"] * 5
    assert tokens.encode_all(texts) == [tokens.encode(text) for text in texts]


@given(st.text())
@settings(max_examples=300)
def test_any_text_comes_back(text):
    for tokens in (Bytes(), BYTE_PAIRS):
        assert tokens.decode(tokens.encode(text)) == text


@given(st.lists(st.sampled_from(["go", "to", "the", "red", "ring", " ", "\n"])))
def test_words_come_back_up_to_white_space(parts):
    text = " ".join(parts)
    assert WORDS.decode(WORDS.encode(text)).split() == text.split()


@given(st.lists(st.integers(0, 299)))
def test_whatever_a_model_writes_can_be_read(ids):
    for tokens in KINDS.values():
        within = [i for i in ids if i < len(tokens)]
        assert isinstance(tokens.decode(within), str)
        assert tokens.decode(within) == tokens.decode([i for i in within if 0 < i < tokens.begin])


@pytest.mark.parametrize("text", ["<pad>", "[MASK]", "</s><|endoftext|>", "\0"])
def test_text_never_yields_a_special_id(text):
    for tokens in (Bytes(), BYTE_PAIRS):
        assert all(0 < i < tokens.begin for i in tokens.encode(text))


def test_words_have_the_ids_of_their_world():
    world = make_world("goto")
    row = world.vocabulary.encode("go to the red ring", 5)
    assert Words(world.vocabulary).encode("go to the red ring") == row.tolist()


def test_an_unknown_word_is_told_unless_there_are_buckets():
    with pytest.raises(ValueError, match="'blue' is not in the vocabulary"):
        WORDS.encode("go to the blue ring")
    bucketed = Words(Vocabulary(["go"], buckets=2))
    assert bucketed.encode("blue")[0] in (2, 3) and len(bucketed) == 1 + 1 + 2 + 3


def test_a_row_is_the_text_its_end_and_padding(tokens):
    ids = tokens.encode("red ring")
    row = tokens.row("red ring", len(ids) + 3)
    assert row == [*ids, tokens.end, PAD, PAD]
    assert tokens.row("red ring", len(ids) + 1) == [*ids, tokens.end]
    with pytest.raises(ValueError, match=rf"'red ring' takes {len(ids) + 1} tokens .* length {len(ids)}$"):
        tokens.row("red ring", len(ids))


def test_the_sentence_of_a_row_ends_at_its_first_end(tokens):
    row = torch.tensor([*tokens.row("red ring", 40), *tokens.row("the", 20)])
    assert tokens.sentence(row) == "red ring"
    assert tokens.sentence(tokens.encode("red ring")) == "red ring"  # a row may be cut before its end


def test_byte_pairs_make_what_is_frequent_short_and_are_deterministic():
    assert len(BYTE_PAIRS.encode("the red key")) <= 6
    assert learn_byte_pairs(iter(TEXTS), 300).state() == BYTE_PAIRS.state()


def test_byte_pairs_need_room_for_all_bytes():
    assert len(learn_byte_pairs([], 260)) == 260
    with pytest.raises(ValueError, match="a size of at least 260, got 259"):
        learn_byte_pairs([], 259)


def test_tokens_are_saved_and_loaded(tokens, tmp_path):
    save_tokens(tmp_path / "tokens.json", tokens)
    loaded = load_tokens(tmp_path / "tokens.json")
    assert [file.name for file in tmp_path.iterdir()] == ["tokens.json"]
    assert (type(loaded), len(loaded), loaded.state()) == (type(tokens), len(tokens), tokens.state())
    assert loaded.encode("go to the red ring") == tokens.encode("go to the red ring")


def test_a_failure_to_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "tokens.json"
    save_tokens(path, Bytes())
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        save_tokens(path, WORDS)
    assert isinstance(load_tokens(path), Bytes)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"tokens": "wor',
        b"\xff\xfe",
        b"[]",
        b"3",
        b'{"tokens": "runes"}',
        b'{"tokens": "words"}',
        b'{"tokens": "words", "words": ["a", "a"], "buckets": 0}',
        b'{"tokens": "bpe", "tokenizer": {"model": 1}}',
    ],
)
def test_a_damaged_file_is_told_in_one_line(content, tmp_path):
    path = tmp_path / "tokens.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"tokens\.json is no file of tokens, or damaged: ") as told:
        load_tokens(path)
    assert "\n" not in str(told.value)


def test_a_file_of_byte_pairs_that_was_cut_is_told(tmp_path):
    save_tokens(tmp_path / "whole.json", BYTE_PAIRS)
    whole = (tmp_path / "whole.json").read_text()
    assert json.loads(whole)["tokens"] == "bpe"
    (tmp_path / "cut.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        load_tokens(tmp_path / "cut.json")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ValueError, match="there is no file of tokens"):
        load_tokens(tmp_path / "tokens.json")
