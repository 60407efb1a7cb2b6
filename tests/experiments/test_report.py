import base64
import io
import json
import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from PIL import Image

from experiments.report import write_report

HOSTILE = '</script><script>alert("1")</script><!-- & $env ${x} \u2028 \N{SNOWMAN}'
SCORES = {"success": 0.9812, "success_low": 0.9705, "success_high": 0.9878, "J": 0.9311, "J_low": 0.92, "J_high": 0.94}
RANDOM = {"success": 0.5013, "success_low": 0.47, "success_high": 0.532, "J": 0.4872, "J_low": 0.461, "J_high": 0.513}
ORACLE = {"success": 0.9994, "success_low": 0.996, "success_high": 1.0, "J": 0.9735, "J_low": 0.969, "J_high": 0.978}
CONFIG = {"study": "train", "env": {"id": "match", "coupling": 1.0}, "ppo": {"worlds": 256, "lr": 3e-4}, "seed": 0}
SUMMARY = {
    "env": "match",
    **SCORES,
    "gamma": 0.95,
    "episodes": 1000,
    "steps": 122880,
    "seconds": 9.4,
    "steps_per_second": 19034.2,
    "parameters": 83411,
    "anchors": {"random": RANDOM, "oracle": ORACLE},
    "nonseparability": 0.693147,
    "versions": {"python": "3.12.3"},
    "hardware": {"cpu": "a processor", "cores": 4},
    "command": "python experiments/run.py env=match",
}


def update(index, **changes):
    share = 1 - 0.5 ** (index / 10)
    diagnostics = {"entropy": 1 - share, "kl": 0.01, "value_loss": 0.1, "explained_variance": -9.0 + 10 * share}
    means = {"success": share, "return": share, "length": 9 - share} if index else dict.fromkeys(("success", "return"))
    clock = {"steps": 4096 * (index + 1), "seconds": 0.3 * (index + 1), "steps_per_second": 13653.0}
    return {**clock, "episodes": 256 * bool(index), **means, **diagnostics, **changes}


def episodes(count=12, text="is this a red circle ?", **changes):
    rng = np.random.default_rng(0)
    return {
        "frames": rng.integers(0, 4, (count, 64, 64, 3), np.uint8) * 60,
        "text": np.array([text] * count),
        "action": np.where(np.arange(count) % 4 == 3, -1, 1),
        "said": np.array(["yes", "yes", "yes", ""] * count)[:count],
        "reward": np.arange(count) / 3,
        "episode": np.arange(count) // 4,
        "success": np.arange(count) < 4,
        "probabilities": np.full((count, 2), 0.5),
        "action_names": np.array(["no", "yes"]),
        **changes,
    }


def dreams(text="go to the ring", imagined="go to the ring", **changes):
    """Two episodes of 2 and 13 steps, of which 12 are shown; every other step is imagined wrongly."""
    rng, step = np.random.default_rng(0), np.concatenate([np.arange(3), np.arange(13)])
    return {
        "episode": np.repeat([0, 1], [3, 13]),
        "length": np.repeat([2, 13], [3, 13]),
        "frames": rng.integers(0, 4, (16, 24, 16, 3), np.uint8) * 60,
        "text": np.array([text] * 16),
        "said": np.array(["left", "right", "", *["up"] * 12, ""]),
        "reward": np.where(step == 1, 1.0, 0.0),
        "ended": np.arange(16) == 1,
        "imagined_frames": rng.integers(0, 4, (16, 24, 16, 3), np.uint8) * 60,
        "imagined_text": np.where(step % 2, imagined, text),
        "pixels": np.where(step % 2, 0.625, 1.0),
        "pixels_still": np.full(16, 0.5),
        "words": np.ones(16),
        "words_still": np.ones(16),
        "chance_reward": np.full(16, 0.0625),
        "chance_end": np.full(16, 0.125),
        **changes,
    }


