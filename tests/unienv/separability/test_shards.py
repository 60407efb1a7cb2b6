import numpy as np
import pytest

from tests.unienv.separability.test_tally import draw
from unienv.separability import shards
from unienv.separability.shards import check_spans, count, find, read
from unienv.separability.tally import merge, rows_of, tally

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def columns(rows, form="list"):
    """Transitions as columns of a Parquet file, values in one of the forms that say the same bytes."""
    text, image = (seen.items[seen.which] for seen in (rows.observation["text"], rows.observation["image"]))
    values = {
        "list": lambda: pa.array(list(text)),
        "large list": lambda: pa.array(list(text), pa.large_list(pa.int32())),
        "fixed list": lambda: pa.FixedSizeListArray.from_arrays(pa.array(text.ravel()), text.shape[1]),
        "bytes": lambda: pa.array([value.tobytes() for value in text]),
        "large bytes": lambda: pa.array([value.tobytes() for value in text], pa.large_binary()),
        "fixed bytes": lambda: pa.array([value.tobytes() for value in text], pa.binary(8)),
        "categories": lambda: pa.array([value.tobytes() for value in text]).dictionary_encode(),
    }[form]()
    feedback = [rows.names[y] for y in rows.feedback]
    return {
        "image": image, "action": rows.action, "text": values, "feedback": feedback, "episode": rows.episode,
    }  # fmt: skip


FORMS = ("list", "large list", "fixed list", "bytes", "large bytes", "fixed bytes", "categories")


@pytest.mark.parametrize("form", FORMS)
def test_parquet_counts_as_the_same_values_do_in_memory(tmp_path, form):
    data = draw(500)
    pq.write_table(pa.table(columns(data, form)), tmp_path / "a.parquet", row_group_size=170)
    (shard,) = find(tmp_path)
    assert shard.rows == 500 and set(shard.modalities) == {"text", "image"}
    told, rows, mine = count(shard.path), list(read(shard.path)), rows_of(data)
    assert (np.concatenate([part.cells for part in rows]) == mine.cells).all()
    assert (np.concatenate([part.episode for part in rows]) == data.episode).all()
    assert (told.table.count == tally(mine).count).all() and told.table.names == tally(mine).names
    assert told.span == (data.episode.min(), data.episode.max())


def test_npz_counts_as_in_memory(tmp_path):
    data = draw(300)
    data.save(tmp_path / "a.npz")
    (shard,) = find(tmp_path / "a.npz")
    assert shard.rows == 300 and shard.columns == {"text": "int32[2]", "image": "float64[]", "episode": "int64"}
    assert (count(shard.path).table.count == tally(rows_of(data)).count).all()


def test_words_numbers_and_rows_without_episodes(tmp_path):
    table = {
        "text": ["a", "b", "a", "ä"],
        "lit": [True, False, True, True],
        "action": [0] * 4,
        "feedback": [7, 1, 7, 7],
    }
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    told = count(tmp_path / "a.parquet")
    assert told.span is None and told.table.names == ("1", "7")
    assert sorted(told.table.count.tolist()) == [[0, 1], [0, 2], [1, 0]]


def test_batches_are_as_small_as_large_values_demand(tmp_path, monkeypatch):
    monkeypatch.setattr("unienv.separability.parquet._BYTES", 20_000)
    pictures = np.random.default_rng(0).integers(0, 256, (40, 4000), np.uint8)
    table = {"image": [p.tobytes() for p in pictures], "text": ["a"] * 40, "action": [0] * 40, "feedback": [0] * 40}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    batches = list(read(tmp_path / "a.parquet"))
    assert len(batches) >= 8 and sum(len(rows.cells) for rows in batches) == 40
    assert len(merge([tally(rows) for rows in batches]).cells) == 40


def good(**changed):
    table = {"text": ["a", "b"], "image": [1, 2], "action": [0, 1], "feedback": [0, 1], "episode": [4, 4]}
    return {name: value for name, value in (table | changed).items() if value is not None}


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"action": None}, "has no column action, only text, image, feedback, episode"),
        ({"image": None}, "at least two modalities, .* has text"),
        ({"action": [0.5, 1.0]}, "action must hold integers, it holds double"),
        ({"feedback": [0.5, 1.0]}, "feedback must hold integers or words, it holds double"),
        ({"episode": ["a", "b"]}, "episode must hold integers, it holds string"),
        ({"image": [[[1]], [[2]]]}, "image must hold numbers, words, bytes or lists"),
        ({name: [] for name in good()} | {"text": pa.array([], pa.string())}, "must hold|holds no transitions"),
    ],
)
def test_a_file_with_wrong_columns_is_refused_when_it_is_found(tmp_path, wrong, told):
    pq.write_table(pa.table(good(**wrong)), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=rf"\A.*a\.parquet.*{told}|\A.*{told}") as raised:
        find(tmp_path)
    assert "\n" not in str(raised.value) and "a.parquet" in str(raised.value)


