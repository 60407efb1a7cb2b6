"""What the study claims of what world models lose."""

import json

import pytest

from experiments.imagination import plan
from experiments.imagination.conclude import FAILS, HOLDS, OPEN, conclude
from experiments.imagination.jobs import Grid
from experiments.imagination.plan import ImaginationConfig


def put(folder, name, result):
    (folder / "jobs" / name).mkdir(parents=True, exist_ok=True)
    (folder / "jobs" / name / "result.json").write_text(json.dumps(result))


@pytest.fixture
def claim(tmp_path, monkeypatch):
    """The verdict on what the product form must lose, of two seeds in a cell that must lose 0.1 nats of two parts."""
    monkeypatch.setattr(plan, "_MEASURED", (("match", (1.0,)),))

    def verdict(signal, image, spread):
        found = {"exact-match-1": {"signal": 0.1, "image": 0.1, "text": 0.0}}
        for seed in (0, 1):
            found[f"model-match-1-joint-{seed}"] = {"signal": 0.2, "image": 0.3, "text": 0.0}
            found[f"model-match-1-late-{seed}"] = {
                "signal": 0.2 + signal + seed * spread,
                "image": 0.3 + image,
                "text": 0.0,
            }
        for name, result in found.items():
            put(tmp_path, name, result)
        told = conclude(Grid(ImaginationConfig(), tmp_path), {})["claims"][0]
        assert told["claim"].startswith("Where Eq. (10) fails") and "match-1 signal" in told["evidence"]
        return told["verdict"]

    return verdict


@pytest.mark.parametrize(
    ("signal", "image", "spread", "verdict"),
    [
        *[(0.1, 0.1, 0.0, HOLDS), (0.109, 0.2, 0.0, HOLDS), (0.1, 0.1, 1e-3, HOLDS)],
        *[(0.12, 0.1, 0.0, FAILS), (0.08, 0.1, 0.0, FAILS), (0.1, 0.08, 0.0, FAILS), (0.13, 0.1, 1e-3, FAILS)],
        *[(0.1, 0.1, 0.01, OPEN), (0.12, 0.1, 0.01, OPEN)],
    ],
)
def test_of_the_signal_as_much_is_lost_as_must_be_and_of_an_observation_at_least_as_much(
    claim, signal, image, spread, verdict
):
    assert claim(signal, image, spread) == verdict


def test_a_claim_is_not_decided_while_a_cell_was_not_measured(claim, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "_MEASURED", (("match", (0.0, 1.0)),))
    for missing in ("exact-match-0", "model-match-0-late-0"):
        assert claim(0.1, 0.1, 0.0) == OPEN, missing
        told = conclude(Grid(ImaginationConfig(), tmp_path), {})["claims"]
        assert [one["verdict"] for one in told[:2]] == [OPEN, OPEN] and "Not known of match-0." in told[1]["evidence"]
        put(tmp_path, "exact-match-0", {"signal": 0.0, "image": 0.0, "text": 0.0})
    for seed in (0, 1):
        for form in ("joint", "late"):
            put(tmp_path, f"model-match-0-{form}-{seed}", {"signal": 0.2, "image": 0.3, "text": 0.0})
    told = conclude(Grid(ImaginationConfig(), tmp_path), {})["claims"]
    assert [one["verdict"] for one in told[:2]] == [HOLDS, HOLDS]


def test_without_results_nothing_is_decided(tmp_path):
    claims = conclude(Grid(ImaginationConfig(), tmp_path), {})["claims"]
    assert [one["verdict"] for one in claims] == [OPEN] * len(claims)
