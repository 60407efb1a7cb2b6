import importlib
import time

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from encoders.size import count_parameters
from experiments.benchmark import compiled, learner, update
from experiments.benchmark.judge import WINDOW, Judge
from experiments.benchmark.peers import cleanrl, settings
from experiments.benchmark.peers.reader import ActorCritic, width_of
from experiments.benchmark.timing import Timing

SPACE = spaces.Dict({"text": spaces.Box(0, 9, (4,), np.int32), "image": spaces.Box(0, 255, (48, 64, 3), np.uint8)})


class Brief(Judge):
    """Says stop once some env steps are made."""

    def __init__(self, steps):
        super().__init__(0.99, 600.0)
        self.enough, self.episodes = steps, 0

    def over(self, wins, steps):
        wins = list(wins)
        self.episodes += len(wins)
        return super().over(wins, steps) or steps >= self.enough


def observations(batch):
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(10, (batch, 4), generator=generator)
    image = torch.randint(256, (batch, 48, 64, 3), generator=generator, dtype=torch.uint8)
    return {"text": text, "image": image}


def test_a_judge_wants_a_full_window_of_successes_or_the_end_of_time():
    judge = Judge(0.9, 600.0)
    judge.begin()
    assert not judge.over([True] * (WINDOW - 1), 10) and not judge.reached
    assert judge.over([False], 11) and judge.reached and judge.steps == 11
    assert not judge.over([False] * 100, 12) and not judge.reached
    late = Judge(0.9, 0.01)
    late.begin()
    time.sleep(0.02)
    assert late.over([], 5) and not late.reached and late.seconds >= 0.01


def test_successes_of_an_update_are_not_taken_to_come_last():
    assert learner.spread(3, 4) == [False, True, True, True] and learner.spread(0, 0) == []
    judge = Judge(0.95, 600.0)
    judge.begin()
    assert not judge.over(learner.spread(3880, 4096), 1)  # 94.7 %
    assert judge.over(learner.spread(3900, 4096), 2)  # 95.2 %


def test_a_run_that_missed_the_threshold_is_told_and_counts_with_the_limit():
    runs = [
        learner.Run(1234, True, 50.0, 100),
        learner.Run(1234, False, 150.5, 300),
        learner.Run(1234, False, 151.0, 90),
    ]
    seconds, steps, speed = learner.rows("peer", learner.MATCH, runs)
    assert seconds["name"] == "match to 0.95, peer, 1,234 parameters, > 150 s in 2 of 3"
    assert seconds["median"] == 150.5 and seconds["least"] == 50.0 and steps["most"] == 300 and speed["least"] < 1
    assert ">" not in learner.rows("peer", learner.MATCH, runs[:1])[0]["name"]


def test_libraries_take_turns_and_one_that_is_absent_is_one_line(monkeypatch, capsys):
    order = []

    def train(world, seed, parameters, judge):
        order.append((world, seed))
        judge.begin()
        while not judge.over([True] * WINDOW, 1):
            pass
        return parameters

    monkeypatch.setattr(cleanrl, "train", train)
    monkeypatch.setattr(learner, "ours", lambda course, seed, judge: train("ours", seed, 7, judge))
    monkeypatch.setattr(learner, "_PEERS", {"here": cleanrl.__name__, "gone": "no_such_module"})
    told = learner.race(learner.MATCH, 2)
    assert order == [("ours", 0), ("match", 0), ("ours", 1), ("match", 1)] and len(told) == 6
    absent, *ended = capsys.readouterr().err.splitlines()
    assert absent == "left out: gone needs no_such_module; pip install 'unienv-lab[peers]'"
    names = ("unienv", "here")
    assert ended == [f"match, seed {s}: {name} there after 0 s, 1 env steps" for s in (0, 1) for name in names]


