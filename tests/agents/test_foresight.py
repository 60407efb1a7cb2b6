import copy
import math

import pytest
import torch
from torch import nn

from agents.choices import Choices
from agents.foresight import feedback_loss, foresee
from agents.play import Play
from tests.agents.tiny import STAIRS, make_learner, small


def test_the_loss_is_the_log_loss_of_both_kinds_of_feedback_of_the_action_taken():
    log_odds = torch.tensor([[2.0, -1.0], [3.0, 0.5]])  # (B, reward or end)
    told = [(2.0, True), (-1.0, False)], [(3.0, False), (0.5, True)]
    expected = sum(math.log1p(math.exp(-s if yes else s)) for step in told for s, yes in step) / 2
    loss = feedback_loss(log_odds, torch.tensor([1.0, -1.0]), torch.tensor([False, True]))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_shares_of_a_reward_are_foreseen_by_their_mean():
    rewards, never = torch.tensor([0.2, 0.9, 0.4]), torch.zeros(3, dtype=torch.bool)
    losses = {p: float(feedback_loss(torch.tensor([[p, 0.1]] * 3).logit(), rewards, never)) for p in (0.4, 0.5, 0.6)}
    assert min(losses, key=lambda p: losses[p]) == 0.5


class Book(nn.Module):
    """In a network's place: log odds of rewards and ends, the same everywhere."""

    def __init__(self):
        super().__init__()
        self.evolution = None
        self.log_odds, self.choices = nn.Parameter(torch.zeros(2, 2)), Choices([2])

    def initial_carry(self, batch):
        return torch.zeros(batch, 1, 0)

    def forward(self, prepared, carry, start=None):
        from agents.network import Decision

        self.seen = prepared["text"]
        count = len(carry)
        feedback = self.log_odds.expand(count, 2, 2)
        return Decision(torch.zeros(count, 2), torch.zeros(count), feedback, carry)


def test_rare_feedback_is_seen_as_often_as_common_feedback():
    rewarded = torch.arange(4000) == 7
    play = Play({"text": torch.arange(4000)}, torch.zeros(4000, 1, dtype=torch.int64), rewarded.float(), rewarded)
    book = Book()
    optimiser = torch.optim.SGD(book.parameters(), 0.0)
    foresee(book, optimiser, play, 2, 1000, 0.0, 1.0, torch.Generator().manual_seed(0), False)
    assert len(book.seen) == 1000
    assert 400 < int((book.seen == 7).sum()) < 600


def test_predictions_come_true():
    play = Play(
        {"text": torch.zeros(64, dtype=torch.int64)},
        torch.arange(64)[:, None] % 2,
        (torch.arange(64) % 2).float(),
        torch.arange(64) % 2 == 0,
    )
    book, generator = Book(), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(book.parameters(), 0.1)
    first = foresee(book, optimiser, play, 10, 32, 0.0, 1.0, generator, False)["feedback_loss"]
    for _ in range(10):
        last = foresee(book, optimiser, play, 10, 32, 0.0, 1.0, generator, False)["feedback_loss"]
    assert first > 0.8 and last < 0.05
    assert (book.log_odds.sign() == torch.tensor([[-1.0, 1.0], [1.0, -1.0]])).all()


def test_an_agent_plays_first_and_acts_later():
    learner = make_learner(play=0.5, total_steps=16 * 4 * 8)
    before = copy.deepcopy(learner.network.state_dict())
    first = learner.update()
    assert first["steps"] == 16 * 16 and "policy_loss" not in first
    assert first["feedback_loss"] == pytest.approx(2 * math.log(2), rel=0.3)  # of two coins, nothing being known yet
    after = learner.network.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert any("feedback" in name for name in changed)
    assert not any("policy" in name or ("value" in name and "heads" in name) for name in changed)
    second = learner.update()
    assert second["steps"] == 16 * 20 and "policy_loss" in second


@pytest.mark.parametrize("total, steps", [(100, 16), (1600, 160), (10_000, 256)])
def test_play_is_no_longer_than_its_share(total, steps):
    assert make_learner(play=0.1, total_steps=total).update()["steps"] == steps


@pytest.mark.parametrize("total, updates", [(10_000, 2), (20 * 16 * 5, 2), (16 * 5, 1)])
def test_play_draws_every_step_twice_on_average_and_256_an_update(total, updates, monkeypatch):
    rounds = []
    monkeypatch.setattr("agents.learner.foresee", lambda *args: rounds.append(args[3:5]) or {})
    make_learner(play=0.1, total_steps=total).update()
    assert rounds == [(updates, 256)]


def test_without_a_share_there_is_no_play():
    assert "policy_loss" in make_learner(play=0.0).update()


def test_play_counts_episodes_and_knows_their_ends():
    learner = make_learner(STAIRS, play=1.0, worlds=8)
    play, episodes = learner.collector.play(6)
    assert len(play.actions) == 48
    assert torch.equal(play.terminated, play.actions[:, 0] == 1)
    assert torch.equal(play.rewards > 0, play.actions[:, 0] == 1)
    assert len(episodes.returns) == len(episodes.lengths) > 10
    assert set(episodes.lengths) <= {1, 2, 3}


@pytest.mark.parametrize("memory", ["none", "gru"])
def test_play_is_reproducible_and_hands_over_an_empty_memory(memory):
    runs = []
    for _ in range(2):
        learner = make_learner(agent=small(memory=memory), play=0.01, total_steps=10_000, seed=3)
        told = [learner.update() for _ in range(2)]
        runs.append((told, learner.network.state_dict()))
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(a, b) for a, b in zip(runs[0][1].values(), runs[1][1].values(), strict=True))
    learner = make_learner(agent=small(memory=memory), play=1.0)
    learner.collector.play(3)
    assert not learner.collector.carry.any()


def test_a_run_stopped_during_play_goes_on_bit_by_bit(tmp_path):
    whole = make_learner(play=0.5, total_steps=1200)
    told = [whole.update() for _ in range(4)]
    first = make_learner(play=0.5, total_steps=1200)
    assert first.update() == told[0]
    first.save(tmp_path)
    second = make_learner(play=0.5, total_steps=1200)
    assert second.load(tmp_path)
    assert [second.update() for _ in range(3)] == told[1:]


def test_a_run_made_longer_does_not_play_again(tmp_path):
    short = make_learner(play=0.5, total_steps=256)
    while short.steps < 256:
        told = short.update()
    assert "policy_loss" in told
    short.save(tmp_path)
    longer = make_learner(play=0.5, total_steps=25_600)
    assert longer.load(tmp_path)
    assert "policy_loss" in longer.update()


def test_actions_are_numbered_from_the_spaces_start():
    import gymnasium as gym
    from gymnasium import spaces

    class Shifted(gym.ActionWrapper):
        """Stairs whose actions are 3 and 4."""

        def __init__(self):
            super().__init__(gym.make("TestStairs-v0"))
            self.action_space = spaces.Discrete(2, start=3)

        def action(self, action):
            assert action in (3, 4)
            return action - 3

    gym.register("TestShifted-v0", Shifted)
    try:
        learner = make_learner("TestShifted-v0", worlds=4, minibatches=2)
        play, _ = learner.collector.play(3)
        rollout, _ = learner.collector.collect(3)
        assert set(play.actions.flatten().tolist()) | set(rollout.actions.flatten().tolist()) == {0, 1}
        assert set(learner.policy(4, 0).act({k: v for k, v in learner.envs.reset()[0].items()}, [True] * 4)) <= {3, 4}
    finally:
        del gym.registry["TestShifted-v0"]
