import json
import shlex
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from encoders.pixels import PixelConfig, PixelVAE, save_pixels
from encoders.text.pretrained import save_text
from encoders.text.tokens import Bytes
from encoders.text.vae import TextVAE, VAEConfig
from experiments import run
from experiments.config import ConfigError, load
from experiments.recorder import read_metrics
from experiments.studies import training
from unienv.modality import pixel_space

pytestmark = pytest.mark.usefixtures("undrawn")

TINY = ["agent.dim=16", "agent.heads=2", "agent.hidden=32", "agent.queries=2", "ppo.worlds=8", "ppo.horizon=4"]
TINY += ["ppo.minibatches=2", "ppo.epochs=1", "ppo.play=0", "steps=64", "episodes=8", "device=cpu"]


class Lamp(gym.Env):
    """A user's own: the text says on or off, the picture is light or dark; press (1) where they differ."""

    observation_space = spaces.Dict({"mission": spaces.Text(9, charset=" adflmnop"), "image": pixel_space((9, 12, 3))})
    action_space = spaces.Discrete(2)

    def __init__(self, brightness: int = 200) -> None:
        self.brightness = brightness

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.wanted, self.lit = self.np_random.integers(2, size=2)
        return self._observe(), {}

    def step(self, action):
        return self._observe(), float(action == (self.wanted != self.lit)), True, False, {}

    def _observe(self):
        image = np.full((9, 12, 3), self.lit * self.brightness, np.uint8)
        return {"mission": "lamp on" if self.wanted else "lamp off", "image": image}


gym.register("TestLamp-v0", Lamp)
LAMP = "env=tests.experiments.test_run:TestLamp-v0"


def go(runs, *arguments):
    """Exit status of a tiny run and its folder, the newest of `runs`."""
    resumed = any(argument.startswith("resume=") for argument in arguments)
    status = run.main([*arguments] if resumed else [*TINY, f"runs={runs}", *arguments])
    folders = sorted(runs.iterdir(), key=lambda path: path.stat().st_mtime) if runs.exists() else []
    return status, folders[-1] if folders else None


def mistake(capsys, *arguments):
    """What stderr says of mistaken arguments: one line, and status 2."""
    assert run.main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1
    return err.removeprefix("error: ").rstrip()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    status, folder = go(tmp_path_factory.mktemp("runs"), "ppo.worlds=6", "steps=72")
    assert status == 0
    return folder


def test_a_run_leaves_its_files(done):
    names = {path.name for path in done.iterdir()}
    wanted = {
        "config.yaml",
        "metrics.jsonl",
        "summary.json",
        "episodes.npz",
        "report.html",
        "checkpoints",
        "tensorboard",
    }
    assert names == wanted
    assert [path.name for path in (done / "checkpoints").iterdir()] == [f"{72:010d}"]
    assert load(done).ppo.worlds == 6


def test_metrics_hold_a_line_for_each_update(done):
    records = read_metrics(done)
    assert [record["steps"] for record in records] == [24, 48, 72]
    seconds = [record["seconds"] for record in records]
    assert seconds == sorted(seconds) and seconds[0] > 0
    assert all(record["episodes"] == 24 and 0 <= record["success"] <= 1 for record in records)


def test_the_summary_tells_what_came_out(done):
    summary = json.loads((done / "summary.json").read_text())
    assert summary["steps"] == 72 and summary["episodes"] == 8 and summary["folder"] == str(done)
    for row in (summary, *summary["anchors"].values()):
        assert row["success_low"] <= row["success"] <= row["success_high"]
        assert row["J_low"] <= row["J"] <= row["J_high"]
    assert summary["anchors"]["oracle"]["success"] == 1.0
    assert summary["steps_per_second"] == pytest.approx(72 / summary["seconds"])


def test_the_command_of_a_summary_repeats_the_run(done, tmp_path):
    words = json.loads((done / "summary.json").read_text())["command"].split()
    assert words[:2] == ["python", "experiments/run.py"]
    config, _ = training.prepare([*words[2:], f"runs={tmp_path}"])
    config.runs = load(done).runs
    assert config == load(done)


@pytest.mark.parametrize("form", ["late", "text", "image"])
def test_the_other_forms_run_and_the_last_line_is_json(tmp_path, capsys, form):
    status, folder = go(tmp_path, "env=goto", "env.size=4", "env.horizon=4", f"agent.psi={form}", "json=true")
    assert status == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary == json.loads((folder / "summary.json").read_text())
    assert (summary["env"], load(folder).agent.psi) == ("goto", form)


