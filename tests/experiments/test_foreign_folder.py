"""What a run folder, its settings and its name may make of the command that resumes it."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from experiments import run
from experiments.ablation.plan import AblationConfig
from experiments.bridge.plan import BridgeConfig
from experiments.config import ConfigError, RunConfig, load, parse, to_yaml
from experiments.studies import new_folder, resumed
from experiments.transfer.plan import TransferConfig
from unienv.adapt import make_env, make_vector

ROOT = Path(__file__).parents[2]


def foreign(folder, config, **changes):
    """A run folder whose settings somebody else wrote."""
    folder.mkdir(exist_ok=True)
    for name, value in changes.items():
        setattr(config, name, value)
    (folder / "config.yaml").write_text(to_yaml(config))
    return folder


def trap(tmp_path, monkeypatch):
    """A module that tells when it is imported, lying where the command is given."""
    (tmp_path / "gift").mkdir()
    (tmp_path / "gift" / "sprung_trap.py").write_text("from pathlib import Path\nPath('sprung').touch()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


TRAP = "gift.sprung_trap:X-v0"


@pytest.mark.parametrize(
    "config, study",
    [
        (RunConfig(env={"id": TRAP}), "training"),
        (AblationConfig(worlds=["match", TRAP], psi=["joint"], seeds=[0]), "ablation"),
        (AblationConfig(worlds=["match"], psi=["joint"], seeds=[0], trial=[f"env.id={TRAP}"]), "ablation"),
        (TransferConfig(trial=[f"env={TRAP}"]), "transfer"),
    ],
)
def test_a_folder_does_not_choose_a_module_to_import(tmp_path, monkeypatch, capsys, config, study):
    trap(tmp_path, monkeypatch)
    foreign(tmp_path / "gift", config)
    assert run.main([f"study={study}", "resume=gift"]) == 2
    assert capsys.readouterr().err.startswith(f"error: gift imports a module for env={TRAP}; if you trust it, give")
    assert not (tmp_path / "sprung").exists()
    found = resumed([f"study={study}", "resume=gift", f"env={TRAP}"], type(config), ())
    assert found is not None and found[1] == Path("gift")


@pytest.mark.parametrize("id", ["match", "MATCH", "UniEnv/Match-v0", "UniEnv/match-v0", "unienv:match"])
@pytest.mark.parametrize("study", ["training", "ablation"])
def test_a_folder_does_not_choose_the_class_behind_a_world(tmp_path, monkeypatch, capsys, id, study):
    """Ids of worlds are registered with `world`, the class that they stand for."""
    trap(tmp_path, monkeypatch)
    other = {"id": id, "world": "gift.sprung_trap:X"}
    ablation = AblationConfig(worlds=[id], psi=["joint"], seeds=[0], trial=[f"env.world={other['world']}"])
    foreign(tmp_path / "gift", RunConfig(env=other) if study == "training" else ablation)
    assert run.main([f"study={study}", "resume=gift"]) != 0
    assert "Traceback" not in capsys.readouterr().err and not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("make", [make_env, partial(make_vector, num_envs=2)])
def test_a_world_is_the_one_that_its_id_names(tmp_path, monkeypatch, make):
    trap(tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=r"\AUniEnv/Match-v0 is the world that it was registered with; .*\Z"):
        make("match", world="gift.sprung_trap:X")
    assert not (tmp_path / "sprung").exists()


def test_modules_of_users_go_before_those_that_the_command_is_made_of(tmp_path):
    """The folder of run.py holds game.py as well."""
    (tmp_path / "game.py").write_text("from pathlib import Path\nPath('sprung').touch()\n")
    command = [sys.executable, str(ROOT / "experiments" / "run.py"), "study=separability", "env=game:Mine-v0"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2 and "there is no environment" in ended.stderr
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(env={"id": "TestOther-v0", "env_id": TRAP}),
        RunConfig(env={"id": "TestOther-v0", "deep": {"er": [TRAP]}}),
        AblationConfig(worlds=["match", "TestOther-v0"], psi=["joint"], seeds=[0], trial=[f"env.env_id={TRAP}"]),
    ],
)
def test_a_folder_does_not_choose_what_an_environment_imports(tmp_path, monkeypatch, config):
    """As those do that make another library's environment of the id that they are given."""
    trap(tmp_path, monkeypatch)
    foreign(tmp_path / "gift", config)
    with pytest.raises(ConfigError, match=r"^gift imports a module for env=TestOther-v0; if you trust it, give"):
        resumed(["resume=gift"], type(config), ())


