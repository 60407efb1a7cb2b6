import dataclasses
import json

import numpy as np
import pytest
import torch

from encoders.probe import Probe, Rows, _Trainer, estimate_by_psi
from unienv.adapt import make_vector
from unienv.separability.transitions import Transitions, record

SMALL = {"num_colours": 2, "num_shapes": 1}
QUICK = {"folds": 2, "updates": 40, "batch": 128, "replicates": 19}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def transitions(n, seed=0, **parameters):
    envs = make_vector("match", 64, **(SMALL | parameters))
    try:
        return record(envs, n, seed=seed)
    finally:
        envs.close()


def scores(form, rows, change=None):
    torch.manual_seed(0)
    probe = Probe(rows.space, form, rows.num_actions, rows.outcomes, 16)
    torch.nn.init.normal_(probe.head.weight)
    index = torch.arange(4)
    return probe(rows.observations(index), rows.action[index])[0].detach()


def test_a_new_probe_says_nothing():
    rows = Rows(transitions(64))
    probe = Probe(rows.space, "joint", 2, rows.outcomes, 16)
    assert not probe(rows.observations(torch.arange(4)), rows.action[:4])[0].any()


@pytest.mark.parametrize("form, additive", [("late", True), ("joint", False)])
def test_late_scores_are_sums_over_modalities(form, additive):
    """Two texts crossed with two pictures: the mixed difference vanishes for the separable form, and for it alone."""
    told = transitions(64)
    text, image = (told.observation[name].items for name in ("text", "image"))
    crossed = {"text": text[[0, 0, 1, 1]], "image": image[[0, 1, 0, 1]]}
    rows = Rows(Transitions(crossed, np.zeros(4, np.int64), np.array([0, 1, 0, 1]), np.arange(4), ("a", "b")))
    s = scores(form, rows)
    mixed = (s[0] - s[1] - s[2] + s[3]).abs().max()
    assert (float(mixed) < 1e-4) == additive


def test_joint_feedback_is_detected_and_sized():
    told = estimate_by_psi(transitions(2000), **QUICK)
    assert told.detected and told.method == "psi" and told.p_value == pytest.approx(1 / 20)
    assert json.loads(json.dumps(dataclasses.asdict(told)))["detected"] is True
    assert told.nonseparability == pytest.approx(np.log(2), abs=0.1)
    assert told.information == pytest.approx(np.log(2), abs=0.1)
    assert [width for width, *_ in told.ladder] == [16, 64, 128]


def test_separable_feedback_is_not():
    told = estimate_by_psi(transitions(2000, kind="additive"), **QUICK)
    assert not told.detected and abs(told.nonseparability) < 0.03
    assert told.information > 0.1


def test_rare_outcomes_are_trained_on_evenly_and_still_told_at_their_natural_rate():
    """Feedback that depends on nothing: a balanced diet must not show in the scores."""
    told = transitions(1500)
    rare = (np.random.default_rng(0).random(1500) < 0.05).astype(np.int64)
    rows = Rows(told.replace(rare, ("common", "rare")))
    every = torch.arange(1500)
    trainer = _Trainer(rows, every[:1200], every[1200:], 40, 128, 0)
    law = trainer.held_out(trainer.fit("late", 16), None, every[1200:]).separable.exp()
    assert float(law[:, 1].mean()) == pytest.approx(0.05, abs=0.03)


def test_equal_seeds_give_equal_figures():
    told = transitions(400)
    quick = QUICK | {"updates": 20, "batch": 32}
    assert estimate_by_psi(told, **quick, seed=1) == estimate_by_psi(told, **quick, seed=1)
    assert estimate_by_psi(told, **quick, seed=1) != estimate_by_psi(told, **quick, seed=2)


def test_too_few_episodes_are_told_in_one_line():
    with pytest.raises(ValueError, match="5 folds need at least 40 episodes, got 30"):
        estimate_by_psi(transitions(30))