def test_an_environment_of_the_users_own(tmp_path):
    status, folder = go(tmp_path, LAMP, "env.brightness=90", "agent.memory=gru")
    assert status == 0
    summary = json.loads((folder / "summary.json").read_text())
    assert list(summary["anchors"]) == ["random"] and summary["nonseparability"] is None
    episodes = np.load(folder / "episodes.npz")
    assert set(episodes["text"]) <= {"lamp on", "lamp off"} and set(episodes["frames"].flatten()) <= {0, 90}


@pytest.mark.parametrize("env, trusted", [("env=match", []), (LAMP, [LAMP])])
def test_resuming_goes_on_where_the_run_ended(tmp_path, env, trusted):
    _, folder = go(tmp_path, env, "steps=64")
    first = read_metrics(folder)
    assert go(tmp_path, f"resume={folder}", "steps=128", *trusted) == (0, folder)
    both = read_metrics(folder)
    assert [record["steps"] for record in both] == [32, 64, 96, 128]
    assert both[:2] == first
    assert all(later["seconds"] > earlier["seconds"] for earlier, later in pairwise(both))
    assert json.loads((folder / "summary.json").read_text())["steps"] == 128
    assert go(tmp_path, f"resume={folder}", *trusted) == (0, folder)  # settings that changed have stayed
    assert json.loads((folder / "summary.json").read_text())["steps"] == 128
    assert "steps: 128" in (folder / "config.yaml").read_text() and read_metrics(folder) == both


def test_an_agent_with_a_world_model_runs_and_goes_on(tmp_path):
    status, folder = go(tmp_path, "env=goto", "env.size=4", "env.horizon=4", "agent.imagine=1")
    assert status == 0 and go(tmp_path, f"resume={folder}", "steps=128") == (0, folder)
    assert json.loads((folder / "summary.json").read_text())["steps"] == 128
    assert all(record["evolution_loss"] > 0 for record in read_metrics(folder))


@pytest.mark.parametrize("latent", [["agent.text=latent"], ["agent.text=latent", "agent.image=latent"]])
def test_an_agent_reads_by_a_bridge_and_its_run_goes_on(tmp_path, latent):
    bytes_alone = Bytes()
    save_text(tmp_path / "bridge/text", TextVAE(len(bytes_alone), VAEConfig(width=16, layers=1, heads=2)), bytes_alone)
    save_pixels(tmp_path / "bridge/pixels", PixelVAE(PixelConfig(latent=4, width=8)))
    settings = [LAMP, f"agent.bridge={tmp_path / 'bridge'}", *latent]
    status, folder = go(tmp_path / "runs", *settings)
    assert status == 0 and go(tmp_path / "runs", f"resume={folder}", LAMP, "steps=128") == (0, folder)
    assert json.loads((folder / "summary.json").read_text())["steps"] == 128


def test_resuming_a_finished_run_evaluates_it_again(done):
    before, weights = read_metrics(done), (done / "checkpoints" / f"{72:010d}" / "agent.safetensors").read_bytes()
    assert run.main([f"resume={done}", "episodes=12"]) == 0
    assert read_metrics(done) == before
    assert (done / "checkpoints" / f"{72:010d}" / "agent.safetensors").read_bytes() == weights
    assert json.loads((done / "summary.json").read_text())["episodes"] == 12


def test_a_run_that_was_stopped_says_nothing_of_where_it_was(tmp_path, monkeypatch):
    _, folder = go(tmp_path, "steps=64")
    evaluated = (folder / "report.html").read_text()
    monkeypatch.setattr(training, "_train", lambda *_: True)
    assert run.main([f"resume={folder}", "steps=128"]) == 130
    assert not any((folder / name).exists() for name in ("summary.json", "episodes.npz"))
    assert (folder / "report.html").read_text() != evaluated


@pytest.mark.parametrize("runs", ["runs [old]", "runs[/x]"])
def test_folders_are_told_as_they_are_called(tmp_path, capsys, runs):
    status, folder = go(tmp_path / runs, "steps=64")
    assert status == 0 and str(folder) in "".join(capsys.readouterr().err.splitlines())
    command = json.loads((folder / "summary.json").read_text())["command"]
    assert shlex.split(command)[:2] == ["python", "experiments/run.py"]


