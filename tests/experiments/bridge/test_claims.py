import copy
import io
import math

import pytest
from rich.console import Console

from experiments.bridge.claims import FAILS, HOLDS, OPEN, claims, tell
from experiments.bridge.summary import Mean, bounds, mean
from tests.experiments.bridge.synthetic import LENGTH, H, around, make_summary, share, told

BEGINNINGS = {
    "reconstruction": "Reconstruction: more than 99.5 %",
    "samples": "Samples: more than 95 %",
    "rate": "Curve 1",
    "training": "Curve 2: KL(qbar || p) falls with training",
    "size": "Curve 2: KL(qbar || p) falls with the size",
    "gap": "Curve 3",
    "likelihood": "Likelihood",
    "scaling": "Scaling",
    "validity": "Samples: those of latent text",
    "speed": "Speed",
    "speaking": "Speaking: in describe the text head p(x|z) succeeds as often",
    "joint": "Speaking: in describe the text head p(x|z) succeeds more often",
}


def judge(summary, name):
    (found,) = (row for row in claims(summary) if row["claim"].startswith(BEGINNINGS[name]))
    return found


def changed(path, value):
    """A study in which what lies at a path of names and indices is something else."""
    study = copy.deepcopy(make_summary())
    inner = study
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return study


SLOW = ("models", 0, "tokens_per_second", "generation"), 5_000  # one claim of them fails


def verdict(name, path, value):
    return judge(changed(path, value), name)["verdict"]


def test_claims_have_three_texts_each_and_one_of_three_verdicts():
    rows = claims(changed(*SLOW))
    assert len(rows) == len(BEGINNINGS)
    assert all(set(row) == {"claim", "verdict", "evidence"} and all(row.values()) for row in rows)
    assert {row["verdict"] for row in rows} == {HOLDS, FAILS, OPEN}


@pytest.mark.parametrize("name", BEGINNINGS)
@pytest.mark.parametrize("study", [{}, {"models": 3, "curves": [], "scaling": {}, "split": None}])
def test_what_was_not_measured_is_not_decided(name, study):
    assert judge(study, name)["verdict"] == OPEN


@pytest.mark.parametrize(("value", "expected"), [(0.9985, HOLDS), (0.9955, OPEN), (0.99, FAILS)])
def test_reconstruction(value, expected):
    assert verdict("reconstruction", ("reconstruction", "accuracy", "test"), share(value, 4096)) == expected


@pytest.mark.parametrize(("value", "expected"), [(0.99, HOLDS), (0.96, OPEN), (0.9, FAILS)])
def test_samples(value, expected):
    assert verdict("samples", ("models", 0, "generation", "valid"), share(value)) == expected


@pytest.mark.parametrize(("n", "expected"), [(1000, HOLDS), (20, OPEN)])
def test_all_of_a_few_samples_prove_less_than_all_of_many(n, expected):
    assert verdict("samples", ("models", 0, "generation", "valid"), share(1.0, n)) == expected


def rates(*points, spread=0.0, latent=4):
    """Curve 1 through (information, distortion), in parts of H."""
    h = H["test"] / LENGTH
    return [
        {
            "kl": 1.0,
            "latent": latent,
            "distortion": told(d * h),
            "information": around((r - spread) * h, (r + spread) * h),
        }
        for r, d in points
    ]


@pytest.mark.parametrize(
    ("points", "spread", "expected"),
    [
        ([(0.2, 0.85), (0.8, 0.25)], 0.0, HOLDS),  # 0.55 of H at half of H
        ([(0.2, 0.95), (0.8, 0.45)], 0.0, FAILS),  # 0.70
        ([(0.2, 0.88), (0.8, 0.28)], 0.1, OPEN),  # between 0.48 and 0.68
        ([(0.6, 0.4), (0.9, 0.1)], 0.0, OPEN),  # nothing at so low a rate
        ([], 0.0, OPEN),
    ],
)
def test_rate_and_distortion_are_judged_at_half_of_the_entropy(points, spread, expected):
    study = changed(("curves", "rate_distortion"), rates(*points, spread=spread))
    assert judge(study, "rate")["verdict"] == expected


def test_the_best_curve_counts():
    both = rates((0.2, 0.95), (0.8, 0.45)) + rates((0.2, 0.85), (0.8, 0.25), latent=8)
    found = judge(changed(("curves", "rate_distortion"), both), "rate")
    assert found["verdict"] == HOLDS and "55 % of H with d = 8" in found["evidence"]


def test_without_the_entropy_there_is_no_low_rate():
    assert "H is not known" in judge(changed(("corpus", "entropy"), None), "rate")["evidence"]


def prior(*courses, slack=2.0, error=0.02):
    """Curve 2, a size for each course of lower bounds."""
    return [
        {
            "width": 32 * 2**i,
            "points": [{"flops": 1e9 * (k + 1), "matching": around(x, x + slack, error)} for k, x in enumerate(course)],
        }
        for i, course in enumerate(courses)
    ]


