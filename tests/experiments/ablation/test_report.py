import io
import json
import re
from html import escape

import pytest
from rich.console import Console

from experiments.ablation.report import tell, write_report
from tests.experiments.ablation.synthetic import changed, make_summary
from tests.experiments.test_report import HOSTILE, Page

SECTIONS = ["claims", "headline", "controls", "scores", "cells", "learning", "diagnostics", "failures", "worlds"]
SECTIONS += ["measurements", "trials"]
ALTS = ("return gap by", "gap of controls", "scores in match", "scores in chase", "learning in terminal", "diagnostics")


def report(folder, summary):
    folder.mkdir(exist_ok=True)
    (folder / "ablation.json").write_text(json.dumps(summary))
    return write_report(folder).read_text(encoding="utf-8")


def sections(source):
    return [attributes["id"] for tag, attributes in Page(source).elements if tag == "section" and "id" in attributes]


def said(source):
    """Without the difference of spaces."""
    return " ".join(Page(source).said.split())


@pytest.fixture
def summary():
    return make_summary()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return report(tmp_path_factory.mktemp("study"), make_summary())


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are words alone, for speed."""
    monkeypatch.setattr("experiments.page.plot", lambda draw, size, alt, palette: f"<svg>{escape(alt)}</svg>")


def test_the_page_tells_the_study(source, summary):
    told = said(source)
    for text in (
        summary["command"],
        summary["trials"][7]["command"],
        "0.94 [0.81, 0.98]",
        "p = 0.0014",
        "On 2 of 3 controls",
        "not on chase 0.",
        "Joint is ahead of late in 6 of 6 cells with NS > 0.",
        "exact, small version",
        "Holm 0.19",
        "1,000,000",
        "a processor",
        "4 to 5 seeds",
        "0.031",
        "Jobs that failed: 1",
        summary["failed"]["chase-1-video-4"],
    ):
        assert text in told, text
    assert "Not in this run" not in told


def test_sections_come_in_their_order(source):
    assert sections(source) == SECTIONS


def test_each_figure_is_drawn(source):
    alts = [attributes["aria-label"] for tag, attributes in Page(source).elements if tag == "svg"]
    for start in ALTS:
        assert any(alt.startswith(start) for alt in alts), start
    assert sum(alt.startswith("learning in") for alt in alts) == 9


def test_the_headline_names_gap_and_ns_of_each_cell(source, summary):
    alts = [attributes["aria-label"] for tag, attributes in Page(source).elements if tag == "svg"]
    alt = next(alt for alt in alts if alt.startswith("return gap by"))
    for cell in summary["cells"]:
        assert f"at {cell['ns']['nats']:.3g}" in alt and f"{cell['gap']['value']:.2f}".removeprefix("-") in alt


def test_ids_are_unique(source):
    ids = [attributes["id"] for _, attributes in Page(source).elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_nothing_is_fetched(source):
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"'\s<>)]*", source)) == namespaces
    links = [a[k] for _, a in Page(source).elements for k in ("src", "href", "xlink:href", "data", "action") if k in a]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "@import" not in source and set(re.findall(r"url\((.)", source)) <= {"#"}
    assert "script" not in {tag for tag, _ in Page(source).elements}


def test_each_colour_is_one_of_the_page(source):
    named = set(re.findall(r"var\(--(\w+)\)", source))
    assert named <= set(re.findall(r"--(\w+):", source))
    drawn = set(re.findall(r"(?:stroke|fill): (#\w+)", source))
    assert drawn <= {"#000000", "#ffffff"}


@pytest.mark.parametrize("name", list(make_summary()))
@pytest.mark.parametrize("value", [None, [], {}, 3, "text", [None, 3, {"env": "match"}, {"env": 3}]])
def test_any_part_may_be_missing_or_something_else(tmp_path, undrawn, summary, name, value):
    assert "<h2>Configuration</h2>" in report(tmp_path, summary | {name: value})


@pytest.mark.parametrize("name", list(make_summary()["cells"][0]))
@pytest.mark.parametrize("value", [None, [], {}, 3, "text", {"joint": 3, "nats": "x", "value": None}])
def test_any_part_of_a_cell_may_be_missing_or_something_else(tmp_path, undrawn, summary, name, value):
    few = summary | {"cells": summary["cells"][:1]}
    assert "<h2>Configuration</h2>" in report(tmp_path, changed(few, 0, **{name: value}))


def with_estimate(summary, p):
    """With a last cell of another's environment: an estimate of NS, and no scale of return."""
    ns = {"nats": 0.021, "low": 0.012, "high": 0.03, "p": p, "share": 0.2, "how": "estimated: nets", "command": "x"}
    told = {"may": ["Separability is rejected."], "may_not": ["That late fusion must lose."]}
    return changed(summary, -1 % len(summary["cells"]), env="Foreign-v0", coupling=None, score="J", ns=ns, claims=told)


