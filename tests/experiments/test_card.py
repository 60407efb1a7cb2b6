import json
import re

import pytest

from experiments.card import write_card
from tests.experiments.test_report import HOSTILE, Page

SECTIONS = ["numbers", "split", "steps", "ladder", "null", "starved", "calibration", "dial", "claims", "measured"]


def feedback(connected, information):
    whole = {"nonseparability": sum(connected), "connected": connected, "information": information}
    return {**whole, "one_modality": 0.2, "entropy": 0.45, "certificate": 1e-16}


def step(connected=(0.1733,), information=0.2387, alive=1.0):
    return {"alive": alive, "feedback": feedback(list(connected), information), "signal": {}, "output": {}}


EXACT = {
    "parameters": {"coupling": 0.5, "num_colours": 2},
    "states": 1152,
    "small": False,
    "steps": [step()],
    "dial": [[0.0, 0.0, 0.0], [0.5, 0.1733, 0.0625], [1.0, 0.6931, 0.25]],
}
LADDER = {
    **{"modalities": ["text", "image"], "blind": 0.5, "single": [0.62, 0.63], "late": 0.6875, "late_bound": 0.6875},
    **{"joint": 0.75, "decision": "the only step of an episode", "gap": 0.0625, "certified": True},
}
ESTIMATE = {
    **{"method": "net", "nonseparability": 0.1702, "standard_error": 0.004, "interval": [0.1624, 0.178]},
    **{"p_value": 0.01, "detected": True, "information": 0.2311, "share": 0.7362, "statistic": 0.1655},
    **{"n": 40000, "episodes": 39000, "folds": 5, "net_seeds": 3, "df": None, "policy": "uniform actions"},
    **{"null": [i * 1e-5 for i in range(99)], "ladder": [[16, 0.61, 0.21], [32, 0.59, 0.17], [64, 0.589, 0.17]]},
    **{"calibration": [[0.0, 0.0004], [0.083, 0.0788], [0.29, 0.275]], "warnings": []},
}
STUDY = {
    "env": "match",
    "parameters": {"coupling": 0.5},
    "verdict": "Feedback is non-separable & late fusion loses.",
    "command": "python experiments/run.py study=separability env=match",
    "seconds": 3.2,
    "modalities": ["text", "image"],
    "rho": "uniform actions",
    "conditioning": "the present observation and the action",
    "rows": [
        {"name": "NS_fb", "nats": 0.1733, "share": 0.726, "low": None, "high": None, "meaning": "not a sum of scores"},
        {"name": "H(Y|X)", "nats": None, "share": None, "low": 0.4123, "high": 0.4987, "meaning": "what is left"},
    ],
    "exact": EXACT,
    "ladder": LADDER,
    "estimate": ESTIMATE,
    "claims": {"may": ["Late fusion loses."], "may_not": ["A unified model is needed."]},
    "versions": {"python": "3.12.3"},
    "hardware": {"cpu": "a processor", "cores": 4},
}
LEAN = {"exact": EXACT | {"dial": None}, "ladder": None, "estimate": None}  # hardly a plot, for speed
UNDETECTED = ESTIMATE | {"nonseparability": 0.0007, "p_value": 0.41, "detected": False, "share": None}


def card(folder, **changes):
    folder.mkdir(exist_ok=True)
    (folder / "separability.json").write_text(json.dumps(STUDY | changes))
    return write_card(folder).read_text(encoding="utf-8")


def said(folder, **changes):
    return Page(card(folder, **changes)).said


def sections(source):
    return [attributes["id"] for tag, attributes in Page(source).elements if tag == "section" and "id" in attributes]


def headlines(source):
    texts = re.findall(r"<dd>(.*?)<small>(.*?)</small></dd>", source)
    return [f"{value}: {note}".replace("\u00a0", " ") for value, note in texts]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return card(tmp_path_factory.mktemp("study"), exact=EXACT | {"steps": [step(), step(alive=0.5)]})


def test_the_card_tells_the_study(source):
    told = Page(source).said
    for figure in ("0.1733", "72.6\u00a0%", "[0.4123, 0.4987]", "0.0625", "0.6200", "1,152", "40,000 transitions"):
        assert figure in told
    for text in (STUDY["verdict"], STUDY["command"], "not a sum of scores", "Late fusion loses.", "a processor", "3.2"):
        assert text in told


def test_sections_come_in_their_order(source):
    assert sections(source) == SECTIONS


def test_headlines_of_an_exact_study(tmp_path):
    assert headlines(card(tmp_path)) == [
        "0.1733: nats, exact",
        "72.6 %: of 0.2387 nats",
        "0.0625: joint less late fusion",
        "2: 2 modalities together",
    ]


def test_headlines_of_an_estimate(tmp_path):
    assert headlines(card(tmp_path, exact=None, ladder=None)) == [
        "0.1702: nats [0.1624, 0.1780], estimated, p = 0.01",
        "73.6 %: of 0.2311 nats",
        "n/a: no ladder",
        "net: 40,000 transitions",
    ]