def test_who_trusts_a_folder_gets_its_environment(tmp_path, monkeypatch, capsys):
    trap(tmp_path, monkeypatch)
    foreign(tmp_path / "gift", RunConfig(env={"id": TRAP}))
    assert run.main(["resume=gift", f"env={TRAP}"]) == 2  # it is imported, and registers no such environment
    assert "there is no environment" in capsys.readouterr().err and (tmp_path / "sprung").exists()


@pytest.mark.parametrize("id", ["UniEnv/os:system", "UniEnv/gift.sprung_trap:X", ":X-v0", "a\nb:c"])
def test_no_name_is_imported_before_it_is_asked_for(tmp_path, monkeypatch, id):
    trap(tmp_path, monkeypatch)
    assert parse([f"env={id}"]).env == {"id": id}
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("kind", [RunConfig, BridgeConfig, AblationConfig])
def test_a_folder_does_not_choose_a_cluster_to_talk_to(tmp_path, kind):
    config = kind()
    config.ray.address = "evil.example:6379"
    foreign(tmp_path, config)
    words = [f"study={config.study}", f"resume={tmp_path}"]
    with pytest.raises(ConfigError, match=r"\A.* runs on the cluster at ray.address=evil.example:6379; give .*\Z"):
        resumed(words, kind, ("ray.address",))
    for address in ("", "127.0.0.1:6379"):
        found = resumed([*words, f"ray.address={address}"], kind, ("ray.address",))
        assert found is not None and found[0].ray.address == (address or None)


@pytest.mark.parametrize("name", ["config.yaml", "summary.json.part", "checkpoints", "metrics.jsonl"])
def test_links_that_leave_a_folder_are_refused(tmp_path, name):
    folder = foreign(tmp_path / "gift", RunConfig())
    (tmp_path / "mine").mkdir()
    (tmp_path / "elsewhere.yaml").write_text("secret: word")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / ("elsewhere.yaml" if name == "config.yaml" else "mine"))
    with pytest.raises(ConfigError, match=rf"\A.*{name} is a link that leaves the run folder.*\Z") as error:
        resumed([f"resume={folder}"], RunConfig, ())
    assert "secret" not in str(error.value)


def test_links_inside_a_folder_and_to_it_are_taken(tmp_path):
    folder = foreign(tmp_path / "run", RunConfig())
    (folder / "latest").symlink_to("checkpoints")
    (folder / "loop").symlink_to("loop")
    (tmp_path / "link").symlink_to(folder)
    found = resumed([f"resume={tmp_path / 'link'}"], RunConfig, ())
    assert found is not None and found[1] == tmp_path / "link"


def test_a_folder_does_not_choose_where_it_is_continued(tmp_path):
    folder = foreign(tmp_path / "gift", RunConfig(), runs="/elsewhere", resume="/elsewhere")
    found = resumed([f"resume={folder}"], RunConfig, ())
    assert found is not None and found[1] == folder and found[0].resume == str(folder)


@pytest.mark.parametrize(
    "text",
    [
        "runs: ${oc.env:HOME}",
        "env: {id: match, kind: '${oc.env:HOME}'}",
        "seed: !!python/object/apply:os.system ['touch sprung']",
        "seed: !!python/name:os.system",
        "env: &a {id: match, x: [*a]}",
        "a: &a [x, x, x, x, x, x, x, x]\n"
        + "\n".join(f"{b}: &{b} [{', '.join(['*' + a] * 8)}]" for a, b in zip("abcdefghij", "bcdefghijk")),  # noqa: B905
        "env: " + "[" * 100_000,
        "env: {id: x, y: " + "[" * 40 + "]" * 40 + "}",
        "seed: 0x" + "f" * 20_000,
        "seed: " + "9" * 20_000,
        "env: {id: 7}",
        "\x1b[31m: 1",
        'env: {id: match, "\\e[31m": 1}',
    ],
)
def test_settings_are_values_and_no_orders(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load(tmp_path)
    assert str(error.value).isprintable() and os.environ["HOME"] + "'" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


# Names of runs


@pytest.mark.parametrize(
    "name", ["../../etc", "/etc/passwd", "..", "", "a\0b", "-v0", "." * 300, "é" * 300, "UniEnv/Match-v0", "a\n<b>"]
)
def test_a_run_is_named_below_its_folder(tmp_path, name):
    made = [new_folder(str(tmp_path / "runs"), name) for _ in range(2)]
    assert made[0] != made[1] and {folder.parent for folder in made} == {tmp_path / "runs"}
    assert all(
        folder.resolve().parent == tmp_path.resolve() / "runs" and len(os.fsencode(folder.name)) < 140
        for folder in made
    )


def test_a_place_where_no_folder_can_be_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"\Aruns=.*file can't hold run folders: .*; choose another by runs=\Z"):
        new_folder(str(tmp_path / "file"), "match")