def make_run(folder, config=CONFIG, updates=30, summary=SUMMARY, shown=True, dreamt=None):
    """A run folder; `updates` is their number or the text of metrics.jsonl."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    lines = updates if isinstance(updates, str) else "".join(json.dumps(update(i)) + "\n" for i in range(updates))
    (folder / "metrics.jsonl").write_text(lines)
    if summary:
        (folder / "summary.json").write_text(json.dumps(summary))
    if shown:
        np.savez(folder / "episodes.npz", **(episodes() if shown is True else shown))
    if dreamt:
        np.savez(folder / "dreams.npz", **dreamt)
    return folder


def report(folder, **run):
    return write_report(make_run(folder, **run)).read_text(encoding="utf-8")


class Page(HTMLParser):
    """Elements as (tag, attributes), what the page says outside of scripts and styles, and the player's data."""

    def __init__(self, source):
        super().__init__()
        self.elements, self.said, self.data, self.inside = [], "", None, None
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside = dict(attributes).get("id", tag) if tag in ("script", "style") else None

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside is None:
            self.said += data
        elif self.inside == "episodes":
            self.data = json.loads(data)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return report(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return report(tmp_path_factory.mktemp("full"), dreamt=dreams(words=np.full(16, 0.75)))


def test_the_page_tells_the_run(source):
    said = Page(source).said
    for figure in ("0.981 [0.971,\u00a00.988]", "0.931 [0.920,\u00a00.940]", "122,880", "83,411", "19,034", "0.6931"):
        assert figure in said
    assert SUMMARY["command"] in said and "a processor" in said and "0.0003" in said


def test_anchors_are_drawn_and_tabled(source, tmp_path):
    said = Page(source).said
    assert "random 0.501; oracle 0.999." in said
    assert "0.501 [0.470,\u00a00.532]" in said and "0.974 [0.969,\u00a00.978]" in said
    assert said.count("random 0.501") == 3  # in the verdict and in both sizes of the plot
    del (summary := json.loads(json.dumps(SUMMARY)))["anchors"]["oracle"]
    assert "oracle" not in Page(report(tmp_path, summary=summary)).said


def test_what_was_imagined_stands_beside_what_happened(tmp_path):
    page = Page(report(tmp_path, dreamt=(columns := dreams())))
    pictures = {a["alt"]: a["src"] for tag, a in page.elements if tag == "img"}
    assert set(pictures) == {f"{what}, step {t}" for what in ("happened", "imagined") for t in range(13)}
    for what, frames in (("happened", "frames"), ("imagined", "imagined_frames")):
        png = base64.b64decode(pictures[f"{what}, step 12"].partition(",")[2])
        assert (np.asarray(Image.open(io.BytesIO(png))) == columns[frames][15]).all()
    for told in (
        "Imagined and real",
        "Episode 1: 2 steps",
        "Episode 2: the first 12 of 13 steps",
        "62%",
        "6.2%",
        "12.5%",
    ):
        assert told in page.said
    assert "actionleftright" in page.said and "pixels right100%62%100%" in page.said
    assert "words right" not in page.said  # where all of them are right at all steps


def test_without_dreams_there_is_no_section_of_them(source):
    assert "Imagined and real" not in Page(source).said
    assert not any(tag == "img" or a.get("id") == "dreams" for tag, a in Page(source).elements)


def test_words_imagined_wrongly_are_marked(tmp_path):
    dreamt = dreams("go to the red ring", "go to a red", words=np.full(16, 0.75))
    source = report(tmp_path, dreamt=dreamt)
    assert "go to <mark>a</mark> red <mark>_</mark>" in source
    assert Page(source).said.count("imagined") > 3 and "words right75%" in Page(source).said
    assert "step 0read and imaginedgo to the red ring" in Page(source).said


@pytest.mark.parametrize(
    "changes", [{"text": HOSTILE, "imagined": HOSTILE + " <b>"}, {"said": np.array([HOSTILE] * 16)}]
)
def test_hostile_dreams_stay_text(tmp_path, changes):
    harmless, hostile = (Page(report(tmp_path, dreamt=dreams(**these))) for these in ({}, changes))
    tags = {"script", "b", "style"}
    assert [tag for tag, _ in hostile.elements if tag in tags] == [tag for tag, _ in harmless.elements if tag in tags]
    assert '</script><script>alert("1")</script><!-- & $env ${x}' in hostile.said


def test_nothing_is_fetched(full):
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"'\s<>)]*", full)) == namespaces
    links = [a[k] for _, a in Page(full).elements for k in ("src", "href", "xlink:href", "data", "action") if k in a]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "@import" not in full and set(re.findall(r"url\((.)", full)) <= {"#"}


