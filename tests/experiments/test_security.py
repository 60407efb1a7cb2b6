"""What is foreign stays data: no code is run for it, and nobody else is listened to."""

import ast
import http.client
import json
import os
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from experiments import run
from experiments.game import Game, page
from tests.agents.test_distributed import LOOPBACK, children, listening, needs_proc
from tests.experiments.games import JSON, served, started
from tests.experiments.test_play import command
from tests.experiments.test_run import Lamp
from unienv.adapt import make_env

ROOT = Path(__file__).parents[2]
PACKAGES = ("unienv", "encoders", "agents", "experiments", "examples")

# What turns bytes or text into code

MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "code", "pty"}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp"}
CALLS |= {"torch.load", "torch.hub.load", "torch.jit.load", "pd.read_pickle", "importlib.import_module"}
CALLS |= {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "OmegaConf.register_new_resolver"}
TOLD = {  # where one of them stands, and why it may
    ("experiments/values.py", "yaml.load"): "a SafeLoader that takes no aliases either",
    ("experiments/run.py", "importlib.import_module"): "studies of a table",
    ("experiments/benchmark/plan.py", "importlib.import_module"): "parts of a table",
    ("experiments/benchmark/learner.py", "importlib.import_module"): "peers of a table",
    ("experiments/benchmark/peers/rllib.py", "importlib.import_module"): "three names",
    ("unienv/registry.py", "importlib.import_module"): "what the user names; see the tests of resume= below",
}


def name_of(node):
    """A dotted name, as it stands in the source."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def dangers(source):
    """What a module's source does that could run foreign code."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = getattr(node, "module", None)
            names = [module] if module else [alias.name for alias in node.names]
            whole = [f"{module}.{alias.name}" for alias in node.names] if module else []
            found += [name for name in names if name.partition(".")[0] in MODULES]
            found += [name for name in whole if name in CALLS]
        if not isinstance(node, ast.Call):
            continue
        name, given = name_of(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        found += [name] * (name in CALLS)
        found += ["np.load with pickles"] * (name in ("np.load", "numpy.load") and given.get("allow_pickle") != "False")
        found += ["a shell"] * (given.get("shell", "False") != "False")
        found += ["remote code"] * (given.get("trust_remote_code", "False") != "False")
        found += ["weights from the network"] * (given.get("pretrained", "False") != "False")
    return found


@pytest.mark.parametrize(
    "source, danger",
    [
        ("import pickle", "pickle"),
        ("from pickle import loads", "pickle"),
        ("from torch import load", "torch.load"),
        ("import torch\ntorch.load(path)", "torch.load"),
        ("np.load(path)", "np.load with pickles"),
        ("np.load(path, allow_pickle=True)", "np.load with pickles"),
        ("eval('1')", "eval"),
        ("yaml.load(text, Loader)", "yaml.load"),
        ("subprocess.run(line, shell=True)", "a shell"),
        ("subprocess.run(line, shell=anything)", "a shell"),
        ("timm.create_model(name, pretrained=True)", "weights from the network"),
    ],
)
def test_dangers_are_found(source, danger):
    assert danger in dangers(source)
    assert not dangers("np.load(path, allow_pickle=False)\nmodel.eval()\nre.compile('a')\nyaml.safe_load(text)")


def test_no_source_runs_what_it_reads():
    files = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 100
    found = {(str(file.relative_to(ROOT)), danger) for file in files for danger in dangers(file.read_text("utf-8"))}
    assert found == set(TOLD)


# Who is listened to


@needs_proc
def test_the_play_page_listens_to_this_machine_alone(tmp_path):
    with command(tmp_path, "env=match") as (process, _):
        heard = listening([process.pid, *children(process.pid)])
    assert heard and heard <= LOOPBACK


@pytest.mark.parametrize("site, told", [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)])
@pytest.mark.parametrize("method, path", [("GET", "/state"), ("POST", "/reset")])
def test_a_browser_says_where_a_request_comes_from(site, told, method, path):
    with served(started("match")) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        connection.request(method, path, "{}" if method == "POST" else None, {"Sec-Fetch-Site": site} | JSON)
        answer = connection.getresponse()
        assert answer.status == told and ("Sec-Fetch-Site" in json.loads(answer.read()).get("error", "")) == (
            told == 403
        )
        connection.close()


def test_a_second_origin_does_not_hide_behind_the_first():
    with served(started("match")) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        connection.putrequest("POST", "/reset")
        for name, value in ("Origin", server.url), ("Origin", "http://evil.example"), ("Content-Length", "2"):
            connection.putheader(name, value)
        connection.putheader("Content-Type", "application/json")
        connection.endheaders(b"{}")
        assert connection.getresponse().status == 403
        connection.close()


def test_an_environment_can_not_write_script_into_the_play_page():
    class Named(Lamp):
        """</script><script>alert(1)</script>"""

    Named.__name__ = hostile = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    gym.registry.pop("TestNamed-v0", None)
    gym.register("TestNamed-v0", Named)
    game = Game(make_env("TestNamed-v0"), 0)
    game.groups[0]["labels"] = [hostile, hostile]
    game.reset({})
    harmless, source = page("match", started("match")), page(hostile, game)
    assert source.count("<script") == harmless.count("<script") and "<img" not in source


# Data sets are read as arrays


@pytest.mark.parametrize("study", ["training", "separability"])
def test_a_data_set_is_never_unpickled(tmp_path, capsys, study):
    class Sprung:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    rows = {"image": np.zeros((4, 8, 8, 3), np.uint8), "label": np.array([0, 1, 0, 1])}
    np.savez(tmp_path / "data.npz", text=np.array([Sprung()] * 4, object), **rows)
    told = ["env=dataset", f"env.path={tmp_path / 'data.npz'}", f"runs={tmp_path / 'runs'}", f"study={study}"]
    assert run.main(told) == 2
    assert "can't be read: Object arrays cannot be loaded" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]