def test_an_estimate_of_the_whole_goes_before_exact_figures_of_a_small_version(tmp_path):
    small = {"small": True}
    source = card(tmp_path, exact=EXACT | small | {"dial_of": EXACT | small}, ladder=LADDER | small)
    assert headlines(source)[0].startswith("0.1702") and headlines(source)[2] == (
        "0.0625: joint less late fusion, small version"
    )
    told = Page(source).said
    assert "Exact figures are of a small version: coupling 0.5, num_colours 2." in told
    assert told.count("Of a small version: coupling 0.5, num_colours 2.") >= 2  # by the ladder, by the dial


def test_a_ladder_of_a_small_version_is_told_so_beside_exact_figures_of_the_whole(tmp_path):
    source = card(tmp_path, ladder=LADDER | {"small": True})
    assert headlines(source)[0] == "0.1733: nats, exact"
    assert headlines(source)[2] == "0.0625: joint less late fusion, small version"


def test_steps_add_up_weighted_by_how_likely_they_are(tmp_path):
    steps = [step((0.2, 0.1), 0.4), step((0.1, 0.3), 0.6, alive=0.5)]
    source = card(tmp_path, **LEAN | {"exact": {"steps": steps}})
    assert headlines(source)[0] == "0.5000: nats an episode, exact"
    assert headlines(source)[3] == "3: 3 modalities together"
    bar = next(a["aria-label"] for _, a in Page(source).elements if a.get("class") == "bar")
    assert [float(nats) for nats in re.findall(r"(\S+) nats", bar)] == [0.2, 0.25, 0.25]
    widths = [float(width) for width in re.findall(r"<i style=\"width:([\d.]+)%", source)]
    assert widths == pytest.approx([28.571, 35.714, 35.714], abs=1e-3)


def test_rounding_is_no_order_of_coupling(tmp_path):
    source = card(tmp_path, **LEAN | {"exact": {"steps": [step((0.2, 3e-17))]}})
    assert headlines(source)[3].startswith("2:")
    source = card(tmp_path, **LEAN | {"exact": {"steps": [step((-3e-17,))]}})
    assert headlines(source)[3] == "none: separable" and "-0.0000" not in source


def test_a_total_of_some_steps_is_no_total(tmp_path):
    source = card(tmp_path, **LEAN | {"exact": {"steps": [step(), step(alive=None)]}})
    assert headlines(source)[0] == "n/a: nats" and not {"split", "steps"} & set(sections(source))


def test_orders_that_only_some_steps_tell_are_not_added(tmp_path):
    steps = [step((0.2, 0.1), 0.4), step((0.3,), 0.4)]
    source = card(tmp_path, **LEAN | {"exact": {"steps": steps}})
    assert headlines(source)[0].startswith("0.6000") and headlines(source)[3] == "n/a: "
    assert "non-separable 0.6000 nats" in source


def test_feedback_that_says_nothing_has_no_shares(tmp_path):
    source = card(tmp_path, **LEAN | {"exact": {"steps": [step((0.0,), 0.0)]}})
    assert headlines(source)[1] == "n/a: of 0.0000 nats"


def test_a_search_that_did_not_end_gives_a_range(tmp_path):
    told = said(tmp_path, **LEAN | {"ladder": LADDER | {"late_bound": 0.71, "certified": False}})
    assert "GAP is at most 0.0625 and at least 0.0400" in told
    assert told.count("0.6875 to 0.7100") == 2  # in both sizes of the plot
    assert "at most 0.0625" in headlines((tmp_path / "card.html").read_text())[2]


def test_rungs_without_a_number_are_told(tmp_path):
    source = card(tmp_path, **LEAN | {"ladder": LADDER | {"single": [None, 0.63], "joint": None, "gap": None}})
    assert "text n/a" in source and "GAP = joint \u2212 late is n/a" in source


def test_what_is_not_detected_is_called_so(tmp_path):
    source = card(tmp_path, **LEAN | {"exact": None, "estimate": UNDETECTED})
    assert headlines(source)[:2] == ["not detected: estimate 0.0007 nats, p = 0.41", "n/a: nothing to share"]
    assert "Not detected: p = 0.41." in Page(source).said and "Detected:" not in Page(source).said


def test_the_tested_statistic_is_marked_on_the_null(tmp_path):
    assert said(tmp_path, **LEAN | {"estimate": ESTIMATE}).count("recorded 0.1655, p = 0.01") == 2
    estimate = {name: value for name, value in ESTIMATE.items() if name != "statistic"}
    assert said(tmp_path, **LEAN | {"estimate": estimate}).count("recorded 0.1702, p = 0.01") == 2


def test_a_p_value_at_its_floor_is_told(tmp_path):
    assert "the least that 99 replicates can show" in said(tmp_path, **LEAN | {"estimate": ESTIMATE})
    assert "the least" not in said(tmp_path, **LEAN | {"estimate": ESTIMATE | {"p_value": 0.02}})


