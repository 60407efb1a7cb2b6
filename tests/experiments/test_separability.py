import json
import math
import sys

import gymnasium as gym
import numpy as np
import pytest

import unienv
from experiments import run
from experiments.studies import reading, separability
from tests.unienv.separability.test_tally import draw
from unienv.separability.estimate import estimate

SMALL = ["study=separability", "env=match", "env.num_colours=2", "env.num_shapes=1"]


def study(tmp_path, *arguments):
    assert run.main([*SMALL, f"runs={tmp_path}", *arguments]) == 0
    (folder,) = tmp_path.iterdir()
    return json.loads((folder / "separability.json").read_text()), folder


def row(told, name, source="exact"):
    return next(r for r in told["rows"] if r["name"] == name and r["source"] == source)


def test_an_enumerable_world_is_measured_exactly(tmp_path, capsys):
    told, folder = study(tmp_path, "json=true")
    assert row(told, "NS_fb")["nats"] == pytest.approx(math.log(2)) and row(told, "NS_fb")["share"] == pytest.approx(1)
    assert told["ladder"]["late"] == pytest.approx(0.75) and told["ladder"]["gap"] == pytest.approx(0.25)
    assert told["estimate"] is None and not told["exact"]["small"]
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "separability.json", "card.html"}
    printed = capsys.readouterr()
    assert json.loads(printed.out.splitlines()[-1])["folder"] == str(folder)
    assert "0.6931" in printed.err and "card.html" in printed.err


def test_the_dial_runs_from_separable_to_joint(tmp_path):
    told, _ = study(tmp_path, "env.kind=additive", "env.coupling=0.5")
    couplings, nats, gaps = zip(*told["exact"]["dial"], strict=True)
    assert couplings == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert nats[0] == pytest.approx(0, abs=1e-9) and nats[-1] == pytest.approx(math.log(2))
    assert list(nats) == sorted(nats) and list(gaps) == sorted(gaps)


def test_a_control_is_called_separable_and_no_unified_model_is_claimed(tmp_path):
    told, _ = study(tmp_path, "env.kind=text")
    assert "is separable" in told["verdict"] and "0 nats" in told["verdict"]
    assert any("separable" in claim for claim in told["claims"]["may"])
    assert any("unified model is needed" in claim for claim in told["claims"]["may_not"])


def test_nonseparability_without_a_gap_is_not_sold_as_a_need(tmp_path):
    told, _ = study(tmp_path, "env.kind=redundant", "env.coupling=0.25")
    assert row(told, "NS_fb")["nats"] > 0.05 and told["ladder"]["gap"] == pytest.approx(0, abs=1e-9)
    assert "GAP 0" in told["verdict"]
    assert any("unified model is needed" in claim for claim in told["claims"]["may_not"])
    assert not any("Late fusion loses" in claim for claim in told["claims"]["may"])


def test_samples_are_estimated_and_say_what_they_do_not_know(tmp_path, capsys):
    told, _ = study(tmp_path, "method=table", "samples=3000", "env.kind=additive", "env.coupling=0.9")
    assert told["exact"] is None and told["ladder"] is None
    estimate = told["estimate"]
    assert estimate["n"] == 3000 and estimate["detected"] and estimate["method"] == "table"
    assert estimate["nonseparability"] == pytest.approx(0.5, abs=0.2)
    assert sum(estimate["feedback"].values()) == pytest.approx(1)
    assert "not known from samples" in told["verdict"]
    assert "from 3,000 transitions by table" in capsys.readouterr().err


def test_not_detected_is_said_instead_of_zero(tmp_path, capsys):
    told, _ = study(tmp_path, "method=table", "samples=2000", "env.kind=text")
    assert not told["estimate"]["detected"]
    assert "not detected" in told["verdict"] and "not detected" in capsys.readouterr().err
    assert row(told, "NS_fb", "from samples")["share"] is None


def test_equal_seeds_give_equal_figures(tmp_path):
    arguments = ["method=table", "samples=500", "seed=3"]
    first, _ = study(tmp_path / "a", *arguments)
    second, _ = study(tmp_path / "b", *arguments)
    assert first["estimate"] == second["estimate"] and first["rows"] == second["rows"]


def test_a_large_world_is_measured_by_its_small_version(monkeypatch):
    monkeypatch.setattr(separability, "_SEARCH", 1.0)
    config = separability.parse(
        ["study=separability", "env=goto", "method=exact", "horizon=1"], separability.SeparabilityConfig
    )
    told = separability.measure(config, say=lambda text: None)
    assert told["exact"]["small"] and told["exact"]["parameters"]["size"] == 3 and told["estimate"] is None
    told["estimate"] = None
    assert "small version (size=3" in reading.verdict(told)
    assert any("full-sized world" in claim for claim in reading.claims(told)["may_not"])


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["study=separabilty"], "there is no study 'separabilty'; did you mean 'separability'?"),
        (["study=separability", "method=exactly"], "did you mean 'exact'?"),
        (["study=separability", "sample=100"], "there is no setting 'sample'; did you mean 'samples'?"),
        (["study=separability", "samples=5"], "samples: expected a number from 100"),
        (["study=separability", "method=table", "history=3"], "history has no use with method=table"),
        (["study=separability", "method=exact", "policy=x"], "policy has no use with method=exact"),
        (["study=separability", "history=0"], "history: expected a number from 1"),
        (["study=separability", "policy=nowhere"], "policy must be uniform or a run folder"),
        (["study=separability", "env=mtach"], "did you mean"),
        (["study=separability", "env=match", "env.colour=3"], "env.num_colours"),
        (["study=separability", "env=CartPole-v1"], "expected a Dict"),
        (["study=separability", "env=BabyAI-GoToLocal-v0", "method=exact"], "take method=samples"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, capsys, arguments, said):
    assert run.main([*arguments, f"runs={tmp_path / 'runs'}"]) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_what_cannot_be_enumerated_is_sampled_instead(tmp_path, capsys):
    unienv.register("Continuous-v0", "tests.unienv.separability.toys:Continuous")
    try:
        arguments = ["study=separability", "env=UniEnv/Continuous-v0", "samples=400", f"runs={tmp_path}"]
        assert run.main(arguments) == 0
        assert run.main([arguments[0], arguments[1], arguments[3], "method=exact"]) == 1
    finally:
        del gym.registry["UniEnv/Continuous-v0"]
    told = json.loads(next(tmp_path.glob("*/separability.json")).read_text())
    assert told["exact"] is None and told["estimate"]["n"] == 400 and "keys.uniform" in told["enumeration"]
    assert "not enumerated" in capsys.readouterr().err