@pytest.mark.parametrize("world, num_actions", [("UniEnv/Match-v0", 2), ("UniEnv/Goto-v0", 5)])
def test_a_peers_network_is_as_large_as_wanted(world, num_actions):
    space = gym.make(world).observation_space
    assert isinstance(space, spaces.Dict)
    for target in (150_000, 260_000):
        network = ActorCritic(space, num_actions, width_of(space, num_actions, target))
        assert abs(count_parameters(network) - target) <= 0.02 * target
    with pytest.raises(ValueError, match="closest"):
        width_of(space, num_actions, 1000)


def test_a_peers_network_reads_word_order_and_pixels():
    network, seen = ActorCritic(SPACE, 3, 16), observations(5)
    logits, values = network(seen)
    assert logits.shape == (5, 3) and values.shape == (5,)
    for key, value in seen.items():
        assert not torch.equal(network({**seen, key: value.flip(1)})[0], logits)


def test_the_compact_ppo_learns_what_is_rewarded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, seen = ActorCritic(SPACE, 2, 32), observations(32)
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
        with torch.no_grad():
            logits, values = network(seen)
        action, over = torch.arange(32) % 2, torch.ones(32, dtype=torch.bool)
        old = logits.log_softmax(dim=1).gather(1, action[:, None])[:, 0]
        rollout = [(seen, action, old, values, action.float(), over)] * 8
        cleanrl._improve(network, optimiser, rollout, values)
        better, closer = network(seen)
    assert (better.softmax(dim=1)[:, 1] > logits.softmax(dim=1)[:, 1]).all()
    assert (closer - action).square().mean() < (values - action).square().mean()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("library", ["cleanrl", "sb3", "rllib"])
def test_a_peer_trains_until_it_is_stopped(library, monkeypatch):
    monkeypatch.setattr(settings, "HORIZON", 16)
    module = importlib.import_module(f"experiments.benchmark.peers.{library}")
    judge, random = Brief(300), torch.get_rng_state()
    parameters = module.train("match", 0, 150_000, judge)
    assert abs(parameters - 150_000) <= 0.02 * 150_000
    assert 300 <= judge.steps <= 300 + 16 * settings.WORLDS and judge.episodes >= 250 and judge.seconds > 0
    assert torch.equal(torch.get_rng_state(), random)


def test_a_stopwatch_counts_each_moment_once():
    watch = update.Stopwatch()
    inner = watch.timed("inner", lambda: time.sleep(0.02))

    def both():
        time.sleep(0.01)
        inner()
        time.sleep(0.01)

    began = time.perf_counter()
    watch.timed("outer", both)()
    assert set(watch.seconds) == {"outer: the rest", "outer: inner"}
    assert min(watch.seconds.values()) >= 0.02 and sum(watch.seconds.values()) <= time.perf_counter() - began


def test_the_stages_of_an_update_make_up_the_whole(monkeypatch):
    monkeypatch.setattr(update, "WORLDS", ("match",))
    rows = update.update(Timing(rounds=1, seconds=0.01))
    shares = {row["name"]: row["median"] for row in rows if row["unit"] == "% of it"}
    whole = shares.pop("match, whole")
    assert whole == pytest.approx(100) and sum(shares.values()) == pytest.approx(100) and min(shares.values()) > 0
    assert {"match, rollout: simulate", "match, learn: backward", "match, learn: Adam"} <= set(shares)
    assert rows[0]["unit"] == "steps/s" and rows[0]["median"] > 0


def test_compiled_training_is_timed_beside_training_as_it_is(monkeypatch):
    given = []
    monkeypatch.setattr(compiled, "WORLDS", ("match",))
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: given.append(dynamic) or function)
    rows = {row["name"]: row for row in compiled.compiled(Timing(rounds=1, seconds=0.01))}
    assert given == [True]
    fast, slow = (rows[f"match, {how}"]["median"] for how in ("compiled", "eager"))
    assert (
        rows["match"]["median"] == pytest.approx(fast / slow) and rows["match, eager: first two updates"]["median"] > 0
    )
