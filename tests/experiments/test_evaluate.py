from contextlib import closing

import numpy as np
import pytest
from scipy.stats import binomtest

from experiments import evaluate as evaluation
from experiments.config import parse
from experiments.evaluate import evaluate, hardware, unseen, versions, watch
from experiments.train import make_learner
from unienv.adapt import make_vector
from unienv.rng import slots

TINY = ["agent.dim=16", "agent.heads=2", "agent.hidden=32", "agent.queries=2", "ppo.worlds=8", "ppo.minibatches=1"]
STAIRS = "env=tests.agents.tiny:TestStairs-v0"


def make(*arguments):
    config = parse([*TINY, "device=cpu", *arguments])
    return config, make_learner(config)


def test_anchors_of_match():
    summary = evaluate(*make("episodes=2000", "env.kind=additive", "env.coupling=0.5"))
    chance, oracle = summary["anchors"]["random"], summary["anchors"]["oracle"]
    assert binomtest(round(2048 * chance["success"]), 2048, 0.5).pvalue > 1e-3
    # the answer is the joint one half the time; otherwise two votes tie half the time, and only ties are unsure
    best = np.mean([max(p, 1 - p) for p in (0.5 * j + 0.25 * votes for j in (0, 1) for votes in (0, 1, 1, 2))])
    assert binomtest(round(2048 * oracle["success"]), 2048, best).pvalue > 1e-3
    assert (chance["episodes"], summary["episodes"], chance["length"]) == (2048, 2048, 1.0)  # 64 slots of 32
    assert summary["nonseparability"] == pytest.approx(
        make("env.coupling=0.5", "env.kind=additive")[1].envs.world.nonseparability()
    )


def test_environments_without_an_oracle_have_one_anchor():
    summary = evaluate(*make(STAIRS, "episodes=40"))
    assert list(summary["anchors"]) == ["random"] and summary["nonseparability"] is None
    # chance acts with probability 1/2 at each of three steps: J = sum_t (gamma/2)^(t-1) t / 2, success = 7/8
    few, gamma = summary["anchors"]["random"], summary["gamma"]
    assert few["episodes"] == 40
    assert (
        abs(few["J"] - sum((gamma / 2) ** t * (t + 1) / 2 for t in range(3))) < 4 * (few["J_high"] - few["J_low"]) / 4
    )
    assert binomtest(round(40 * few["success"]), 40, 7 / 8).pvalue > 1e-3


@pytest.mark.parametrize("env, split", [("manual", "train"), ("manual", "all"), ("match", None)])
def test_what_was_held_out_is_measured_too(env, split):
    """Chance and oracle know no split; a held-out figure is of other episodes than the first."""
    config, learner = make("episodes=64", f"env={env}", *([f"env.split={split}"] if split else []))
    summary = evaluate(config, learner)
    assert (summary["held_out"] is not None) == (split == "train")
    if split == "train":
        assert summary["held_out"]["episodes"] == 64 and set(summary["held_out"]["anchors"]) == {"random", "oracle"}
        config.env["split"] = "test"
        assert evaluate(config, learner)["J"] == summary["held_out"]["J"]


def test_an_evaluation_is_repeatable_and_follows_the_seed():
    config, learner = make("episodes=64", "env=goto", "env.size=4")
    one, same = evaluate(config, learner), evaluate(config, learner)
    assert one == same
    config.seed += 1
    assert evaluate(config, learner)["anchors"]["random"] != one["anchors"]["random"]


def test_an_evaluation_leaves_the_learner_as_it_was():
    (config, one), (_, two) = make("episodes=8"), make("episodes=8")
    evaluate(config, one)
    assert one.update() == two.update()


def test_evaluations_of_other_seeds_are_of_other_episodes():
    """Else what chance does to an evaluation is common to all seeds, and no interval over seeds tells of it."""
    config, learner = make("episodes=64", "env=goto", "env.size=4")
    means = set()
    for config.seed in range(5):
        means.add(evaluate(config, learner)["anchors"]["oracle"]["J"])
    assert len(means) == 5
    firsts = [slots(np.arange(evaluation.SLOTS) + unseen(seed)) for seed in range(5)]
    assert len(np.unique(np.concatenate(firsts))) == 5 * evaluation.SLOTS


