"""Environments of others in the study: NS estimated from samples, and kept apart from what is exact."""

import json
import string
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from encoders import probe
from experiments.ablation import claims, estimates, figures, findings, trial
from experiments.ablation import summary as read
from experiments.ablation.conclude import conclude
from experiments.ablation.plain import to_markdown
from experiments.ablation.plan import AblationConfig, Cell, Trial, run_config, trials
from experiments.ablation.trial import Grid
from experiments.config import parse
from experiments.studies import separability
from experiments.studies.separability import SeparabilityConfig
from tests.experiments.ablation.test_conclude import measured, put, result

LEVEL = f"{__name__}:Lights-v0"
OTHER = "Elsewhere-v0"


class Lights(gym.Env):
    """Two lights; the text names one, and action 1 is right where that one is lit. Episodes have one step."""

    def __init__(self):
        self.observation_space = spaces.Dict(
            mission=spaces.Text(10, charset=string.printable), image=spaces.Box(0, 255, (8, 16, 3), np.uint8)
        )
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.named, *self.lit = self.np_random.integers(2, size=3).tolist()
        image = np.zeros((8, 16, 3), np.uint8)
        image[:, :8], image[:, 8:] = (255 * lit for lit in self.lit)
        return {"mission": ("left", "right")[self.named], "image": image}, {}

    def step(self, action):
        observation, _ = self.reset()
        return observation, float(action == self.lit[self.named]), True, False, {}


gym.register("Lights-v0", entry_point=f"{__name__}:Lights")


def estimate(nats=0.2, p=0.01):
    told = {"may": ["Separability is rejected."] if p <= 0.05 else [], "may_not": ["The size."]}
    ns = {"nats": nats, "information": 0.5, "share": 0.4, "how": "estimated: psi, n = 40,000", "command": "measure it"}
    return ns | {"low": nats - 0.01, "high": nats + 0.01, "p": p, "warnings": ["A rough size."], "claims": told}


def make_summary(folder, ns, **changes):
    """Of a world with exact NS 0 and ln 2, and of an environment without oracle whose NS is estimated."""
    settings = {"psi": ["joint", "late"], "seeds": [0, 1, 2, 3, 4], "trial": ["steps=8192"]}
    config = AblationConfig(worlds=["match", OTHER], coupling=[0.0, 1.0], **settings | changes)
    for coupling in config.coupling:
        put(folder, f"ns-match-{coupling:g}", measured(coupling))
    put(folder, f"ns-{OTHER}", {"ns": ns, "ladder": None})
    for one in trials(config):
        told = result(one._replace(cell=Cell("match", 1.0)))
        if one.cell.env == OTHER:
            del told["summary"]["anchors"]["oracle"]
        put(folder, one.name, told)
    return conclude(Grid(config, folder), {})


def cells_of(summary):
    return read.cells(json.loads(json.dumps(summary)))


def test_the_ns_of_an_environment_of_others_is_estimated(monkeypatch):
    """With nets too small to find much: what is tested is that the estimate comes with all that belongs to it."""
    monkeypatch.setattr(separability, "SeparabilityConfig", partial(SeparabilityConfig, samples=1500))
    monkeypatch.setattr(
        probe, "estimate_by_psi", partial(probe.estimate_by_psi, folds=2, updates=3, batch=64, replicates=19)
    )
    config = AblationConfig(worlds=[LEVEL], psi=["joint"], seeds=[0])
    told = json.loads(json.dumps(trial.measure(run_config(config, Trial(Cell(LEVEL, None), "joint", 0)).env)))
    ns = told["ns"]
    assert told["ladder"] is None and ns["how"] == "estimated: psi, n = 1,500"
    assert ns["low"] <= ns["nats"] <= ns["high"] and 0.05 <= ns["p"] <= 1
    assert ns["claims"]["may_not"] and isinstance(ns["warnings"], list)
    again = parse(ns["command"].split()[2:], SeparabilityConfig)
    assert (again.env, again.method, again.samples) == ({"id": LEVEL}, "psi", 1500)


@pytest.mark.parametrize(("nats", "p"), [(0.2, 0.01), (0.0, 0.6), (-0.001, 1.0)])
def test_an_estimate_enters_neither_trend_nor_controls(tmp_path, nats, p):
    summary = make_summary(tmp_path, estimate(nats, p))
    json.dumps(summary, allow_nan=False)
    assert summary["trend"]["n"] == 2
    assert [control["env"] for control in summary["controls"]] == ["match"]
    assert claims.nats_of(summary["cells"][2]) is None and claims.nats_of(summary["cells"][1]) > 0
    assert summary["cells"][2]["ns"]["command"] == "measure it"
    joint = findings.joint(cells_of(summary))
    assert [cell.name for cell in joint] == ["match 1"]


def test_the_claim_about_estimates_is_of_cells_that_reject_separability(tmp_path):
    rejected = make_summary(tmp_path / "rejected", estimate())["claims"]
    assert len(rejected) == 4 and rejected[-1]["verdict"] == "holds"
    assert rejected[-1]["evidence"].startswith(f"1 of 1: {OTHER} 0.2")
    other = make_summary(tmp_path / "other", estimate(p=0.2))["claims"]
    assert other[-1]["verdict"] == "not decided" and other[-1]["evidence"] == "No such cell has a gap."


def cell_with(gap, ns, score="J", memory="none"):
    ends = dict(zip(("value", "low", "high", "p_step_down", "p_behind"), gap, strict=True))
    return {"env": OTHER, "coupling": None, "ns": ns, "gap": ends, "score": score, "memory": memory}