@pytest.mark.parametrize(
    "wrong, told",
    [
        ({"text": ["a", None]}, "text lacks 1 value"),
        ({"image": [1.0, float("nan")]}, "image must be finite"),
        ({"image": [[1.0], [float("inf")]]}, "image must be finite"),
        ({"image": [[1], None]}, "image lacks 1 value"),
        ({"image": [[1, 2], [None, 2]]}, "image lacks 1 value"),
        ({"action": [0, None]}, "action lacks 1 value"),
        ({"feedback": [None, 0]}, "feedback lacks 1 value"),
    ],
)
def test_values_that_are_missing_or_no_numbers_are_refused_when_they_are_read(tmp_path, wrong, told):
    pq.write_table(pa.table(good(**wrong)), tmp_path / "a.parquet")
    (shard,) = find(tmp_path)
    with pytest.raises(ValueError, match=rf"\A[^\n]*a\.parquet can't be read as transitions: {told}[^\n]*\Z"):
        count(shard.path)


def test_shards_that_do_not_fit_together_are_refused(tmp_path):
    pq.write_table(pa.table(good()), tmp_path / "a.parquet")
    for wrong, told in [
        ({"image": [0.5, 1.5]}, "image is double in .*b.parquet and int64 in .*a.parquet"),
        ({"image": None, "video": [0, 1]}, "image is missing in .*b.parquet and int64"),
        ({"sound": [0, 1]}, "sound is int64 in .*b.parquet and missing"),
        ({"episode": None}, "episode is missing in .*b.parquet"),
    ]:
        pq.write_table(pa.table(good(**wrong)), tmp_path / "b.parquet")
        with pytest.raises(ValueError, match=rf"\Ashards must be alike, but {told}"):
            find(tmp_path)


def test_where_no_shards_are_is_said(tmp_path):
    with pytest.raises(ValueError, match="there is no file or folder"):
        find(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("")
    for place in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(ValueError, match=r"holds no shards: files that end in \.npz or \.parquet"):
            find(place)


@pytest.mark.parametrize("kind", ["npz", "parquet"])
@pytest.mark.parametrize("damage", ["cut", "flip", "other"])
def test_a_damaged_file_is_one_line(tmp_path, kind, damage):
    path = tmp_path / f"a.{kind}"
    if kind == "npz":
        draw(3000).save(path)
    else:
        pq.write_table(pa.table(columns(draw(3000))), path, write_page_checksum=True)
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[: middle - 200] + bytes(255 - x for x in whole[middle - 200 : middle + 200]) + whole[middle + 200 :]
    path.write_bytes({"cut": whole[:middle], "flip": flipped, "other": b"no such thing"}[damage])
    with pytest.raises(ValueError, match=rf"\A[^\n]*a\.{kind}[^\n]*\Z"):
        for shard in find(tmp_path):
            count(shard.path)


def test_another_npz_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", text=np.zeros(3), action=np.zeros(3))
    with pytest.raises(ValueError, match=r"a\.npz can't be read as transitions"):
        find(tmp_path)


def test_an_episode_lies_in_one_shard(tmp_path):
    check_spans([((0, 4), tmp_path / "a"), ((9, 9), tmp_path / "c"), ((5, 8), tmp_path / "b")])
    with pytest.raises(ValueError, match=r"\A.*a has episodes 0 to 5 and .*b 5 to 8: number them through\Z"):
        check_spans([((5, 8), tmp_path / "b"), ((0, 5), tmp_path / "a")])


def test_a_shard_that_holds_less_than_it_tells_is_refused(tmp_path, monkeypatch):
    """As a Parquet file of two rows by its footer and none by its pages, which fuzzing found."""
    monkeypatch.setattr(shards, "read", lambda path: iter(()))
    with pytest.raises(ValueError, match=r"^.*seen\.parquet is damaged: it tells of transitions and holds none$"):
        count(tmp_path / "seen.parquet")
