import json
import re
from html import escape

import pytest

from experiments.bridge.report import write_report
from tests.experiments.bridge.synthetic import make_summary
from tests.experiments.test_report import HOSTILE, Page

SECTIONS = ["claims", "reconstruction", "samples", "completions", "models", "split", "rate_distortion", "prior", "gap"]
SECTIONS += ["scaling", "speaker", "modalities"]


def report(folder, summary):
    folder.mkdir(exist_ok=True)
    (folder / "bridge.json").write_text(json.dumps(summary))
    return write_report(folder).read_text(encoding="utf-8")


def sections(source):
    return [attributes["id"] for tag, attributes in Page(source).elements if tag == "section" and "id" in attributes]


@pytest.fixture(scope="module")
def summary():
    return make_summary()


@pytest.fixture(scope="module")
def source(tmp_path_factory, summary):
    return report(tmp_path_factory.mktemp("study"), summary)


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are words alone, for speed."""
    monkeypatch.setattr("experiments.page.plot", lambda draw, size, alt, palette: f"<svg>{escape(alt)}</svg>")


def test_the_page_tells_the_study(source, summary):
    told = Page(source).said
    for figure in (
        "41,203 texts to learn from",
        "latent at most 8.94",
        "\u2264\u00a08.94",
        "7.21\u00a0\u00b1\u00a00.10",
        "412,000",
    ):
        assert figure in told
    for text in (summary["command"], "4.80e13", "a processor", "0.0060", "floor 0.0020", "go to the \u2026", "27.4"):
        assert text in told
    assert "Not in this run" not in told and "n/a" not in told


def test_sections_come_in_their_order(source):
    assert sections(source) == SECTIONS


def test_each_figure_is_drawn(source, summary):
    alts = [attributes["aria-label"] for tag, attributes in Page(source).elements if tag == "svg"]
    starts = (
        "accuracy by noise",
        "nats a text",
        "distortion by",
        "prior matching",
        "inference gap",
        "parts of the",
        "held-out",
    )
    for start in (*starts, "validity by", "success by"):
        assert any(alt.startswith(start) for alt in alts), start
    rates = (row for row in summary["curves"]["rate_distortion"] if row["latent"] == 2)
    most = max(row["distortion"]["value"] for row in rates)
    assert any(f": d = 2 {most:.4g} at " in alt for alt in alts)


def test_ids_are_unique_and_pictures_have_words(source):
    elements = Page(source).elements
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    pictures = [attributes for tag, attributes in elements if tag == "img"]
    assert len(pictures) == 8 and all(attributes["alt"] for attributes in pictures)


def test_nothing_is_fetched(source):
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"'\s<>)]*", source)) == namespaces
    links = [a[k] for _, a in Page(source).elements for k in ("src", "href", "xlink:href", "data", "action") if k in a]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "@import" not in source and set(re.findall(r"url\((.)", source)) <= {"#"}
    assert "script" not in {tag for tag, _ in Page(source).elements}


def test_invalid_samples_and_wrong_words_are_marked(source, summary):
    wrong = [entry["text"] for entry in summary["models"][0]["samples"] if not entry["valid"]]
    assert f'<li><span class="invalid" title="not valid">{wrong[0]}</span></li>' in source
    assert source.count('<li><span class="invalid"') == 2
    assert source.count("<mark>") == 2  # a word that was lost, and the one in its place


def test_completions_do_not_repeat_their_prefix(source):
    assert (
        "</h3>blue cross</div>" in source and '<span class="invalid" title="not valid">red red , press</span>' in source
    )


def test_claims_are_shown_where_they_belong(source):
    told = Page(source).said
    assert told.count("KL(qbar || p) falls with the size of the prior") == 2  # in the table and beside the curve
    assert re.search(r"Claims that hold: \d+; that do not: \d+; not decided: \d+\.", told)


def test_claims_of_the_file_go_before_own_ones(tmp_path, undrawn):
    rows = [{"claim": "Curve 1: it is flat", "verdict": "does not hold", "evidence": "see there"}]
    told = Page(report(tmp_path, {"claims": rows})).said
    assert "Claims that hold: 0; that do not: 1; not decided: 0." in told and "Speaking" not in told


def test_a_failed_job_is_told(tmp_path, undrawn, summary):
    rest = {name: value for name, value in summary.items() if name != "speaker"}
    told = Page(report(tmp_path, rest | {"failed": {"speaker-words": "out of <memory>"}})).said
    assert "speaker-words failed: out of <memory>" in told
    assert "Not in this run: the text heads in describe." in told


@pytest.mark.parametrize("name", list(make_summary()))
@pytest.mark.parametrize("value", [None, [], {}, 3, "text", [None, 3, {"name": "latent"}]])
def test_any_part_may_be_missing_or_something_else(tmp_path, undrawn, summary, name, value):
    assert "<h2>Configuration</h2>" in report(tmp_path, summary | {name: value})


def test_of_an_empty_study_only_claims_are_left(tmp_path):
    source = report(tmp_path, {})
    assert sections(source) == ["claims"]
    told = Page(source).said
    assert "No model was measured." in told and "Not in this run: reconstruction, samples," in told


def blank(value):
    """What a study leaves when nothing could be measured: the same names, and null for each number and text."""
    if isinstance(value, dict):
        return {name: part if name in ("name", "family", "head") else blank(part) for name, part in value.items()}
    return [blank(part) for part in value] if isinstance(value, list) else None


def test_numbers_may_be_null(tmp_path, summary):
    rest = blank({name: value for name, value in summary.items() if name not in ("completions", "modalities")})
    source = report(tmp_path, rest)
    assert "plot_prior" not in source and "does not hold" not in Page(source).said


def test_a_corpus_without_known_entropy_has_no_bound(tmp_path, undrawn, summary):
    corpus = summary["corpus"] | {"entropy": {"train": None, "test": None}}
    source = report(tmp_path, summary | {"corpus": corpus})
    assert "above H" not in Page(source).said.partition("Up to H")[2].partition("KL(qbar")[2].partition("Curve 1")[0]
    assert set(SECTIONS) == set(sections(source))


def hostile(value):
    if isinstance(value, dict):
        return {name: hostile(part) for name, part in value.items()} | {HOSTILE: HOSTILE}
    if isinstance(value, list):
        return [hostile(part) for part in value]
    return f"{value} {HOSTILE}" if isinstance(value, str) and value not in ("latent", "test", "exact") else value


def test_hostile_strings_stay_text(tmp_path, source, summary):
    page = Page(report(tmp_path, hostile(summary)))
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.said.count(HOSTILE) > 30


@pytest.mark.parametrize("image", ["nowhere.npz", [[1, 2]], "", [[["a", "b", "c"]]], 3, [[[1, 2]]], {"a": 1}])
def test_a_damaged_picture_is_named(tmp_path, undrawn, image):
    with pytest.raises(ValueError, match=r"^image of example 0 should be .+$"):
        report(tmp_path, {"modalities": {"examples": [{"image": image}]}})


def test_equal_folders_give_equal_bytes(tmp_path, source, summary):
    assert report(tmp_path / "again", summary) == source
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["bridge.json", "report.html"]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^expected figures of a bridge study at .*bridge\.json"):
        write_report(tmp_path)


@pytest.mark.parametrize("content", ["", "[1]", '{"models": '])
def test_what_is_damaged_is_named(tmp_path, content):
    (tmp_path / "bridge.json").write_text(content)
    with pytest.raises(ValueError, match=r"^.*bridge\.json .+$"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()
