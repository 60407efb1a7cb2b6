import itertools
import math

import pytest
import torch

from encoders.text.corpus import Documents, Sentences, open_corpus, survey
from encoders.text.tokens import BytePairs, Bytes, Words
from unienv.modality import PAD
from unienv.registry import make_world


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def take(corpus, count, split="train", batch=4, length=32, seed=0):
    return list(itertools.islice(corpus.batches(split, batch, length, generator(seed)), count))


@pytest.fixture(scope="module")
def worlds():
    return open_corpus("worlds")


def passages(count):
    return [f"passage {i}\nhas a second line of {i % 7} words" for i in range(count)]


@pytest.fixture
def folder(tmp_path):
    """200 passages in three files."""
    told = passages(200)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a.txt").write_text("\n\n".join(told[:50]))
    (tmp_path / "b.txt").write_text("\n\n\n" + "\n \r\n\n".join(told[50:120]) + "\n\n")
    (tmp_path / "deep" / "er" / "c.md").write_text("\n\n".join(told[120:]))
    (tmp_path / ".hidden").write_bytes(b"\xff")
    return tmp_path


# Worlds


def test_all_worlds_that_need_no_parameters_speak(worlds):
    assert isinstance(worlds, Sentences) and isinstance(worlds.tokens, Words)
    assert worlds.name == "match, goto, describe, chase, rules, manual, terminal"
    assert worlds.complete


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("match", 4 * 4 * 2),
        ("goto", 6 * 5),
        ("describe", 6),
        ("chase", 6),
        ("rules", 6),
        ("manual", math.factorial(3) ** 2 * 2**3),
        ("terminal", 4**3 * 3),
    ],
)
def test_a_survey_finds_every_sentence(name, count):
    counts, complete = survey(make_world(name))
    assert (len(counts), complete) == (count, True)


def test_a_survey_tells_that_it_did_not_find_all(monkeypatch):
    monkeypatch.setattr("encoders.text.corpus._MOST", 1 << 11)
    corpus = Sentences({"manual": make_world("manual", num_keys=5)})
    assert not corpus.complete


def test_a_survey_is_the_same_on_torch():
    assert survey(make_world("goto", backend="torch")) == survey(make_world("goto"))


def test_the_splits_share_no_sentence_and_leave_out_none(worlds):
    train, test = set(worlds.texts("train")), set(worlds.texts("test"))
    assert not train & test
    assert len(train) + len(test) == 32 + 30 + 6 + 6 + 6 + 288 + 192
    assert 0.05 < len(test) / len(train | test) < 0.2


def test_every_word_occurs_in_training(worlds):
    known = {word for sentence in worlds.texts("train") for word in sentence.split()}
    assert {word for sentence in worlds.texts("test") for word in sentence.split()} <= known


def test_a_sentence_is_held_out_wherever_it_is_told(worlds):
    alone = open_corpus("goto")
    assert set(alone.texts("test")) <= set(worlds.texts("test"))


def test_words_of_one_world_keep_their_ids():
    corpus, world = open_corpus("goto"), make_world("goto")
    sentence = next(corpus.texts("train"))
    assert corpus.tokens.encode(sentence) == world.vocabulary.encode(sentence, 5).tolist()


def test_valid_sentences_are_those_that_a_world_says(worlds):
    assert worlds.valid("go to the red ring") and all(map(worlds.valid, worlds.texts("test")))
    assert not any(map(worlds.valid, ["", "go to the red", "go to the red red", "which ring one ?"]))
    assert not open_corpus("goto,chase").valid("which red one ?")


def test_rows_are_a_sentence_its_end_and_padding(worlds):
    for split in ("train", "test"):
        sentences = list(worlds.texts(split))
        for batch in take(worlds, 3, split, batch=16):
            assert batch.shape == (16, 32) and batch.dtype == torch.int64
            for row in batch:
                sentence = worlds.tokens.sentence(row)
                assert sentence in sentences and row.tolist() == worlds.tokens.row(sentence, 32)


def test_draws_follow_the_law_of_the_worlds():
    corpus = open_corpus("goto,rules")
    hints = torch.tensor([sentence.startswith("hint") for sentence in corpus.texts("train")])
    held_out = len(list(corpus.texts("test"))) / 60  # those of goto have half the probability, a 30th of it each
    assert float(corpus.probabilities("train")[hints].sum()) == pytest.approx(0.5 / (1 - held_out), abs=0.01)
    rows = torch.cat(take(corpus, 50, batch=64))
    told = (rows[:, 0] == corpus.tokens.encode("hint")[0]).double().mean()
    assert float(told) == pytest.approx(0.5 / (1 - held_out), abs=0.03)


def test_the_entropy_of_uniform_sentences():
    assert open_corpus("goto").entropy("train") == pytest.approx(math.log(27), abs=0.02)


def test_worlds_in_bytes_and_byte_pairs():
    for kind, of in (("bytes", Bytes), ("bpe", BytePairs)):
        corpus = open_corpus("goto,match", kind, size=300)
        assert isinstance(corpus.tokens, of)
        assert all(corpus.valid(corpus.tokens.sentence(row)) for row in take(corpus, 1, length=64)[0])


def test_rows_that_are_too_short_for_a_sentence():
    with pytest.raises(ValueError, match="takes 6 tokens with its end, got rows of length 5"):
        open_corpus("goto").batches("train", 4, 5, generator())


def test_a_world_whose_sentences_all_have_a_word_of_their_own_holds_out_none():
    corpus = open_corpus("chase")
    assert len(list(corpus.texts("train"))) == 6
    with pytest.raises(ValueError, match="chase: none of 6 sentences is in the split 'test'"):
        corpus.batches("test", 4, 8, generator())


