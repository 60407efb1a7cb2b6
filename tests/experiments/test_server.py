import http.client
import json

import pytest

from experiments.server import LONGEST
from tests.experiments.games import JSON, best, served, started
from tests.experiments.test_run import LAMP
from unienv.adapt import make_env


@pytest.fixture
def match():
    with served(started("match")) as server:
        yield server


def ask(server, method, path, request=None, **headers):
    """Status and answer, a JSON object of one line unless it is the page."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    body = json.dumps(request) if isinstance(request, dict) else request
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, (JSON if body is not None else {}) | given)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    if answer.headers.get_content_type() == "text/html":
        return answer.status, text
    assert text.count("\n") == 1 and "Traceback" not in text
    return answer.status, json.loads(text)


def test_an_episode_over_http(match):
    env = make_env("match")
    env.reset(seed=0)
    assert ask(match, "GET", "/")[0] == 200
    state = ask(match, "GET", "/state")[1]
    assert (state["step"], state["over"], state["tally"]) == (0, None, [])
    status, state = ask(match, "POST", "/step", {"action": best(env)})
    assert status == 200 and state["over"]["success"] and state["steps"][0]["signal"] == 1.0
    assert state == ask(match, "GET", "/state")[1]
    assert ask(match, "POST", "/step", {"action": [0]}) == (400, {"error": "the episode is over; begin the next one"})
    assert ask(match, "POST", "/reset", {})[1]["step"] == 0


def test_the_page_tells_names_as_text(match):
    _, text = ask(match, "GET", "/")
    assert "<h1>a &lt;game&gt;</h1>" in text and "Why non-separable" in text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost:1", ""])
@pytest.mark.parametrize(
    "method, path, request_", [("GET", "/", None), ("GET", "/state", None), ("POST", "/reset", {})]
)
def test_a_foreign_host_is_refused(match, host, method, path, request_):
    status, answer = ask(match, method, path, request_, Host=host.format(port=match.server_port))
    assert status == 403 and "Host" in answer["error"]


def test_this_machine_by_either_name(match):
    for name in ("127.0.0.1", "localhost"):
        host = f"{name}:{match.server_port}"
        assert ask(match, "POST", "/reset", {}, Host=host, Origin=f"http://{host}")[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1", "https://127.0.0.1:{port}"])
def test_another_pages_request_is_refused(match, origin):
    status, answer = ask(match, "POST", "/reset", {}, Origin=origin.format(port=match.server_port))
    assert status == 403 and "Origin" in answer["error"]


def test_only_this_machine_is_listened_to(match):
    assert match.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "method, path, body, headers, status",
    [
        ("POST", "/step", "{", {}, 400),
        ("POST", "/step", "[]", {}, 400),
        ("POST", "/step", "[" * 60_000, {}, 400),
        ("POST", "/step", "\udcff".encode("utf-8", "surrogateescape"), {}, 400),
        ("POST", "/reset", "{}", {"Content_Type": "text/plain"}, 415),
        ("POST", "/reset", "{}", {"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ("POST", "/reset", None, {"Content_Type": "application/json", "Content_Length": "x"}, 411),
        ("POST", "/reset", None, {"Content_Type": "application/json", "Content_Length": "-1"}, 411),
        ("POST", "/reset", None, {"Content_Type": "application/json", "Content_Length": str(LONGEST + 1)}, 413),
        ("POST", "/reset", None, {"Content_Type": "application/json", "Content_Length": "9" * 5000}, 400),
        ("POST", "/", "{}", {}, 404),
        ("POST", "/../run.py", "{}", {}, 404),
        ("GET", "/step", None, {}, 404),
        ("GET", "/../run.py", None, {}, 404),
        ("GET", "/etc/passwd", None, {}, 404),
        ("PUT", "/reset", "{}", {}, 501),
        ("OPTIONS", "/reset", None, {}, 501),
    ],
)
def test_a_request_that_is_none_is_answered_in_one_line(match, method, path, body, headers, status):
    answered, answer = ask(match, method, path, body, **headers)
    assert (answered, list(answer)) == (status, ["error"])


@pytest.mark.parametrize(
    "action", [None, 1, "1", [], [2], [-1], [0, 0], [0.0], [True], ["1"], [None], [10**30], {"0": 1}, [[0]]]
)
def test_a_bad_action_is_refused_and_changes_nothing(match, action):
    before = ask(match, "GET", "/state")
    status, answer = ask(match, "POST", "/step", {"action": action})
    assert status == 400 and answer["error"].startswith("expected as 'action' a list of whole numbers from 0 and below")
    assert ask(match, "GET", "/state") == before


@pytest.mark.parametrize("shown", [None, "text", ["video"], [[]], [1]])
def test_only_modalities_can_be_shown(match, shown):
    status, answer = ask(match, "POST", "/show", {"shown": shown})
    assert (status, answer["error"]) == (400, "expected as 'shown' a list of some of text, image")


@pytest.mark.parametrize(
    "error, status, said", [(ValueError("no\n way"), 400, "no way"), (KeyError("x"), 500, "KeyError")]
)
def test_what_the_environment_says_is_told_in_one_line(error, status, said):
    game = started(LAMP.partition("=")[2])

    def fail(action):
        raise error

    game.env.step = fail
    with served(game) as server:
        answered, answer = ask(server, "POST", "/step", {"action": [0]})
        assert answered == status and said in answer["error"]
        assert ask(server, "POST", "/reset", {})[0] == 200
