"""The study as users run it: jobs, report, resume, users' text, mistakes."""

import json
import os
import shutil

import pytest

from encoders.text.pretrained import load_text
from experiments.bridge import bench, jobs, measure, plan
from experiments.bridge.conclude import _completions
from experiments.bridge.models import make_latent, make_vae
from experiments.config import parse
from experiments.run import main

SMALL = [
    "study=bridge", "vae.width=16", "vae.layers=1", "vae.heads=2", "vae.latent=4", "vae.patch=1", "prior.width=16",
    "prior.layers=2", "prior.heads=2", "prior.block=2", "batch=8", "stage1=4", "stage2=4", "samples=100",
    "device=cpu", "ray.workers=0", "json=true",
]  # fmt: skip
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]


@pytest.fixture(scope="module")
def little():
    """Fewer jobs, and short ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "RATES", ((4, 0.01), (4, 0.1)))
        patch.setattr(plan, "PRIORS", (1.0,))
        patch.setattr(plan, "SIZES", (0.75,))
        for name in ("_PIXELS", "_UNIFIED", "_SPEAKER"):
            patch.setattr(jobs, name, 3)
        patch.setattr(jobs, "_GUIDANCES", (1.0, 2.0))
        patch.setattr(jobs, "_GAP", 1.0)  # the least: two rows
        patch.setattr(measure, "_FIT_STEPS", 3)
        patch.setattr(measure, "_STEPS", 1)
        patch.setattr(bench, "_ROWS", 64)
        patch.setattr(bench, "_DRAWN", 4)
        patch.setattr("experiments.bridge.speaker._VAE_STEPS", 3)
        patch.setattr("encoders.text.heads._PARTICLES", 2)
        patch.setattr("experiments.bridge.models._STEPS", 4)
        yield


@pytest.fixture(scope="module")
def done(little, tmp_path_factory):
    """The run folder of a study of two worlds."""
    runs = tmp_path_factory.mktemp("runs")
    assert main([*SMALL, "corpus=match,goto", f"runs={runs}"]) == 0
    (folder,) = runs.iterdir()
    return folder


def read(folder):
    return json.loads((folder / "bridge.json").read_text())


def test_all_that_is_promised_is_in_the_summary(done):
    summary = read(done)
    assert summary["failed"] == {}
    assert [model["name"] for model in summary["models"]] == ["latent", "autoregressive", "masked"]
    sizes = [model["parameters"] for model in summary["models"]]
    assert max(sizes) < 1.2 * min(sizes)
    for model in summary["models"]:
        assert model["tokens_per_second"]["training"] > 0 < model["tokens_per_second"]["generation"]
        assert model["nats"]["test"]["value"] > 0 and len(model["samples"]) == 12
        assert 0 <= model["generation"]["valid"]["value"] <= 1
    assert len(summary["curves"]["rate_distortion"]) == 2 and summary["curves"]["gap"]["ks"] == [1, 4, 16]
    assert {point["family"] for point in summary["scaling"]} == set(plan.FAMILIES)
    assert {row["head"] for row in summary["speaker"]} == set(plan.HEADS)
    assert summary["modalities"]["world"] == "match" and len(summary["completions"]) == 5
    assert summary["command"].startswith("python experiments/run.py study=bridge corpus=match,goto")
    for split in ("train", "test"):
        part = summary["split"][split]
        assert part["elbo"]["value"] == pytest.approx(part["realisation"]["value"] - part["rate"]["value"])


def test_the_run_leaves_a_report_and_what_agents_use(done):
    assert "<html" in (done / "report.html").read_text()
    vae, tokens = load_text(done / "text")
    assert vae.config.latent == 4 and tokens.decode(tokens.encode("go to the red circle")) == "go to the red circle"
    assert (done / "pixels" / "pixels.safetensors").exists()
    assert not list(done.rglob("*.state")) and not list(done.rglob("*.part"))


def test_a_run_that_was_cut_off_goes_on_with_what_is_missing(done, tmp_path, capsys, little):
    folder = shutil.copytree(done, tmp_path / "run")
    for name in ("gap", "rate-4-0.1"):
        (folder / "jobs" / name / "result.json").unlink()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("jobs/*/result.json")}
    assert main(["study=bridge", f"resume={folder}", "json=true"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    before, after = read(done), read(folder)
    assert told["seconds"] is None and after["curves"] == before["curves"]  # equal seeds, equal figures
    assert main(["study=bridge", f"resume={folder}", "vae.width=32"]) == 2
    assert "can't change on resuming" in capsys.readouterr().err


def test_a_job_that_fails_is_told_and_stops_only_what_needs_it(little, tmp_path, monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("out of\nluck")

    monkeypatch.setitem(jobs._KINDS, "latent", broken)
    monkeypatch.setattr(plan, "RATES", ())
    monkeypatch.setattr(plan, "HEADS", ())
    assert main([*SMALL, "corpus=goto", f"runs={tmp_path}"]) == 1
    (folder,) = tmp_path.iterdir()
    failed = read(folder)["failed"]
    assert failed["stage2"] == "RuntimeError: out of luck"
    assert failed["gap"] == "needs stage2, which failed" and set(failed) >= {"guidance", "modalities", "latent-0.75"}
    assert "RuntimeError" in (folder / "jobs" / "stage2" / "failure.txt").read_text()
    assert "out of luck" in capsys.readouterr().err


def test_a_users_text(little, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "RATES", ((4, 0.01),))
    text = "\n\n".join(f"the {a} {b} saw {c} of them" for a in ("old", "wet") for b in "abcdefgh" for c in range(20))
    (tmp_path / "tales.txt").write_text(text)
    arguments = [f"corpus={tmp_path / 'tales.txt'}", "tokens=bpe", "vocabulary=280", "length=16"]
    assert main([*SMALL, *arguments, f"runs={tmp_path / 'runs'}"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    summary = read(folder)
    assert summary["failed"] == {} and summary["speaker"] == [] and summary["modalities"] is None
    assert summary["corpus"]["entropy"] == {"train": None, "test": None}
    assert all(model["generation"]["valid"] is None for model in summary["models"])


def test_a_text_may_be_shorter_than_a_patch():
    study = bench.open_study(parse([*SMALL, "corpus=goto", "vae.patch=8"], plan.BridgeConfig), None)
    model = make_latent(study.config, make_vae(study.config, len(study.corpus.tokens))).eval()
    told = _completions(study, {"latent": model})
    assert told and {row["prefix"] for row in told} == {""} and all(row["text"] for row in told)


def test_a_world_is_no_folder_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "goto").mkdir()
    monkeypatch.chdir(tmp_path)
    assert {"pixels", "modalities", "speaker-latent"} < set(plan.plan(plan.BridgeConfig(corpus="goto")))
    assert not {"pixels", "modalities"} & set(plan.plan(plan.BridgeConfig(corpus=str(tmp_path))))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["corpus=golo"], "no file, folder or world is called 'golo'; did you mean 'goto'?"),
        (["env=goto"], "study=bridge has no env; its settings are study, corpus, tokens"),
        (["corpus=goto", "vae.widht=3"], "there is no setting 'vae.widht'; did you mean 'vae.width'?"),
        (["corpus=goto", "vae.patch=2", "length=13"], "length: expected a multiple of vae.patch=2, got 13"),
        (["corpus=goto", "length=2"], "got rows of length 2"),
        (["corpus=goto", "vae.width=30"], "width"),
        (["corpus=goto", "latent.stop=inptu"], "did you mean 'input'?"),
        (["corpus=goto", "tokens=letters"], "tokens must be one of words, bytes, bpe, got 'letters'"),
        (["resume=nowhere"], "nowhere is no run folder: it has no config.yaml"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, told, tmp_path, capsys):
    small = [a for a in SMALL if a.partition("=")[0] not in {b.partition("=")[0] for b in arguments}]
    small = ["study=bridge"] if any("resume" in a for a in arguments) else small
    assert main([*small, *arguments, *([] if "resume=nowhere" in arguments else [f"runs={tmp_path}"])]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert not os.listdir(tmp_path)