# Files


def test_every_document_is_found_once(folder):
    corpus = open_corpus(str(folder))
    assert isinstance(corpus, Documents) and isinstance(corpus.tokens, Bytes)
    train, test = list(corpus.texts("train")), list(corpus.texts("test"))
    assert sorted(train + test) == sorted(passages(200))
    assert 5 < len(test) < 40


def test_a_file_alone(folder):
    corpus = Documents(folder / "a.txt")
    assert sorted([*corpus.texts("train"), *corpus.texts("test")]) == sorted(passages(50))


def test_a_document_is_held_out_by_its_content(folder, tmp_path):
    held = set(Documents(folder).texts("test"))
    alone = Documents(folder / "deep")
    assert set(alone.texts("test")) == held & {*alone.texts("train"), *alone.texts("test")}


def test_an_epoch_is_every_document_once_and_the_next_one_has_another_order(folder):
    corpus = Documents(folder)
    documents = list(corpus.texts("train"))
    epoch = sum(len(document.encode()) + 1 for document in documents)
    stream = list(itertools.islice(corpus._stream("train", generator()), 2 * epoch))
    orders = []
    for part in (stream[:epoch], stream[epoch:]):
        ends = [-1, *(i for i, token in enumerate(part) if token == corpus.tokens.end)]
        orders.append([corpus.tokens.decode(part[a + 1 : b]) for a, b in itertools.pairwise(ends)])
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1]) == sorted(documents)


def test_rows_of_files_are_full_stretches_of_documents(folder):
    corpus = Documents(folder)
    documents = [document.encode() for document in corpus.texts("train")]
    for batch in take(corpus, 20):
        assert batch.shape == (4, 32) and batch.dtype == torch.int64
        assert not (batch == PAD).any() and not (batch == corpus.tokens.mask).any()
        for row in batch.tolist():
            parts = "".join(chr(i - 1) if i != corpus.tokens.end else "\0" for i in row).encode().split(b"\0")
            assert all(any(part in document for document in documents) for part in parts)


def test_batches_have_the_order_of_their_seed(folder):
    corpus = Documents(folder)
    first, again, other = (torch.stack(take(corpus, 40, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_byte_pairs_are_learned_from_the_training_split(folder):
    corpus = open_corpus(str(folder), "bpe", size=300)
    assert isinstance(corpus.tokens, BytePairs)
    assert len(corpus.tokens.encode("has a second line of ")) < 10
    assert take(corpus, 1)[0].shape == (4, 32)


def test_tokens_that_there_are_already(folder):
    tokens = open_corpus(str(folder), "bpe", size=280).tokens
    assert open_corpus(str(folder), tokens).tokens is tokens


def test_without_blank_lines_a_line_is_a_document(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n\n" + "".join(f"line {i}\r\n" for i in range(40)) + "\n\n")
    corpus = Documents(path)
    assert sorted([*corpus.texts("train"), *corpus.texts("test")]) == sorted(f"line {i}" for i in range(40))


def test_long_lines_are_cut_between_characters(tmp_path):
    path = tmp_path / "long.txt"
    text = "x" + "é鍵" * 50_000  # 250,001 bytes, and no cut of 65,536 bytes meets the end of a character
    path.write_text(text, encoding="utf-8")
    corpus = Documents(path)
    places = sorted(place for of in corpus._places.values() for place in of.tolist())
    assert "".join(map(corpus._read, places)) == text and max(size for *_, size in places) <= 1 << 16


@pytest.mark.parametrize(
    ("content", "byte"),
    [
        (b"good\n\nb\xffd", 7),
        (b"\x80", 0),
        (b"cut \xe9\x8d", 4),
        (b"x" * 65_535 + b"\xc3", 65_535),
        (b"\xe9" * 70_000, 0),
    ],
)
def test_what_is_not_utf8_is_told_with_its_place(content, byte, tmp_path):
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad\.txt is not UTF-8 text: .* at byte {byte}$"):
        Documents(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n \n\t\r\n"])
def test_an_empty_corpus_is_told(content, tmp_path):
    (tmp_path / "empty.txt").write_bytes(content)
    for path in (tmp_path, tmp_path / "empty.txt"):
        with pytest.raises(ValueError, match="holds no text"):
            open_corpus(str(path))


def test_a_folder_without_files_is_told(tmp_path):
    with pytest.raises(ValueError, match="holds no text"):
        open_corpus(str(tmp_path))


def test_an_empty_split_is_told_at_once(tmp_path):
    (tmp_path / "one.txt").write_text("one")
    with pytest.raises(ValueError, match=r"none of 1 document\(s\) is in the split 'test'; blank lines part them"):
        Documents(tmp_path).batches("test", 4, 8, generator())


@pytest.mark.parametrize("source", ["nowhere.txt", "goto,nowhere", "gotoo", ""])
def test_a_missing_source_is_told(source):
    with pytest.raises(ValueError, match=f"no file, folder or world is called '{source}'; did you mean"):
        open_corpus(source)


def test_what_does_not_fit_is_told(folder, worlds):
    with pytest.raises(ValueError, match="tokens=words needs the vocabulary of worlds"):
        open_corpus(str(folder), "words")
    with pytest.raises(ValueError, match="tokens must be one of words, bytes, bpe, got 'runes'"):
        open_corpus(str(folder), "runes")
    for corpus in (worlds, Documents(folder)):
        with pytest.raises(ValueError, match="split must be one of train, test, got 'all'"):
            corpus.batches("all", 4, 32, generator())
