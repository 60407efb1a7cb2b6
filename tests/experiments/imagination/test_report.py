import io
import json
import re
from html import escape

import pytest
from rich.console import Console

from experiments.imagination import summary as read
from experiments.imagination.conclude import conclude
from experiments.imagination.jobs import Grid
from experiments.imagination.plain import to_markdown
from experiments.imagination.plan import LEARNERS, ImaginationConfig
from experiments.imagination.report import tell, write_report
from tests.experiments.imagination.synthetic import make_summary
from tests.experiments.test_report import HOSTILE, Page

SECTIONS = ["claims", "forms", "cells", "agents", "failures", "runs"]
DAMAGED = [None, [], {}, 3, "text", [None, 3, {"env": "match"}, {"name": "match-1", "env": 3}]]


def report(folder, summary):
    folder.mkdir(exist_ok=True)
    (folder / "imagination.json").write_text(json.dumps(summary))
    return write_report(folder).read_text(encoding="utf-8")


def sections(source):
    return [attributes["id"] for tag, attributes in Page(source).elements if tag == "section" and "id" in attributes]


def said(source):
    """Without the difference of spaces."""
    return " ".join(Page(source).said.split())


def alts(source):
    return [attributes["aria-label"] for tag, attributes in Page(source).elements if tag == "svg"]


def printed(summary):
    file = io.StringIO()
    tell(summary, Console(file=file, width=100))
    return file.getvalue()


def first_cell(summary, **values):
    """One cell alone, whose first part differs."""
    cell = summary["cells"][0]
    return summary | {"cells": [cell | {"parts": {"signal": cell["parts"]["signal"] | values}}]}


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
    told = said(source)
    gain = summary["agents"][0]["learners"]["imagine"]["difference"]
    for text in (
        summary["command"],
        summary["agents"][1]["learners"]["auxiliary"]["commands"]["3"],
        "World models in 7 cells, 5 seeds each. Agents in 2 worlds, 5 seeds each.",
        "Claims that hold: 1; that do not: 1; not decided: 1.",
        "Of 5 parts where something must be lost, farthest off is manual-1, next image:",
        "Of 16 parts where nothing must be, ",
        f"less model-free: {gain['value']:.2f} [{gain['low']:.2f}, {gain['high']:.2f}] in match, p = 0.062;",
        "With 5 seeds no p can be below 0.062.",
        "80,000 env steps, env.size=3, J of random actions 0.210, of the oracle 0.930",
        "a processor",
        "5,121.4",
        "Jobs that failed: 1",
        "model-goto-late-4: ValueError: no such thing",
    ):
        assert text in told, text
    assert "Not in this run" not in told
    assert all(f"\u201c{name.capitalize()}\u201d" in told for name in LEARNERS)  # what each of them is


def test_sections_come_in_their_order(source):
    assert sections(source) == SECTIONS


def test_the_headline_names_each_part_that_is_exact(source, summary):
    (alt,) = {alt for alt in alts(source) if alt.startswith("nats that the product form loses")}
    for cell in summary["cells"]:
        for part, name in read.NAMES.items():
            exact = cell["parts"][part]["exact"]
            assert (f"{cell['name']}, {name} " in alt) == (exact is not None)
            assert exact is None or f" at {exact:.4f}" in alt


def test_each_world_has_its_scores(source, summary):
    for world in summary["agents"]:
        (alt,) = (alt for alt in alts(source) if alt.startswith(f"scores in {world['env']}"))
        assert all(f"{name} {one['score']['value']:.2f}" in alt for name, one in world["learners"].items())


def test_log_losses_stand_in_the_table(source, summary):
    (cells,) = re.findall('<section id="cells">.*?</section>', source, re.DOTALL)
    for cell in summary["cells"]:
        for part in cell["parts"].values():
            assert f"<td>{part['joint']['value']:.4f}<small>[" in cells
            assert f"<td>{part['late']['value']:.4f}<small>[" in cells
    assert cells.count("<td>n/a</td>") == 7  # no exact figure of ends


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
    assert set(re.findall(r"(?:stroke|fill): (#\w+)", source)) <= {"#000000", "#ffffff"}


@pytest.mark.parametrize("name", list(make_summary()))
@pytest.mark.parametrize("value", DAMAGED)
def test_any_part_may_be_missing_or_something_else(tmp_path, undrawn, summary, name, value):
    damaged = summary | {name: value}
    assert "<h2>Configuration</h2>" in report(tmp_path, damaged)
    assert to_markdown(damaged).startswith("# Imagination")
    printed(damaged)


@pytest.mark.parametrize("name", list(make_summary()["cells"][0]))
@pytest.mark.parametrize("value", [*DAMAGED, {"signal": 3, "end": {"lost": {"value": "x"}}}])
def test_any_part_of_a_cell_may_be_missing_or_something_else(tmp_path, undrawn, summary, name, value):
    damaged = summary | {"cells": [summary["cells"][0] | {name: value}]}
    assert "<h2>Configuration</h2>" in report(tmp_path, damaged)


