import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import gymnasium as gym
import pytest
from gymnasium import spaces

from experiments import run
from tests.experiments.games import JSON, WORLDS, best, served, started
from tests.experiments.test_run import Lamp, mistake
from unienv.actions import Actions
from unienv.sprites import COLOURS
from unienv.worlds.rules import Rules

ROOT = Path(__file__).parents[2]


@contextmanager
def command(folder, *arguments):
    """The running command and the address that it printed."""
    words = [sys.executable, str(ROOT / "experiments" / "run.py"), "study=play", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    pipes["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # which a shell's background jobs ignore
    with subprocess.Popen(words, cwd=folder, **pipes) as process:
        try:
            line = process.stderr.readline()
            yield process, re.search(r"http://127\.0\.0\.1:\d+", line)[0]
        finally:
            process.kill()


def test_the_command_serves_until_ctrl_c_and_leaves_nothing_behind(tmp_path):
    with command(tmp_path, "env=goto", "env.size=4", "json=true") as (process, url):
        assert "<h1>goto</h1>" in urllib.request.urlopen(url).read().decode()
        port = int(url.rpartition(":")[2])
        for action in ({"action": [0]},) * 32:
            request = urllib.request.Request(f"{url}/step", json.dumps(action).encode(), JSON)
            state = json.load(urllib.request.urlopen(request))
        assert state["over"]["truncated"]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0 and "Traceback" not in err
        assert "text and image: 0 of 1 episodes succeeded" in err
        tally = [{"seen": "text and image", "episodes": 1, "successes": 0}]
        assert json.loads(out) == {"env": "goto", "tally": tally}
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_a_port_that_is_taken_is_one_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run.main(["study=play", f"port={port}"]) == 1
    out, err = capsys.readouterr()
    assert (
        out == ""
        and err == f"error: can't listen on port {port}: Address already in use; port=0 takes any that is free\n"
    )


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["env=mach"], "did you mean 'match'"),
        (["prt=1"], "there is no setting 'prt'; did you mean 'port'?"),
        (["port=x"], "port: "),
        (["env.size=2", "env=goto"], "goto needs a size from 3"),
        (["env=TestSteered-v0"], "actions must be Discrete, MultiDiscrete of one axis or a Dict of these, got Box"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, said):
    class Steered(Lamp):
        action_space = spaces.Box(-1.0, 1.0, (2,))

        def step(self, action):
            return self._observe(), 0.0, True, False, {}

    gym.registry.pop("TestSteered-v0", None)
    gym.register("TestSteered-v0", Steered)
    assert said in mistake(capsys, "study=play", *arguments)


def test_a_port_that_is_none_is_one_line(capsys):
    assert run.main(["study=play", "port=65536"]) == 2
    assert capsys.readouterr().err == "error: port: expected a number from 0 to 65535, got 65536\n"


# The page in a browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("there is no chromium or chrome on this machine")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the test extra")
    folder = tmp_path_factory.mktemp("browser")
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(folder, executable_path=CHROMIUM, args=FLAGS)
        context.set_default_timeout(10_000)
        yield context
        context.close()


@contextmanager
def opened(browser, game):
    """The page of a game; nothing may go wrong on it."""
    complaints = []
    with served(game) as server:
        tab = browser.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(server.url)
        tab.wait_for_selector("#text:not(:empty)")
        try:
            yield tab
        finally:
            tab.close()
    assert not complaints


def picture(tab):
    return tab.locator("canvas").evaluate("canvas => canvas.toDataURL()")


def until(tab, condition):
    """Wait for what a page does when it gets to it; a condition in the page's own language would need its eval."""
    for _ in range(500):
        if condition():
            return
        tab.wait_for_timeout(20)
    raise AssertionError("waited in vain")


def until_steps(tab, count):
    until(tab, lambda: tab.locator("#steps tr").count() == count)


def test_keys_play_an_episode_and_begin_the_next(browser):
    game = started("goto", size=4)
    names = {"up": "ArrowUp", "down": "ArrowDown", "left": "ArrowLeft", "right": "ArrowRight"}
    with opened(browser, game) as tab:
        first = picture(tab), tab.inner_text("#text")
        steps = 0
        while not game.state()["over"]:
            before = picture(tab)
            tab.keyboard.press(names[game.env.unwrapped.world.action_names[best(game.env)[0]]])
            steps += 1
            until_steps(tab, steps)
            assert picture(tab) != before and "signal" in tab.inner_text("#outcome")
        assert f"✓ success at step {steps}, return 1" in tab.inner_text("#outcome")
        assert "success yes" in tab.inner_text("#steps")
        assert tab.inner_text("#tally").split("\t") == ["text and image", "1", "1", "100 %"]
        assert tab.locator("#act button:enabled").count() == 0 and tab.inner_text("#next") == "Next episode"
        tab.wait_for_timeout(400)
        tab.keyboard.press("x")
        until_steps(tab, 0)
        assert tab.inner_text("#outcome") == "Nothing yet."
        assert (picture(tab), tab.inner_text("#text")) != first
        tab.keyboard.press("0")  # waits
        until_steps(tab, 1)


def test_buttons_play_and_leave_the_keys_free(browser):
    with opened(browser, started("goto")) as tab:
        tab.click("text=up")
        until_steps(tab, 1)
        tab.click("label:has-text('text')")
        tab.wait_for_selector("#text.hidden")
        tab.keyboard.press(" ")
        until_steps(tab, 2)
        assert [row.split("\t")[1] for row in tab.inner_text("#steps").splitlines()] == ["wait", "up"]
        assert tab.inner_text("#text") == "hidden"
        tab.click("#next")
        until_steps(tab, 0)


def test_a_hidden_modality_is_hidden(browser):
    with opened(browser, started("match")) as tab:
        shown, text = picture(tab), tab.inner_text("#text")
        tab.uncheck("[value=image]")
        tab.wait_for_selector(".frame.hidden")
        assert picture(tab) != shown and not tab.locator("canvas").is_visible()
        assert tab.inner_text("figcaption") == "image, hidden" and tab.inner_text("#text") == text
        tab.uncheck("[value=text]")
        tab.wait_for_selector("#text.hidden")
        assert text not in tab.inner_text("body")
        tab.reload()
        tab.wait_for_selector("#text.hidden")
        assert tab.locator("#shown :checked").count() == 0
        tab.check("[value=image]")
        tab.wait_for_selector(".frame:not(.hidden)")
        assert picture(tab) == shown


def test_pointing_and_saying(browser):
    game = started("describe")
    said = {"text": [], "image": []}
    for group, choice in zip(Actions(game.env.action_space).owners, best(game.env), strict=True):
        said[group].append(choice)
    (cell,), (rows, across) = said["image"], next(group["grid"] for group in game.groups if group["grid"])
    with opened(browser, game) as tab:
        box = tab.locator("canvas").bounding_box()
        right, down = box["width"] * (cell % across + 0.9) / across, box["height"] * (cell // across + 0.1) / rows
        tab.mouse.click(box["x"] + right, box["y"] + down)
        assert tab.input_value("[type=number]") == str(cell) and tab.locator(".frame i").is_visible()
        for place, word in enumerate(said["text"]):
            tab.locator("#act select").nth(place).select_option(str(word))
        tab.click("text=Act")
        tab.wait_for_selector("#outcome .success")
        tab.click("#next")
        until_steps(tab, 0)
        assert tab.input_value("[type=number]") == "" and not tab.locator(".frame i").is_visible()


def test_choices_that_are_colours(browser, monkeypatch):
    names = list(COLOURS)
    monkeypatch.setattr(Rules, "name_action", lambda self, action: " ".join(names[i] for i in action))
    game = started("rules")
    with opened(browser, game) as tab:
        cells = tab.locator("#act select")
        for place, colour in enumerate(best(game.env)):
            cells.nth(place).select_option(names[colour])
            shown = cells.nth(place).evaluate("cell => getComputedStyle(cell).borderLeftColor")
            assert shown == "rgb({}, {}, {})".format(*COLOURS[names[colour]])
        tab.click("text=Act")
        tab.wait_for_selector("#outcome .success")


def test_a_video_moves(browser):
    with opened(browser, started("chase", frames=4)) as tab:
        seen, look = (
            {},
            "[document.querySelector('figcaption').textContent, document.querySelector('canvas').toDataURL()]",
        )
        until(tab, lambda: seen.update([tab.evaluate(look)]) or len(seen) == 4)
        assert sorted(seen) == [f"video, frame {frame} of 4" for frame in (1, 2, 3, 4)]
        assert len(set(seen.values())) == 4


@pytest.mark.parametrize("name", WORLDS)
def test_a_narrow_page_fits(browser, name):
    with opened(browser, started(name)) as tab:
        tab.set_viewport_size({"width": 360, "height": 640})
        until(tab, lambda: tab.evaluate("document.documentElement.scrollWidth") == 360)


def test_a_server_that_was_stopped_is_told(browser):
    with served(started("match")) as server:
        tab = browser.new_page()
        tab.goto(server.url)
        tab.wait_for_selector("#text:not(:empty)")
        tab.route("**/step", lambda route: route.abort())
        tab.keyboard.press("1")
        tab.wait_for_selector("#error:not(:empty)")
        assert "was stopped" in tab.inner_text("#error")
        tab.close()
