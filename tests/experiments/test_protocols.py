"""One world under three protocols: the setting `env.signal` alone says what is learned from."""

import json
from itertools import product

import numpy as np
import pytest

from agents.objective import objective
from agents.policies import OraclePolicy, RandomPolicy
from experiments import run
from experiments.config import build, load
from experiments.train import make_learner
from unienv.actions import Actions
from unienv.adapt import make_vector
from unienv.registry import WORLDS, needs, world_class
from unienv.signal import SIGNALS

pytestmark = pytest.mark.usefixtures("undrawn")

NAMES = [name for name in WORLDS if not needs(world_class(f"UniEnv/{name}")[0])]
TINY = {
    "agent": {"dim": 16, "heads": 2, "hidden": 32, "queries": 2},
    "ppo": {"worlds": 8, "horizon": 4, "minibatches": 2, "epochs": 1, "play": 0.0},
    "steps": 64,
    "episodes": 640,
    "device": "cpu",
}
J_OF_ORACLE = {"reward": 1.0, "label": 1.0, "preference": 0.5}  # half the alternatives are as right as the oracle
J_OF_CHANCE = {"reward": 0.5, "label": 0.5, "preference": 0.0}


def arguments(values, prefix=""):
    """Settings as they are typed."""
    for key, value in values.items():
        yield from arguments(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}={value}"]


def go(tmp_path, *more):
    """The folder and the summary of a tiny run."""
    assert run.main([*arguments(TINY), f"runs={tmp_path}", *more]) == 0
    (folder,) = tmp_path.iterdir()
    return folder, json.loads((folder / "summary.json").read_text())


def check(summary, signal):
    """J is the sum of the signal, of one step here, while success stays the world's own."""
    oracle, chance = summary["anchors"]["oracle"], summary["anchors"]["random"]
    assert oracle["success"] == 1.0 and oracle["J_low"] <= J_OF_ORACLE[signal] <= oracle["J_high"]
    assert abs(chance["success"] - 0.5) < 0.1 and abs(chance["J"] - J_OF_CHANCE[signal]) < 0.1
    assert summary["J"] == pytest.approx(summary["success"]) or signal == "preference"


@pytest.mark.parametrize("signal", SIGNALS)
def test_match_under_each_protocol(tmp_path, signal):
    folder, summary = go(tmp_path, "env=match", f"env.signal={signal}")
    check(summary, signal)
    assert load(folder).env["signal"] == signal and f"env.signal={signal}" in summary["command"]
    report = (folder / "report.html").read_text()
    assert report.count(f">{signal}<") == 1  # in the table of the configuration


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_data_set_under_labels(tmp_path, split):
    cells = list(product(range(2), range(2), range(40)))
    images = np.stack([np.full((8, 8, 3), 100 * image + place, np.uint8) for _, image, place in cells])
    texts = [f"is it {('dark', 'light')[text]}?" for text, *_ in cells]
    labels = [text ^ image for text, image, _ in cells]
    np.savez(tmp_path / "data.npz", text=texts, image=images, label=labels)
    settings = ["env=dataset", f"env.path={tmp_path / 'data.npz'}", f"env.split={split}", "env.signal=label"]
    folder, summary = go(tmp_path / "runs", *settings)
    check(summary, "label")
    assert load(folder).env["split"] == split
    assert set(np.load(folder / "episodes.npz")["text"]) == {"is it dark ?", "is it light ?"}


@pytest.mark.parametrize("signal", ["reward", "preference"])
@pytest.mark.parametrize("name", NAMES)
def test_the_oracle_earns_more_than_chance(name, signal):
    """In worlds of many steps too, where chance goes on for longer."""
    envs = make_vector(f"UniEnv/{name}", 64, signal=signal)
    oracle = objective(envs, OraclePolicy(envs), 0.95, 256, seed=0)
    chance = objective(envs, RandomPolicy(Actions(envs.single_action_space), np.random.default_rng(0)), 0.95, 256, 0)
    assert oracle.J_low > chance.J_high


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("name", NAMES)
def test_every_world_trains_under_every_protocol(name, signal):
    learner = make_learner(build({**TINY, "env": {"id": f"UniEnv/{name}", "signal": signal}}))
    metrics = learner.update()
    assert isinstance(learner.envs.unwrapped.world.signal, SIGNALS[signal])
    assert learner.steps == 32 and np.isfinite([metrics[key] for key in ("policy_loss", "value_loss", "entropy")]).all()
    learner.envs.close()


@pytest.mark.parametrize(
    "settings, said",
    [
        (["env.signal=preferense"], "got 'preferense'; did you mean 'preference'?"),
        (["env.signals=label"], "match has no setting 'env.signals'; did you mean 'env.signal'?"),
        (["env=dataset"], "Dataset needs path; give path=.. (in a run env.path=..)"),
        (["env=dataset", "env.path=nowhere.npz"], "there is no file 'nowhere.npz'"),
        (["env=dataset", "env.path=nowhere.npz", "env.splt=all"], "did you mean 'env.split'?"),
    ],
)
def test_mistakes_are_one_line_and_status_2(tmp_path, capsys, settings, said):
    assert run.main([f"runs={tmp_path / 'runs'}", *settings]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and said in err
    assert not (tmp_path / "runs").exists()