@pytest.mark.parametrize(
    ("gap", "may", "may_not"),
    [
        ((0.3, 0.2, 0.4, 0.03, 1.0), "joint agents earn more than late ones: gap 0.300 [0.200, 0.400] of J", None),
        ((-0.3, -0.4, -0.2, 1.0, 0.03), "joint agents earn less than late ones", None),
        ((-0.3, -0.4, -0.2, 1.0, 0.06), None, "That the forms differ here"),
        ((0.1, -0.2, 0.4, 0.4, 1.0), None, "That the forms differ here: gap 0.100 [-0.200, 0.400] of J, p = 0.4"),
    ],
)
def test_what_a_gap_allows_to_be_said(gap, may, may_not):
    told = claims.allowed(cell_with(gap, estimate()))
    assert told["may"][0] == "Separability is rejected." and "cause" in " ".join(told["may_not"])
    assert ("earn" in " ".join(told["may"])) == (may is not None) and (may or "") in " ".join(told["may"])
    assert ("differ here" in " ".join(told["may_not"])) == (may_not is not None)
    assert (may_not or "") in " ".join(told["may_not"]) and "remember" not in " ".join(told["may_not"])


def test_memory_and_a_missing_oracle_bound_what_can_be_said():
    told = claims.allowed(cell_with((0.3, 0.2, 0.4, 0.03, 1.0), estimate(), memory="gru"))["may_not"]
    assert any("agents that remember" in text for text in told) and any("not normalised" in text for text in told)
    told = claims.allowed(cell_with((0.3, 0.2, 0.4, 0.03, 1.0), estimate(), score="normalised"))
    assert not any("not normalised" in text for text in told["may_not"])
    assert claims.allowed(cell_with((0.3, 0.2, 0.4, 0.03, 1.0), {"nats": 0.6, "how": "exact"})) is None


def test_the_text_tells_an_estimate_with_interval_and_p(tmp_path):
    text = to_markdown(make_summary(tmp_path, estimate()))
    assert f"| {OTHER} | about 0.2000 [0.1900, 0.2100], p = 0.01, estimated |" in text
    assert "## What estimates of NS allow to be said" in text and "- Separability is rejected." in text
    assert "To mind:\n\n- A rough size." in text
    assert "| match 1 | 0.6931 |" in text


def test_a_study_without_estimates_does_not_speak_of_them(tmp_path):
    summary = make_summary(tmp_path, None)
    assert len(summary["claims"]) == 3 and "allow to be said" not in to_markdown(summary)
    cells = cells_of(summary)
    assert set(estimates.section(cells).values()) == {""} and estimates.finding(cells) == ""


@pytest.mark.parametrize(
    ("p", "told", "note"), [(0.01, "\u2248\u00a00.2000", "[0.1900,"), (0.3, "not detected", "0.2000 [0.1900,")]
)
def test_the_page_tells_an_estimate_as_one(tmp_path, p, told, note):
    *_, cell = cells_of(make_summary(tmp_path, estimate(p=p)))
    assert cell.ns.estimated and cell.ns.told == told and cell.ns.note.startswith(note)
    assert cell.ns.note.endswith(f"p\u00a0=\u00a0{p}, estimated: psi, n = 40,000")
    assert ("40.0\u00a0% of I" in cell.ns.note) == (p <= 0.05)  # a share of what was not found is none


def test_exact_figures_are_told_as_before(tmp_path):
    control, coupled, _ = cells_of(make_summary(tmp_path, estimate()))
    assert (control.ns.told, control.ns.note, control.ns.detected) == ("0.0000", "0.0\u00a0% of I, exact", False)
    assert coupled.ns.told == "0.6931" and coupled.ns.detected and not coupled.ns.estimated


def test_the_section_of_the_page(tmp_path):
    cells = cells_of(make_summary(tmp_path, estimate()))
    told = estimates.section(cells)
    assert f"return gap by non-separability: {OTHER} 0.20" in told["plot_estimates"]
    assert "match" not in told["plot_estimates"].partition("aria-label")[2].partition(">")[0]
    assert told["estimate_cards"].count("<h3>") == 1 and "<li>Separability is rejected.</li>" in told["estimate_cards"]
    assert "<li>A rough size.</li>" in told["estimate_cards"]
    assert "in 1 of 1 where separability is rejected." in estimates.finding(cells)
    assert OTHER not in findings.unmeasured(cells)
    assert OTHER not in figures.headline(cells, 0.05)


@pytest.mark.parametrize("normalised", [True, False])
def test_an_interval_of_ns_is_drawn(tmp_path, monkeypatch, normalised):
    """As one more line than without it, in the headline too should an environment have an oracle."""
    lines = []
    monkeypatch.setattr(figures, "_fitting", lambda draw, *_: lines.append(count_lines(draw)) or "")
    *_, cell = cells_of(make_summary(tmp_path, estimate(nats=-0.02)))
    cell = cell._replace(normalised=normalised)
    (figures.headline([cell], 0.05) if normalised else figures.estimated([cell]))
    (bars,) = lines
    assert [-0.03, -0.01] in [np.round(xs, 9).tolist() for xs in bars]


def count_lines(draw):
    """Where the lines of a drawing run, along x."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    draw(axes)
    assert axes.get_xlim()[0] < -0.03
    return [line.get_xdata() for line in axes.lines]