def test_pictures_have_words_and_ids_are_unique(full):
    elements = Page(full).elements
    assert all(a.get("aria-label") for tag, a in elements if tag in ("svg", "canvas", "input"))
    assert all(a.get("alt") for tag, a in elements if tag == "img")
    ids = [a["id"] for tag, a in elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_hostile_strings_stay_text(source, tmp_path):
    shown = episodes(text=HOSTILE, said=np.array([HOSTILE] * 12), action_names=np.array([HOSTILE, "yes"]))
    summary = SUMMARY | {"env": HOSTILE, "command": HOSTILE, "versions": {HOSTILE: HOSTILE}}
    config = CONFIG | {HOSTILE: HOSTILE, "section": {HOSTILE: [HOSTILE]}, "nest": {"a": {HOSTILE: None}}}
    harmless, hostile = Page(source), Page(report(tmp_path, config=config, summary=summary, shown=shown))
    scripts, hostile_scripts = ([tag for tag, _ in page.elements].count("script") for page in (harmless, hostile))
    assert hostile_scripts == scripts
    assert hostile.data["text"][0] == hostile.data["names"][0] == hostile.data["said"][0] == HOSTILE
    assert hostile.said.count(HOSTILE) >= 6


def test_a_run_without_an_end(tmp_path):
    said = (page := Page(report(tmp_path, summary=None, shown=False))).said
    assert "In progress or interrupted: success 0.866 in training after 122,880 steps" in said
    assert page.data is None and page.elements.count(("section", {"hidden": None})) == 1


@pytest.mark.parametrize("updates", ["", '{"steps": 40', json.dumps(update(0)), json.dumps(update(1))])
def test_a_run_that_has_hardly_begun(tmp_path, updates):
    assert "In progress or interrupted" in Page(report(tmp_path, updates=updates, summary=None, shown=False)).said


def test_a_line_cut_short_is_ignored(tmp_path):
    whole = "".join(json.dumps(update(i)) + "\n" for i in range(8))
    torn = whole + json.dumps(update(8))[:40]
    assert report(tmp_path / "torn", updates=torn) == report(tmp_path / "whole", updates=whole)


def test_equal_folders_give_equal_bytes(tmp_path):
    first, second = (write_report(make_run(tmp_path / name, dreamt=dreams())).read_bytes() for name in ("a", "b"))
    assert first == second
    assert write_report(tmp_path / "a").read_bytes() == first
    assert sorted(p.suffix for p in (tmp_path / "a").iterdir()) == [".html", ".json", ".jsonl", *[".npz"] * 2, ".yaml"]


def test_a_long_run_stays_light(tmp_path):
    noise = np.random.default_rng(0).random(20_000)
    lines = (json.dumps(update(i, success=x, kl=x)) for i, x in enumerate(noise.tolist()))
    make_run(tmp_path, updates="\n".join(lines), shown=episodes(200))
    start = time.process_time()
    report = write_report(tmp_path)
    assert time.process_time() - start < 5
    assert report.stat().st_size < 2e6


def test_frames_come_back_from_the_sheet(source):
    data = Page(source).data
    (width, height, across), frames = data["size"], episodes()["frames"]
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["sheet"].partition(",")[2]))))
    for i, frame in enumerate(frames):
        row, column = divmod(i, across)
        assert (sheet[row * height :, column * width :][:height, :width] == frame).all()


def test_the_player_gets_null_for_what_is_no_number(tmp_path):
    shown = episodes(reward=np.full(12, np.nan), probabilities=np.full((12, 2), [np.nan, 1 / 3]))
    del shown["action_names"]
    data = Page(report(tmp_path, shown=shown)).data
    assert data["reward"] == [None] * 12 and data["probabilities"][0] == [None, 0.3333] and data["names"] is None


@pytest.mark.parametrize("name", ["", "config.yaml", "metrics.jsonl"])
def test_what_is_missing_is_named(tmp_path, name):
    folder = make_run(tmp_path / "run")
    (folder / name).rename(tmp_path / "away")
    with pytest.raises(FileNotFoundError, match=rf"^expected .* at {re.escape(str(folder / name))}, but there is noth"):
        write_report(folder)


@pytest.mark.parametrize("name", ["config.yaml", "summary.json", "episodes.npz", "dreams.npz"])
@pytest.mark.parametrize("content", ["", "[1, 2]", "{a: [\n"])
def test_what_is_damaged_is_named(tmp_path, name, content):
    (make_run(tmp_path) / name).write_text(content)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(tmp_path / name))} .+$"):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()