def test_warnings_stand_out_even_without_plots(tmp_path):
    source = card(tmp_path, **LEAN | {"estimate": ESTIMATE | {"ladder": [], "warnings": ["too few", "too narrow"]}})
    assert "2 warnings about the estimate" in Page(source).said and '<a href="#starved">' in source
    assert "<li>too few</li><li>too narrow</li>" in source and 'id="plot_loss"' not in source


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"exact": None}, {"split", "steps", "dial"}),
        ({"exact": EXACT | {"dial": None}}, {"dial", "steps"}),
        ({"ladder": None}, {"ladder", "steps"}),
        ({"estimate": None}, {"null", "starved", "calibration", "steps"}),
        ({"rows": [], "claims": {"may": []}}, {"numbers", "claims", "steps"}),
    ],
)
def test_sections_without_data_are_absent(tmp_path, changes, absent):
    assert set(SECTIONS) - set(sections(card(tmp_path, **changes))) == absent


def blank(value):
    if isinstance(value, dict):
        return {name: blank(entry) for name, entry in value.items()}
    return [blank(entry) for entry in value] if isinstance(value, list) else None


@pytest.mark.parametrize("study", [dict.fromkeys(STUDY), blank(STUDY)], ids=["top", "deep"])
def test_every_value_may_be_null(tmp_path, study):
    source = card(tmp_path, **study)
    assert [headline.partition(":")[0] for headline in headlines(source)] == ["n/a"] * 4
    assert tmp_path.name in Page(source).said and "nan" not in Page(source).said


def test_a_study_without_a_single_name_is_a_card(tmp_path):
    (tmp_path / "separability.json").write_text("{}")
    assert sections(write_card(tmp_path).read_text()) == []


def test_numbers_that_are_none_are_taken_for_missing(tmp_path):
    estimate = ESTIMATE | {"nonseparability": "0.1", "null": [float("nan"), True, "1"], "ladder": [[16], 3, [0, 1, 2]]}
    assert headlines(card(tmp_path, exact=None, estimate=estimate))[0] == "n/a: nats"


def test_nothing_is_fetched(source):
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"'\s<>)]*", source)) == namespaces
    links = [a[k] for _, a in Page(source).elements for k in ("src", "href", "xlink:href", "data", "action") if k in a]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "@import" not in source and set(re.findall(r"url\((.)", source)) <= {"#"} and "<script" not in source


def test_pictures_have_words_and_ids_are_unique(source):
    elements = Page(source).elements
    pictures = [a for tag, a in elements if tag == "svg" or a.get("role") == "img"]
    assert len(pictures) == 12 and all(a.get("aria-label") for a in pictures)
    ids = [a["id"] for tag, a in elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_plots_follow_the_palette_of_the_page(source):
    body = source.partition("</style>")[2]
    assert not set(re.findall(r"#[0-9a-f]{6}\b", body)) and "$" not in body
    used = set(re.findall(r"var\(--(\w+)\)", source))
    assert all(len(re.findall(rf"--{name}:", source)) >= 2 for name in used)  # in light and in dark


def test_hostile_strings_stay_text(tmp_path):
    row = {"name": HOSTILE, "meaning": HOSTILE, "nats": 0.1}
    changes = {
        **dict.fromkeys(("env", "verdict", "command", "rho", "conditioning"), HOSTILE),
        **{"modalities": [HOSTILE], "parameters": {HOSTILE: HOSTILE}, "rows": [row], "versions": {HOSTILE: HOSTILE}},
        "claims": {"may": [HOSTILE], "may_not": [HOSTILE]},
        "ladder": LADDER | {"modalities": [HOSTILE, "image"], "decision": HOSTILE},
        "estimate": ESTIMATE | {"method": HOSTILE, "warnings": [HOSTILE], "policy": HOSTILE},
        "exact": EXACT | {"small": True, "parameters": {HOSTILE: HOSTILE}},
    }
    page = Page(card(tmp_path, **changes))
    assert "script" not in [tag for tag, _ in page.elements]
    assert page.said.count(HOSTILE) >= 20


def test_a_long_name_leaves_room_for_the_plot(tmp_path):
    source = card(tmp_path, **LEAN | {"ladder": LADDER | {"modalities": ["a" * 200, "image"]}})
    assert ">aaaaaaaaaaaaa\u2026</text>" in source


def test_equal_folders_give_equal_bytes(tmp_path):
    assert card(tmp_path / "a") == card(tmp_path / "b") == card(tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["card.html", "separability.json"]


def test_what_is_missing_is_named(tmp_path):
    for folder, name in ((tmp_path / "none", tmp_path / "none"), (tmp_path, tmp_path / "separability.json")):
        with pytest.raises(FileNotFoundError, match=rf"^expected .* at {re.escape(str(name))}, but there is nothing$"):
            write_card(folder)


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"exact": ', '{"exact": 3}', '{"claims": ["a"]}', b"\xff\xfe"])
def test_what_is_damaged_is_named(tmp_path, content):
    path = tmp_path / "separability.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} .+$"):
        write_card(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["separability.json"]