def test_the_signal_is_named_where_it_alone_is_joint():
    unienv.register("Made-v0", "tests.unienv.separability.toys:Made")
    try:
        config = separability.parse(["env=UniEnv/Made-v0", "study=separability"], separability.SeparabilityConfig)
        told = separability.measure(config, say=lambda text: None)
    finally:
        del gym.registry["UniEnv/Made-v0"]
    verdict = reading.verdict(told)
    assert "is separable" in verdict and "signal made of it is not" in verdict and "loses 0.2500" in verdict


def test_a_data_set_of_pictures_that_never_recur_is_estimated_from_its_rows(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    image, label = generator.integers(0, 256, (90, 4, 4, 3)).astype(np.uint8), generator.integers(0, 2, 90)
    np.savez(tmp_path / "data.npz", text=np.full(90, "what is it"), image=image, label=label)
    seen = []
    told = estimate(draw(400))
    module = sys.modules["unienv.separability.estimate"]
    monkeypatch.setattr(module, "estimate", lambda rows, *_, **__: seen.append(rows) or told)
    settings = ["env=dataset", f"env.path={tmp_path / 'data.npz'}", "env.split=all", "study=separability"]
    auto, exact = (
        separability.measure(
            separability.parse([*settings, f"method={method}"], separability.SeparabilityConfig), say=lambda text: None
        )
        for method in ("auto", "exact")
    )
    assert auto["exact"] is None and "100% of the rows show image that no other shows" in auto["enumeration"]
    assert [len(rows) for rows in seen] == [90] and len(set(seen[0].episode)) == 90
    assert exact["exact"] is not None and exact["estimate"] is None and "enumeration" not in exact


def test_a_policy_of_another_environment_is_refused(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("env:\n  id: match\n")
    assert run.main(["study=separability", "env=goto", f"policy={tmp_path}", "method=net"]) == 2
    assert "was trained on match, not on goto" in capsys.readouterr().err
    assert run.main(["study=separability", "env=match", f"policy={tmp_path}"]) == 2
    assert "a policy is for recording" in capsys.readouterr().err
    (tmp_path / "config.yaml").write_text("env:\n  id: goto\n  size: 3\n")
    assert run.main(["study=separability", "env=goto", "env.size=5", f"policy={tmp_path}", "method=net"]) == 2
    assert "was trained with id=goto, size=3, which has other spaces" in capsys.readouterr().err


def test_help_of_an_unknown_study_and_an_environment_that_raises_are_one_line(capsys):
    def boom():
        raise KeyError("no engine")

    gym.register("TestBoom-v0", boom)
    try:
        assert run.main(["--help", "study=foo"]) == 2
        assert run.main(["study=separability", "env=TestBoom-v0"]) == 2
    finally:
        del gym.registry["TestBoom-v0"]
    printed = capsys.readouterr().err
    assert "there is no study 'foo'" in printed and "no engine" in printed and "Traceback" not in printed


def test_transitions_on_disk_are_measured(tmp_path, capsys):
    data = draw(2000)
    data.save(tmp_path / "data.npz")
    arguments = ["study=separability", f"data={tmp_path / 'data.npz'}", "seed=3"]
    assert run.main([*arguments, f"runs={tmp_path / 'runs'}"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    told, whole = json.loads((folder / "separability.json").read_text()), estimate(data, "table", seed=3)
    assert {key: told["estimate"][key] for key in ("n", "episodes", "nonseparability", "p_value", "null")} == {
        "n": 2000,
        "episodes": whole.episodes,
        "nonseparability": whole.nonseparability,
        "p_value": whole.p_value,
        "null": list(whole.null),
    }
    assert told["estimate"]["feedback"]["right"] == pytest.approx((data.feedback == 1).mean())
    assert told["command"] == f"python experiments/run.py study=separability data={tmp_path / 'data.npz'} seed=3"
    assert folder.name.startswith("data-") and (folder / "card.html").exists()
    assert "from 2,000 transitions by table" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["data="], "expected a folder or a file of transitions"),
        (["data=nowhere"], "there is no file or folder nowhere"),
        (["data=.", "env=match"], "env has no use with data="),
        (["data=.", "samples=500"], "samples has no use with data="),
        (["data=.", "method=net"], "measured by method=table, got method=net"),
        (["env=match", "ray.workers=2"], "ray.workers count shards of data="),
    ],
)
def test_mistakes_about_data_are_one_line_and_leave_nothing(tmp_path, capsys, arguments, said):
    assert run.main(["study=separability", *arguments, f"runs={tmp_path / 'runs'}"]) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1
    assert not (tmp_path / "runs").exists()