def test_estimates_of_ns_stand_apart(tmp_path, summary):
    source = report(tmp_path, with_estimate(summary, p=0.01))
    assert sections(source) == [*SECTIONS[:3], "estimates", *SECTIONS[3:]]
    (apart,) = re.findall('<section id="estimates">.*?</section>', source, re.DOTALL)
    for text in (
        "Foreign-v0",
        "\u2248\u00a00.0210",
        "[0.0120,\u00a00.0300]",
        "Separability is rejected.",
        "late fusion must",
    ):
        assert text in apart, text
    alts = [attributes["aria-label"] for tag, attributes in Page(source).elements if tag == "svg"]
    assert sum("Foreign-v0" in alt for alt in alts if alt.startswith("return gap by")) == 2  # wide and narrow


def test_a_world_of_a_module_with_an_underscore_is_in_the_legend(tmp_path, summary):
    cell = with_estimate(summary, p=0.01)["cells"][-1] | {"env": "_mine:Mine-v0"}
    assert "_mine:Mine-v0" in report(tmp_path, summary | {"cells": [cell]})  # its only plot, and so its only label


def test_scores_without_a_scale_are_no_normalised_return(tmp_path, summary):
    other = with_estimate(summary, p=0.01)["cells"][-1]
    alone = said(report(tmp_path, summary | {"cells": [other]}))
    assert "of return J in Foreign-v0" in alone and "of normalised return in" not in alone
    assert "From the worst cell" not in alone
    with_others = report(tmp_path / "mixed", with_estimate(summary, p=0.01))
    assert "of normalised return in Foreign-v0" not in said(with_others)


def test_an_estimate_that_rejects_nothing_is_no_number_above_zero(tmp_path, undrawn, summary):
    told = said(report(tmp_path, with_estimate(summary, p=0.4)))
    assert told.count("not detected") == 3  # in its section, among the cells, and on its card
    assert "\u2248" not in told


def with_world(summary, env, **values):
    """With a world that is told otherwise."""
    return summary | {"worlds": summary["worlds"] | {env: summary["worlds"][env] | values}}


def pictures(source):
    return {attributes["alt"]: attributes["src"] for tag, attributes in Page(source).elements if tag == "img"}


def test_each_world_has_a_card(source):
    told = said(source)
    for text in (
        "A world called match.",
        "Why non-separable: the text says nothing of where chase is.",
        "\u201cwhere is terminal 1 ?\u201dthe oracle: right",
        "text 5 words, vocabulary 16; image 2 \u00d7 3 \u00d7 3",
        "at most 60 steps; terminated when found",
        "Two starts, at coupling 1",
        "num_files 3, horizon 24, size 7",
    ):
        assert text in told, text


def test_cards_show_each_image_and_each_frame(source, summary):
    shown, worlds = pictures(source), summary["worlds"]
    assert len(shown) == 10  # two images of two worlds, two videos of three frames
    assert shown["image of match, example 2"] == worlds["match"]["examples"][1]["image"]
    assert shown["frame 3 of 3 of chase, example 1"] == worlds["chase"]["examples"][0]["video"][2]


def test_cards_tell_ns_at_each_coupling_and_the_ladder_where_it_is_known(source):
    match, terminal, chase = source.partition('<section id="worlds">')[2].split("<article")[1:4]
    assert "Best late" in match and "0.6931" in match and "small version" not in match
    assert "no dial" in terminal and "Best" not in terminal
    assert "exact, small version" in chase and "size 2" in chase and "Best" not in chase


def test_older_files_without_worlds_have_cards_of_their_cells(tmp_path, undrawn, summary):
    old = {name: part for name, part in summary.items() if name != "worlds"}
    source = report(tmp_path, old)
    assert "kind joint, num_colours 4, num_shapes 3" in said(source) and "1,000,000 env steps" in said(source)
    assert pictures(source) == {} and "Not in this run" not in said(source)


@pytest.mark.parametrize("name", list(make_summary()["worlds"]["match"]))
@pytest.mark.parametrize("value", [None, [], {}, 3, "text", [None, 3, {"image": 3, "video": "x"}], {"text": None}])
def test_any_part_of_a_world_may_be_missing_or_something_else(tmp_path, undrawn, summary, name, value):
    few = with_world(summary | {"cells": summary["cells"][:1]}, "match", **{name: value})
    assert "<h2>Worlds</h2>" in report(tmp_path, few)


@pytest.mark.parametrize(
    "uri", ["http://a.example/b.png", "data:text/html;base64,AAAA", 'data:image/png;base64,AA" onerror="x', "", "AAAA"]
)
def test_what_is_no_picture_is_not_shown(tmp_path, undrawn, summary, uri):
    examples = [{"text": "where ?", "image": uri, "video": [uri, None]}]
    source = report(tmp_path, with_world(summary | {"cells": summary["cells"][:1]}, "match", examples=examples))
    assert pictures(source) == {} and "where ?" in said(source) and "onerror" not in source