@pytest.mark.parametrize("name", list(make_summary()["agents"][0]))
@pytest.mark.parametrize("value", [*DAMAGED, {"imagine": {"scores": {"0": "x"}, "score": 0.5, "commands": [1]}}])
def test_any_part_of_a_world_may_be_missing_or_something_else(tmp_path, undrawn, summary, name, value):
    damaged = summary | {"agents": [summary["agents"][0] | {name: value}]}
    assert "<h2>Configuration</h2>" in report(tmp_path, damaged)


@pytest.mark.parametrize("ends", [{"low": None, "high": None}, {"low": -0.4}, {}])
def test_figures_are_drawn_without_intervals(tmp_path, summary, ends):
    one = first_cell(summary, lost={"value": 0.0004} | ends) | {"agents": []}
    assert alts(report(tmp_path, one))[0].endswith("match-0, signal 0.0004 at 0.0000")


@pytest.mark.parametrize(("exact", "lost"), [(0.0, -3.0), (5.0, 4.0), (1e-12, 0.0)])
def test_figures_reach_as_far_as_points(tmp_path, summary, exact, lost):
    estimate = {"value": lost, "low": lost - 0.1, "high": lost + 0.1}
    assert len(alts(report(tmp_path, first_cell(summary, exact=exact, lost=estimate) | {"agents": []}))) == 2


def test_a_part_without_an_exact_figure_is_not_drawn(tmp_path, summary):
    source = report(tmp_path, first_cell(summary, exact=None))
    assert sections(source) == [name for name in SECTIONS if name != "forms"]
    assert "Not in this run: what the product form loses." in said(source)


def test_rounding_is_no_loss(summary):
    (part,) = read.placed(read.cells(first_cell(summary, exact=-1e-12)))
    assert part.exact == 0.0


def test_of_an_empty_study_the_frame_is_left(tmp_path):
    source = report(tmp_path, {})
    assert sections(source) == []
    assert "No claim was tested." in said(source) and "Not in this run: what the product form" in said(source)
    assert "What the words mean" in said(source)


def test_a_study_of_which_nothing_is_done_is_told(tmp_path):
    summary = conclude(Grid(ImaginationConfig(), tmp_path), {"exact-goto": "ValueError: no"})
    source = report(tmp_path, summary)
    assert sections(source) == ["claims", "failures"]
    assert "`exact-goto`: ValueError: no" in to_markdown(summary) and "failed: exact-goto" in printed(summary)


def hostile(value):
    if isinstance(value, dict):
        return {name: hostile(part) for name, part in value.items()} | {HOSTILE: HOSTILE}
    if isinstance(value, list):
        return [hostile(part) for part in value]
    return f"{value} {HOSTILE}" if isinstance(value, str) else value


def test_hostile_strings_stay_text(tmp_path):
    whole = make_summary()
    few = whole | {"cells": whole["cells"][:2], "agents": whole["agents"][:1]}
    few["cells"][0]["parts"][HOSTILE] = few["cells"][0]["parts"]["signal"]
    few["agents"][0]["learners"][HOSTILE] = few["agents"][0]["learners"]["imagine"]
    page = Page(report(tmp_path, hostile(few)))
    assert "script" not in {tag for tag, _ in page.elements}
    assert page.said.count(HOSTILE) > 30


def test_equal_folders_give_equal_bytes(tmp_path, source):
    assert report(tmp_path / "again", make_summary()) == source
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["imagination.json", "report.html"]


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^expected figures of an imagination study at .*imagination\.json"):
        write_report(tmp_path)


@pytest.mark.parametrize("content", ["", "[1]", '{"cells": '])
def test_what_is_damaged_is_named(tmp_path, content):
    (tmp_path / "imagination.json").write_text(content)
    with pytest.raises(ValueError, match=r"^.*imagination\.json .+$"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_the_terminal_tells_losses_agents_claims_and_failures(summary):
    told = printed(summary)
    assert re.search(r"goto +│ signal +│ 0\.1338 │ +0\.12\d\d\s\[", told)
    assert re.search(r"match │ imagine +│ 0\.\d\d\s\[.*│ 0\.062 │ +44 │", told)
    for text in ("does not hold: The product form loses what it must", "failed: model-goto-late-4: ValueError"):
        assert text in told


def test_the_terminal_tells_hostile_names_as_they_are():
    told = printed({"failed": {"[bold]x": "[/nonsense]"}, "claims": [{"claim": "[red]y", "verdict": "holds"}]})
    assert "failed: [bold]x: [/nonsense]" in told and "holds: [red]y" in told


def test_markdown_holds_each_figure(summary):
    text = to_markdown(summary)
    for cell in summary["cells"]:
        for part, name in read.NAMES.items():
            lost = cell["parts"][part]["lost"]["value"]
            row = next(line for line in text.splitlines() if line.startswith(f"| {cell['name']} | {name} |"))
            assert f"| {lost:.4f}".replace("-", "\u2212").replace("\u22120.0000", "0.0000") in row
    for world in summary["agents"]:
        for name, one in world["learners"].items():
            assert f"| {name} | {one['score']['value']:.2f}\u00a0[" in text
    for part in (
        "**does not hold**: The product form",
        "85.4 minutes",
        "a processor",
        "`model-goto-late-4`: ValueError",
    ):
        assert part in text


def test_markdown_leaves_out_what_there_is_not():
    headings = re.findall("^## (.*)$", to_markdown({}), re.MULTILINE)
    assert headings == ["How to read this", "Made by"]