@pytest.mark.parametrize(
    ("courses", "error", "training", "size"),
    [
        (([4.0, 2.0], [3.0, 1.5]), 0.02, HOLDS, HOLDS),  # bounds that overlap by far, yet as loose on both sides
        (([4.0, 2.0], [3.0, 2.5]), 0.02, HOLDS, FAILS),
        (([4.0, 2.0], [3.0, 3.5]), 0.02, FAILS, FAILS),
        (([4.0, 2.0], [3.0, 1.9]), 0.2, HOLDS, OPEN),
        (([4.0], [3.0]), 0.02, OPEN, HOLDS),
    ],
)
def test_the_prior_falls(courses, error, training, size):
    study = changed(("curves", "prior"), prior(*courses, error=error))
    assert (judge(study, "training")["verdict"], judge(study, "size")["verdict"]) == (training, size)


@pytest.mark.parametrize(("value", "expected"), [(0.3, OPEN), (0.525, OPEN), (0.9, FAILS)])
def test_the_gap_is_judged_by_the_distance(value, expected):
    """It is 9.31 - 7.21 = 2.1 nats, a quarter of which is 0.525. The gap is known to be no less, never no more."""
    assert verdict("gap", ("curves", "gap", "total"), told(value)) == expected


def test_a_gap_without_a_distance_is_not_judged():
    found = judge(changed(("models", 1, "nats", "test"), told(9.3)), "gap")
    assert found["verdict"] == OPEN and "none to compare with" in found["evidence"]


@pytest.mark.parametrize(("kind", "value", "expected"), [
    ("at most", 6.9, HOLDS), ("at most", 7.6, OPEN), ("at most", 8.9, OPEN),  # a bound from above refutes nothing
    ("exact", 6.9, HOLDS), ("exact", 7.2, OPEN), ("exact", 8.9, FAILS),
])  # fmt: skip
def test_likelihood(kind, value, expected):
    study = changed(("models", 0, "nats", "test"), told(value, 0.05))
    study["models"][0]["kind"] = kind
    assert judge(study, "likelihood")["verdict"] == expected


@pytest.mark.parametrize(("value", "expected"), [(0.95, HOLDS), (1.41, OPEN), (1.6, FAILS)])
def test_scaling_compares_distances(value, expected):
    """Of the largest latent model, where the smallest is 0.51 above the autoregressive one and that comes to 0.893."""
    assert verdict("scaling", ("scaling", 7, "nats"), told(value, 0.006)) == expected


@pytest.mark.parametrize(("value", "expected"), [(0.998, HOLDS), (0.98, OPEN), (0.9, FAILS)])
def test_equal_validity(value, expected):
    assert verdict("validity", ("models", 0, "generation", "valid"), share(value)) == expected


@pytest.mark.parametrize(("value", "expected"), [(20_000, HOLDS), (10_000, OPEN), (5_000, FAILS), (0, OPEN)])
def test_speed(value, expected):
    assert verdict("speed", ("models", 0, "tokens_per_second", "generation"), value) == expected


@pytest.mark.parametrize(
    ("value", "speaking", "joint"),
    [(0.97, HOLDS, HOLDS), (0.93, OPEN, HOLDS), (0.5, FAILS, OPEN), (0.4, FAILS, FAILS)],
)
def test_speaking(value, speaking, joint):
    study = changed(("speaker", 0, "success"), share(value, 1000))
    assert (judge(study, "speaking")["verdict"], judge(study, "joint")["verdict"]) == (speaking, joint)


def test_the_interval_of_a_share_is_wilsons():
    low, high = Mean(0.9, math.sqrt(0.9 * 0.1 / 100), 100).share_bounds
    assert (low, high) == pytest.approx((0.8256, 0.9448), abs=1e-3)
    assert Mean(1.0, 0.0, 100).share_bounds == pytest.approx((0.9630, 1.0), abs=1e-3)
    assert Mean(0.9, 0.1, 10_000).share_bounds[0] < 0.65  # rows that are alike: the error counts, not n
    assert Mean(0.9).share_bounds == (0.9, 0.9)


def test_means_are_read_from_numbers_and_objects_alone():
    assert mean({"a": {"value": 1, "error": None}}, "a") == Mean(1.0)
    assert mean({"a": 2}, "a") == Mean(2.0)
    assert mean({"a": True}, "a") is mean({"a": {"value": "1"}}, "a") is mean([], "a") is mean(3, "a") is None
    assert mean({"value": math.nan, "error": 1.0}) is None
    one_sided = bounds({"lower": None, "upper": 3.0})
    assert one_sided and one_sided.ends == (3.0, 3.0)
    assert bounds({"lower": None}) is None


def printed(study, width=120):
    text = io.StringIO()
    tell(study, Console(file=text, width=width))
    return text.getvalue()


def test_the_terminal_is_told():
    said = printed(changed(*SLOW) | {"failed": {"gap": "out of [red]memory"}})
    for text in ("\u2264 8.94", "412,000", "96.8", "does not hold", "failed: gap: out of [red]memory"):
        assert text in said
    assert max(map(len, said.splitlines())) <= 120


def test_names_with_markup_are_printed_as_they_are():
    rows = [{"claim": "[bold]x[/oops]", "verdict": "[red]", "evidence": "[/]"}]
    assert all(text in printed({"claims": rows}) for text in ("[bold]x[/oops]", "[red]", "[/]"))


@pytest.mark.parametrize("study", [{}, {"models": None, "claims": 3, "failed": []}])
def test_an_empty_study_can_be_told(study):
    assert "not measured" in printed(study)