@pytest.mark.parametrize("seed, worlds", [(0, 8), (1, 8), (1024, 8), (1024, 2048), (2**31 - 1, 8)])
def test_worlds_of_an_evaluation_are_not_trained_on(monkeypatch, seed, worlds):
    """Neither in this run nor, so that runs compare, at the seeds that another run trains from."""
    seeds = []

    def note(envs, policy, seed, **rest):
        seeds.append((seed, envs.num_envs))
        return real(envs, policy, seed=seed, **rest)

    real = evaluation.objective
    monkeypatch.setattr(evaluation, "objective", note)
    config, learner = make(f"seed={seed}", f"ppo.worlds={worlds}", "episodes=64")
    trained = set(learner.envs.snapshot()["slots"].tolist())
    evaluate(config, learner)
    first, count = seeds[0]
    assert seeds == [(first, count)] * 3  # agent and anchors meet the same worlds
    assert trained.isdisjoint(slots(np.arange(first, first + count)).tolist())


@pytest.mark.parametrize("env", ["env=match", "env=goto", STAIRS])
def test_what_is_watched_is_whole_episodes(tmp_path, env):
    config, learner = make(env, *(["env.size=4", "env.horizon=6"] if env == "env=goto" else []))
    watch(config, learner, tmp_path / "episodes.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["episodes.npz"]
    rows = dict(np.load(tmp_path / "episodes.npz"))
    assert len(rows.pop("action_names", [0] * rows["probabilities"].shape[1])) == rows["probabilities"].shape[1]
    ends = rows["action"] == -1
    assert len({len(rows[key]) for key in rows}) == 1
    assert rows["episode"].tolist() == np.concatenate([[0], np.cumsum(ends)[:-1]]).tolist()
    assert ends.sum() == rows["episode"].max() + 1 == 8
    assert np.allclose(rows["probabilities"].sum(axis=1), ~ends)
    assert (rows["probabilities"][~ends][np.arange((~ends).sum()), rows["action"][~ends]] > 0).all()
    assert (rows["reward"][ends] == 0).all() and (rows["said"][ends] == "").all()
    assert (rows["said"][~ends] != "").all()
    for episode in range(8):
        mine = rows["episode"] == episode
        assert len(set(rows["success"][mine])) == 1
        assert rows["success"][mine][0] == (rows["reward"][mine].sum() > 0)


def test_what_is_watched_is_of_the_split_that_counts(tmp_path):
    config, learner = make("env=manual", "env.split=train", "env.size=3", "env.horizon=4")
    watch(config, learner, tmp_path / "episodes.npz")
    told = np.load(tmp_path / "episodes.npz")
    firsts = told["text"][np.concatenate([[True], told["episode"][1:] != told["episode"][:-1]])]
    with closing(make_vector("manual", 1, split="test", size=3, horizon=4)) as envs:
        texts = [envs.reset(seed=unseen(config.seed) + episode)[0]["text"][0] for episode in range(len(firsts))]
    assert firsts.tolist() == [envs.vocabulary.decode(text) for text in texts]


def test_the_last_episode_to_watch_is_cut_where_frames_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.evaluate._FRAMES", 5)
    config, learner = make("env=goto", "env.size=4", "env.horizon=40", "seed=1")
    watch(config, learner, tmp_path / "episodes.npz")
    told = np.load(tmp_path / "episodes.npz")
    assert len(told["frames"]) == len(told["action"]) == 5


def test_episodes_to_watch_differ_and_repeat(tmp_path):
    config, learner = make("env=goto", "env.size=4")
    for name in ("one", "two"):
        watch(config, learner, tmp_path / f"{name}.npz")
    one, two = (np.load(tmp_path / f"{name}.npz") for name in ("one", "two"))
    assert all(np.array_equal(one[key], two[key]) for key in one.files)
    firsts = [one["frames"][one["episode"] == e][0].tobytes() for e in range(one["episode"].max() + 1)]
    assert len(set(firsts)) == len(firsts) > 1


def test_what_numbers_depend_on_is_told():
    assert {"python", "unienv", "torch", "numpy", "gymnasium", "timm", "ray"} == set(versions())
    assert all(version[0].isdigit() for version in versions().values())
    told = hardware("cpu")
    assert told["device"] == "cpu" and told["precision"] in ("bfloat16", "float32") and told["cores"] >= 1
