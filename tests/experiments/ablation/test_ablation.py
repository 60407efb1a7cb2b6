"""The study as users run it: grid, resume, failures, mistakes."""

import json
import shutil

import pytest

from experiments.ablation import trial
from experiments.ablation.plan import (
    SETTINGS,
    AblationConfig,
    Cell,
    Trial,
    absent,
    cells,
    jobs,
    read_grid,
    run_config,
    settings,
    trials,
)
from experiments.config import build, load
from experiments.run import main
from experiments.studies.ablation import prepare

SMALL = [
    "study=ablation", "env=match", "env.coupling=0,1", "env.num_colours=2", "env.num_shapes=2", "agent.psi=joint,late",
    "seed=0:2", "steps=512", "ppo.worlds=16", "ppo.horizon=8", "ppo.minibatches=2", "episodes=64", "agent.dim=16",
    "agent.hidden=32", "device=cpu", "ray.workers=0", "json=true",
]  # fmt: skip
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The run folder of a small study."""
    runs = tmp_path_factory.mktemp("runs")
    assert main([*SMALL, f"runs={runs}"]) == 0
    (folder,) = runs.iterdir()
    return folder


def read(folder):
    return json.loads((folder / "ablation.json").read_text())


def test_every_trial_and_cell_is_in_the_summary(done):
    summary = read(done)
    assert summary["failed"] == {} and len(summary["trials"]) == 8
    first, second = summary["cells"]
    assert (first["coupling"], second["coupling"]) == (0.0, 1.0)
    assert first["ns"]["nats"] == pytest.approx(0.0, abs=1e-9) and second["ns"]["nats"] > 0.1
    assert set(first["forms"]) == {"joint", "late"} and set(first["forms"]["joint"]["scores"]) == {"0", "1"}
    assert first["diagnostics"] and first["gap"]["low"] <= first["gap"]["value"] <= first["gap"]["high"]
    assert len(summary["controls"]) == 1
    for name in ("report.html", "ablation.md", "ablation.csv"):
        assert (done / name).stat().st_size > 100
    assert len((done / "ablation.csv").read_text().splitlines()) == 9
    assert not list(done.rglob("checkpoints"))


def test_a_trial_is_what_its_command_trains(done):
    config = load(done / "jobs" / "match-1-late-1")
    assert (config.agent.psi, config.seed, config.steps, config.env["coupling"]) == ("late", 1, 512, 1)
    (row,) = [row for row in read(done)["trials"] if row["name"] == "match-1-late-1"]
    assert "agent.psi=late" in row["command"] and "seed=1" in row["command"]


def test_a_study_that_was_cut_off_repeats_nothing(done, tmp_path, capsys):
    folder = shutil.copytree(done, tmp_path / "run")
    (folder / "jobs" / "match-0-joint-1" / "result.json").unlink()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("jobs/*/result.json")}
    assert main(["study=ablation", f"resume={folder}", "json=true"]) == 0
    assert len(kept) == 9 and all(path.stat().st_mtime_ns == time for path, time in kept.items())
    before, after = read(done), read(folder)
    assert after["cells"] == before["cells"]  # the trial that ran again found the same
    assert main(["study=ablation", f"resume={folder}", "seed=0:3"]) == 2
    assert "can't change on resuming" in capsys.readouterr().err


def test_a_trial_that_fails_is_told_and_stops_no_other(tmp_path, monkeypatch, capsys):
    whole = trial._run

    def one_fails(grid, one):
        if one.psi == "late" and one.seed == 1:
            raise RuntimeError("out of luck")
        return whole(grid, one)

    monkeypatch.setattr(trial, "_run", one_fails)
    assert main([*SMALL, f"runs={tmp_path}", "env.coupling=1"]) == 1
    (folder,) = tmp_path.iterdir()
    summary = read(folder)
    assert summary["failed"] == {"match-1-late-1": "RuntimeError: out of luck"}
    assert list(summary["cells"][0]["forms"]["late"]["scores"]) == ["0"]
    assert "out of luck" in capsys.readouterr().err


def grid_of(*arguments):
    return build({**vars(AblationConfig()) | {"ray": {}}, **read_grid(arguments)}, AblationConfig)


def test_the_grid_is_every_world_at_every_coupling_by_form_and_seed():
    config = grid_of("env.id=match,terminal", "env.coupling=0,0.5", "agent.psi=joint,text", "seed=0:3", "ppo.lr=1e-3")
    assert cells(config) == [Cell("match", 0.0), Cell("match", 0.5), Cell("terminal", None)]  # which has no dial
    assert len(trials(config)) == 3 * 2 * 3 and len(jobs(config)) == 3 + 18
    assert settings(config, trials(config)[2]) == [
        "env=match", "agent.psi=joint", "seed=0", "env.coupling=0.5", "steps=100000", "episodes=10000",
    ]  # fmt: skip
    assert config.trial == ["ppo.lr=1e-3"]


def test_a_form_of_one_modality_is_left_out_where_the_world_lacks_it():
    config = grid_of("env=match,chase", "env.coupling=1", "agent.psi=joint,image,video", "seed=0:2")
    config.absent = absent(config)
    assert config.absent == ["match video", "chase image"]
    assert {(trial.cell.env, trial.psi) for trial in trials(config)} == {
        *(("match", "joint"), ("match", "image"), ("chase", "joint"), ("chase", "video"))
    }
    with_sign = grid_of("env=chase", "agent.psi=joint,image", "env.order=3")
    assert absent(with_sign) == []


def test_every_trial_of_the_full_preset_can_be_begun(tmp_path):
    config, folder = prepare(["preset=full", f"runs={tmp_path}"])
    assert len(config.worlds) == 6 and len(trials(config)) == (5 * (4 + 3 + 4 + 4) + 4 + 4) * 5
    assert load(folder, AblationConfig) == config


def test_a_coupling_is_the_same_in_names_commands_and_results():
    config = grid_of("env=match", "env.coupling=0.3333333,0.3333334,1", "agent.psi=joint", "seed=0")
    for one, coupling in zip(trials(config), (0.3333333, 0.3333334, 1.0), strict=True):
        assert run_config(config, one).env["coupling"] == coupling
    assert [one.name for one in trials(config)] == [
        "match-0.3333333-joint-0",
        "match-0.3333334-joint-0",
        "match-1-joint-0",
    ]


@pytest.mark.parametrize("env", SETTINGS)
def test_settings_of_a_world_are_settings_of_a_run_and_give_way_to_the_users(env):
    trial = Trial(Cell(env, None), "joint", 0)
    assert run_config(AblationConfig(), trial).steps > 1 == run_config(AblationConfig(trial=["steps=1"]), trial).steps


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["env=matsch"], "matsch"),
        (["env=nowhere.at_all:Foo-v0"], "there is no module 'nowhere.at_all'"),
        (["env=unienv.worlds.match:Nope"], "Nope"),
        (["env=match,"], "env: expected different names with commas between, got 'match,'"),
        (["seed=5:2"], "seed: expected whole numbers such as 0,1,2 or a range such as 0:5, got '5:2'"),
        (["env.coupling=half"], "env.coupling: expected numbers with commas between"),
        (["agent.psi=joint,lte"], "got 'lte'; did you mean 'late'?"),
        (["ppo.lrr=1"], "there is no setting 'ppo.lrr'; did you mean 'ppo.lr'?"),
        (["preset=fast"], "preset must be one of quick, full, got 'fast'"),
        (["env=match", "env.size=3"], "match has no setting 'env.size'"),
        (["env.coupling=0,1.5"], "coupling"),
        (["agent.psi=joint,video"], "agent.psi: expected forms that match has, got video; it has image, text"),
        (
            ["env=match,chase", "agent.psi=image"],
            "agent.psi: expected forms that chase has, got image; it has text, video",
        ),
        (["margin=0"], "margin: expected a number from 1e-06 to 1, got 0"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, told, tmp_path, capsys):
    assert main(["study=ablation", *arguments, f"runs={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
