import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

from experiments.config import ConfigError
from experiments.studies import worlds
from unienv.registry import world_ids
from unienv.worlds.match import Match


def listed(*arguments):
    config, folder = worlds.prepare(list(arguments))
    assert folder is None
    console = Console(record=True, width=160, file=io.StringIO())
    told = worlds.run(config, None, console)["worlds"]
    return told, console.export_text()


def test_every_registered_world_is_listed():
    told, text = listed("measure=false")
    assert [world["id"] for world in told] == world_ids()
    assert all(world["about"] and world["id"] in text for world in told)
    assert all(world["observation"] and world["action"] for world in told if not world["needs"])
    json.dumps(told)


def test_a_world_is_measured_with_its_dial():
    (told,), text = listed("env=match")
    assert told["observation"] == {"text": [8], "image": [64, 64, 3]}
    assert told["action"] == "one of 2: no, yes"
    small = {"num_colours": 2, "num_shapes": 2}
    assert told["exact"]["feedback"] == pytest.approx(Match(**small).nonseparability(), abs=1e-9)
    for coupling, value in told["dial"]:
        assert value == pytest.approx(Match(coupling=coupling, **small).nonseparability(), abs=1e-9)
    assert "0.6931 nats a step, 100% of I(X;Y)" in text and "0.1733 at coupling 0.5" in text


def test_what_a_world_needs_is_told():
    (told,), text = listed("env=dataset")
    assert told["needs"] == ["path"] and told["exact"] is None
    assert "needs" in text


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["env=mach"], "'match'"),
        (["env=match", "env.kind=text"], "env.kind"),
        (["measur=false"], "'measure'"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, said):
    with pytest.raises((ConfigError, ValueError), match=rf"\A.*{said}.*\Z"):
        worlds.prepare(arguments)


def test_the_command_prints_one_json_object_at_the_end():
    command = [sys.executable, "experiments/run.py", "study=worlds", "env=match", "json=true"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert json.loads(answer.stdout.splitlines()[-1])["worlds"][0]["id"] == "UniEnv/Match-v0"