def test_why_a_world_is_not_shown_is_told(tmp_path, undrawn, summary):
    assert "no such world" in said(report(tmp_path, summary | {"worlds": {"match": {"error": "no such world"}}}))


@pytest.mark.parametrize("name", ["anchors", "coupling", "curves", "diagnostics", "forms", "gap", "ns"])
def test_figures_are_drawn_without_a_part(tmp_path, summary, name):
    few = summary | {"cells": summary["cells"][1:3], "controls": []}
    assert "<svg" in report(tmp_path, changed(few, 0, **{name: None}))


@pytest.mark.parametrize("ends", [{"low": None, "high": None}, {"low": 0.4}, {}])
def test_figures_are_drawn_without_intervals(tmp_path, summary, ends):
    def bare(value):
        if not isinstance(value, dict):
            return value
        kept = {key: bare(part) for key, part in value.items() if "value" not in value or key not in ("low", "high")}
        return kept | ends if "value" in value else kept

    few = summary | {"cells": [bare(cell) for cell in summary["cells"][1:3]], "controls": []}
    assert "return gap by non-separability: match 0.25 0.22 at" in report(tmp_path, few)


def test_of_an_empty_study_the_frame_is_left(tmp_path):
    source = report(tmp_path, {})
    assert sections(source) == []
    assert "No cell was measured." in said(source) and "Not in this run: gap against" in said(source)


def blank(value):
    """What a study leaves when nothing could be measured: the same names, and null for each number."""
    if isinstance(value, dict):
        return {name: blank(part) for name, part in value.items()}
    return [blank(part) for part in value] if isinstance(value, list) else value if isinstance(value, str) else None


def test_numbers_may_be_null(tmp_path, summary):
    source = report(tmp_path, blank(summary))
    assert "plot_headline" not in source and "joint ahead" not in said(source)


def test_a_cell_without_ns_is_named_and_not_drawn(tmp_path, undrawn, summary):
    told = said(report(tmp_path, changed(summary, 5, ns=None)))
    assert "so not drawn: terminal." in told
    assert "terminal" not in told.partition("return gap by non-separability:")[2].partition("Stated")[0]


def test_a_cell_of_bare_returns_is_not_drawn_beside_normalised_ones(tmp_path, undrawn, summary):
    assert "so not drawn: terminal." in said(report(tmp_path, changed(summary, 5, score="J")))


def test_long_curves_are_thinned_and_end_where_they_end(tmp_path, summary):
    steps = list(range(1, 5001))
    curve = {"steps": steps, "mean": [step / 5000 for step in steps]}
    few = changed(summary | {"cells": summary["cells"][:1]}, 0, curves={"joint": curve})
    source = report(tmp_path, few)
    assert len(source) < 300_000 and "joint 1 at the end" in source


def hostile(value):
    if isinstance(value, dict):
        return {name: hostile(part) for name, part in value.items()} | {HOSTILE: HOSTILE}
    if isinstance(value, list):
        return [hostile(part) for part in value]
    return f"{value} {HOSTILE}" if isinstance(value, str) and value not in ("normalised", "exact") else value


def test_hostile_strings_stay_text(tmp_path, summary):
    few = summary | {"cells": summary["cells"][-2:], "trials": summary["trials"][-4:]}
    few["cells"][0]["forms"][HOSTILE] = few["cells"][0]["forms"]["joint"]
    few["cells"][0]["curves"][HOSTILE] = few["cells"][0]["curves"]["joint"]
    page = Page(report(tmp_path, hostile(few)))
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.said.count(HOSTILE) > 30


def test_equal_folders_give_equal_bytes(tmp_path, source):
    assert report(tmp_path / "again", make_summary()) == source
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["ablation.json", "report.html"]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^expected figures of an ablation study at .*ablation\.json"):
        write_report(tmp_path)


@pytest.mark.parametrize("content", ["", "[1]", '{"cells": '])
def test_what_is_damaged_is_named(tmp_path, content):
    (tmp_path / "ablation.json").write_text(content)
    with pytest.raises(ValueError, match=r"^.*ablation\.json .+$"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_the_terminal_tells_cells_trend_and_failures(summary):
    file = io.StringIO()
    tell(summary, Console(file=file, width=120))
    told = file.getvalue()
    assert re.search(r"match 0\.5 .* 0\.2627 .* 0\.45 .* joint ahead", told)
    for text in ("rank correlation 0.94", "On 2 of 3 controls", "failed: chase-1-video-4: ValueError"):
        assert text in told


def test_the_terminal_tells_of_an_empty_study_and_of_hostile_names():
    file = io.StringIO()
    tell({"failed": {"[bold]x": "[/nonsense]"}, "cells": [{"env": "[red]match"}]}, Console(file=file, width=120))
    assert "failed: [bold]x: [/nonsense]" in file.getvalue() and "[red]match" in file.getvalue()
