import importlib

import pytest

from experiments import run
from experiments.config import parse
from experiments.studies import STUDIES, separability, training
from experiments.usage import usage

NOT_TYPED = {"preset=quick", "tables="}  # which a study reads itself


def settings(told):
    """The settings that a help shows, as they are typed."""
    return [line.split()[0] for line in told.splitlines() if line.startswith("  ") and "=" in line.split()[0]]


@pytest.mark.parametrize("name", STUDIES)
def test_what_help_shows_can_be_typed_and_are_the_defaults(name):
    study = importlib.import_module(STUDIES[name])
    shown = [setting for setting in settings(usage(study)) if ".." not in setting]
    assert len(shown) >= 3
    assert parse([one for one in shown if one not in NOT_TYPED], study.CONFIG) == study.CONFIG()


def test_no_run_is_resumed_and_no_data_is_read_by_the_word_none(tmp_path):
    assert training.prepare(["resume=none", "steps=64", f"runs={tmp_path}"])[0].resume is None
    assert separability.prepare(["study=separability", "data=none", f"runs={tmp_path}"])[0].data is None


def test_help_says_what_studies_there_are_and_what_a_run_is_for(capsys):
    assert run.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "resume=runs/" in out and "ppo.max_grad_norm=2.0" in out and "Adam's step size" in out
    assert {f"study={name}" for name in STUDIES} - {"study=training"} <= set(settings(out))


def test_help_of_the_ablation_tells_its_lists_and_hides_what_is_made_of_them(capsys):
    assert run.main(["study=ablation", "--help"]) == 0
    out = capsys.readouterr().out
    assert "env=match,goto" in out and "preset=quick" in out
    assert not {"worlds", "psi", "seeds", "trial"} & {setting.partition("=")[0] for setting in settings(out)}