def test_until_stops_a_run_early(tmp_path):
    status, folder = go(tmp_path, "until=0.01", "steps=10000", "ppo.worlds=64", "ppo.horizon=8")
    assert status == 0
    assert read_metrics(folder)[-1]["steps"] == 2 * 64 * 8  # the first number of episodes above 1000


@pytest.mark.parametrize("key", ["seed=1", "agent.dim=8", "ppo.lr=1", "env=goto", "env.size=4", "runs=x"])
def test_what_makes_a_run_cannot_change_on_resuming(done, capsys, key):
    assert mistake(capsys, f"resume={done}", key).startswith(f"{key.partition('=')[0]!r} can't change on resuming")


@pytest.mark.parametrize("workers, fits", [(3, True), (8, False)])
def test_workers_on_resuming_share_out_the_worlds_of_the_run(done, workers, fits):
    arguments = [f"resume={done}", f"ray.workers={workers}"]
    if fits:
        assert training.prepare(arguments)[0].ray.workers == workers
    else:
        with pytest.raises(ConfigError, match=r"ppo\.worlds"):
            training.prepare(arguments)


def test_a_folder_that_is_no_run_folder(tmp_path, capsys):
    assert mistake(capsys, f"resume={tmp_path}") == f"{tmp_path} is no run folder: it has no config.yaml"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["sed=1"], "there is no setting 'sed'; did you mean 'seed'?"),
        (["env=mach"], "'mach'; did you mean 'match'"),
        (["env=CartPole-v1"], "CartPole-v1 observes a Box, expected a Dict with text and image"),
        (["env=no_such_module:Mine-v0"], "there is no module 'no_such_module'"),
        ([LAMP, "env.colour=1"], "TestLamp-v0 has no parameter 'colour'; it takes brightness"),
        (["agent.psi=video"], "psi=video needs video"),
        (["agent.psi=lat"], "did you mean 'late'"),
        (["agent.image=resnet_18"], "timm knows no image model 'resnet_18'; did you mean 'resnet18'?"),
        (
            ["agent.text=latent", "agent.bridge=runs/gone"],
            "agent.bridge=runs/gone does not exist; python experiments/run",
        ),
        (["agent.memory=lstm"], "memory must be one of none, gru, got 'lstm'"),
        (["device=gpu"], "device must be auto, cpu or cuda, got 'gpu'"),
        (["device=meta"], "device=meta: torch finds no such device here; use device=cpu"),
        (
            ["env=chase", "agent.imagine=1"],
            "agent.imagine needs observations with an image and no video, got text, video",
        ),
        (["agent.image=resnet18", "agent.imagine=0"], "agent.imagine foresees patches: it needs agent.image=tile, got"),
        (["agent.imagine=-1"], "agent.imagine: expected a number from 0 to 64, got -1"),
        (["agent.imagine=1.5"], "agent.imagine: Value '1.5' of type 'float' could not be converted to Integer"),
        (["env.coupling=2"], "coupling must lie in [0, 1]"),
        (["env=goto", "env.size=2"], "goto needs a size from 3"),
        (["env.kind=wrong[/bold]"], "wrong[/bold]"),
        (["x[red]y=1"], "x[red]y"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing_behind(tmp_path, capsys, arguments, said):
    assert said in mistake(capsys, *TINY, f"runs={tmp_path / 'runs'}", *arguments)
    assert not (tmp_path / "runs").exists()


def test_an_environment_without_pixels_is_told(capsys):
    class Dumb(Lamp):
        observation_space = spaces.Dict({"mission": spaces.Text(9)})

    gym.register("TestDumb-v0", Dumb)
    assert "has no image or video in its observation" in mistake(capsys, *TINY, "env=TestDumb-v0")


@pytest.mark.parametrize("damage", [lambda data: data[:50], lambda data: b""])
def test_a_damaged_checkpoint_is_one_line_and_status_1(tmp_path, capsys, damage):
    _, folder = go(tmp_path)
    file = next((folder / "checkpoints").iterdir()) / "agent.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    capsys.readouterr()
    assert run.main([f"resume={folder}", "steps=128"]) == 1
    err = capsys.readouterr().err
    assert [line for line in err.splitlines() if "error:" in line] == [err.splitlines()[-1]]
    assert "agent.safetensors is damaged" in err.splitlines()[-1]


def test_runs_started_in_one_second_have_folders_of_their_own(tmp_path):
    folders = [training.prepare([*TINY, f"runs={tmp_path}"])[1] for _ in range(3)]
    assert len(set(folders)) == 3 and all((folder / "config.yaml").exists() for folder in folders)
