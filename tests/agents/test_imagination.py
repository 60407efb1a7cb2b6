import pytest
import torch

from agents.imagination import imagine
from agents.network import Decision
from agents.ppo import PPOConfig, improve
from agents.rollout import Collector
from tests.agents.tiny import STAIRS, Reader, make_learner, small
from tests.compare import differ
from unienv.adapt import make_vector

SURE = 100.0  # log odds


class Stairs(Reader):
    """In a network's place, one that knows the rules of Stairs: the word goes up by 1, action 1 is rewarded and ends.

    As nothing but an end cuts an imagined episode, it foresees one after the third step as well.
    """

    def __init__(self, log_odds=0.0):
        super().__init__(log_odds)
        self.evolution = Upwards()

    def __call__(self, prepared, carry, start=None):
        decision = super().__call__(prepared, carry, start)
        words = prepared["text"][:, 0]
        reward = torch.tensor([-SURE, SURE]).expand(len(words), 2)
        end = torch.where((words == 2)[:, None], SURE, reward)
        return decision._replace(feedback=torch.stack([reward, end], dim=1), latents={"text": words})


class Upwards:
    """In an evolution's place: both words go up by 1."""

    def codes(self, prepared):
        return {"text": prepared["text"].long()}

    def prepared(self, codes):
        return {"text": codes["text"]}

    def __call__(self, latents, features, actions, codes):
        return {"text": SURE * torch.nn.functional.one_hot(codes["text"] + 1, 10).float()}


def dream(collector, real, num_steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    where = collector.prepared, collector.carry, collector.start
    return imagine(collector.network, real, *where, num_steps, generator)


def known(log_odds, worlds=4, steps=3):
    """A collector in Stairs that has made its first `steps` steps, and these."""
    collector = Collector(make_vector(STAIRS, worlds), Stairs(log_odds), torch.Generator().manual_seed(0), 0)
    return collector, collector.collect(steps)[0]


def learned(env="goto", steps=5, seed=0, **shape):
    """A learner with a world model, and its first steps."""
    parameters = {"size": 3, "num_colours": 2, "num_shapes": 2, "horizon": 4} if env == "goto" else {}
    learner = make_learner(env, seed, small(imagine=1, **shape), parameters=parameters)
    return learner, learner.collector.collect(steps)[0]


def read(prepared):
    """Words and patches at their places."""
    return {name: of.items[of.which] for name, of in prepared.items()}


# ----------------------------------------------------------------------------- against known dynamics


@pytest.mark.parametrize("log_odds, length", [(-SURE, 3), (SURE, 1)])
def test_who_knows_the_world_dreams_what_happens(log_odds, length):
    """Nobody acts, or everybody does: what is imagined is what the worlds do next."""
    collector, real = known(log_odds, steps=4)
    dreamt = dream(collector, real, 9)
    happened, _ = collector.collect(9)
    for name in ("start", "carry", "actions", "log_probs", "values"):
        assert torch.equal(getattr(dreamt, name), getattr(happened, name)), name
    assert torch.equal(dreamt.observations["text"], happened.observations["text"].long())
    assert torch.equal(dreamt.rewards > 0, happened.rewards > 0)
    assert torch.equal(dreamt.terminated, happened.terminated | happened.truncated)
    assert not dreamt.truncated.any()
    going_on = ~dreamt.terminated
    assert torch.equal(dreamt.next_values[going_on], happened.next_values[going_on])
    assert int(dreamt.terminated[:, 0].sum()) == 9 // length


def test_columns_of_a_dream_tell_one_story():
    """Mixed actions against the rules of the world, and memory that is kept within episodes alone."""
    collector, real = known(-1.0, worlds=6, steps=6)
    dreamt = dream(collector, real, 40)
    words, actions = dreamt.observations["text"][:, 0].view(40, 6), dreamt.actions[..., 0]
    over = (actions == 1) | (words == 2)
    assert torch.equal(dreamt.terminated, over)
    assert torch.equal(words[1:], torch.where(over[:-1], 0, words[:-1] + 1))
    assert torch.equal(dreamt.start[1:], over[:-1])
    assert torch.equal(dreamt.values, 101.0 * words)
    assert torch.equal(dreamt.next_values[:-1], dreamt.values[1:])
    worth = real.rewards[real.rewards > 0].mean()
    torch.testing.assert_close(dreamt.rewards, worth * actions)
    assert 1.0 < worth < 3.0 and 0 < int(actions.sum()) < 240
    log_odds = torch.tensor([0.0, -1.0]).log_softmax(dim=0)
    assert torch.equal(dreamt.log_probs, log_odds[actions])


def test_where_nothing_was_ever_rewarded_a_reward_is_worth_one():
    collector, real = known(-SURE)
    assert not real.rewards.any()
    collector.network.logits = torch.tensor([0.0, SURE])
    assert torch.equal(dream(collector, real, 2).rewards, torch.ones(2, 4))


# ----------------------------------------------------------------------------- with a network


@pytest.mark.parametrize("psi", ["joint", "late", "text", "image"])
@pytest.mark.parametrize("memory", ["none", "gru"])
def test_a_dream_is_a_rollout(psi, memory):
    learner, real = learned(psi=psi, memory=memory)
    dreamt = dream(learner.collector, real, 7)
    assert dreamt.observations.keys() == real.observations.keys()
    for name, of in dreamt.observations.items():
        assert of.which.shape == (7 * 16, *real.observations[name].which.shape[1:])
        assert of.items.dtype == real.observations[name].items.dtype
    for name in set(real._fields) - {"observations", "carry", "following"}:
        one, two = getattr(dreamt, name), getattr(real, name)
        assert one.shape == (7, *two.shape[1:]) and one.dtype == two.dtype, name
        assert not one.requires_grad
    assert torch.equal(dreamt.carry, learner.collector.carry) and not dreamt.following


@pytest.mark.parametrize("psi", ["joint", "late"])
@pytest.mark.parametrize("memory", ["none", "gru"])
def test_log_probs_and_values_are_those_that_an_unroll_finds(psi, memory):
    learner, real = learned(psi=psi, memory=memory)
    dreamt = dream(learner.collector, real, 11)
    assert dreamt.start.any() and dreamt.carry.any() == (memory == "gru")
    unrolled = learner.network(dreamt.observations, dreamt.carry, dreamt.start)
    log_probs = unrolled.logits.log_softmax(dim=-1).gather(1, dreamt.actions.flatten(0, 1))[:, 0]
    torch.testing.assert_close(log_probs, dreamt.log_probs.flatten())
    torch.testing.assert_close(unrolled.value, dreamt.values.flatten())


@torch.no_grad()
def test_episodes_begin_with_first_observations_of_what_was_real():
    learner, real = learned(seed=1)
    dreamt = dream(learner.collector, real, 12)
    assert torch.equal(dreamt.start[1:], dreamt.terminated[:-1]) and torch.equal(
        dreamt.start[0], learner.collector.start
    )
    firsts = {str(row.tolist()) for row in read(real.observations)["image"][real.start.flatten()]}
    others = {str(row.tolist()) for row in read(real.observations)["image"][~real.start.flatten()]}
    begun = {str(row.tolist()) for row in read(dreamt.observations)["image"][16:][dreamt.start[1:].flatten()]}
    assert len(begun) > 5 and begun <= firsts and not begun <= others


def test_a_dream_sets_out_from_where_the_worlds_are():
    learner, real = learned()
    dreamt, now = dream(learner.collector, real, 2), read(learner.collector.prepared)
    assert all(torch.equal(of[:16], now[name]) for name, of in read(dreamt.observations).items())


def test_where_no_episode_began_others_begin_as_the_dream_did():
    learner, real = learned(env="goto", steps=1)
    real = real._replace(start=torch.zeros_like(real.start))
    dreamt = dream(learner.collector, real, 12)
    now = {str(row.tolist()) for row in read(learner.collector.prepared)["image"]}
    begun = {str(row.tolist()) for row in read(dreamt.observations)["image"][dreamt.start.flatten()]}
    assert begun and begun <= now


@torch.no_grad()
@pytest.mark.parametrize("high, worth", [(0.5, 1.0), (3.0, 3.0)])
def test_rewards_are_as_foreseen_and_those_above_1_as_large_as_on_average(high, worth):
    learner, real = learned()
    real = real._replace(rewards=torch.where(real.rewards > 0, high, 0.0))
    network = learner.network
    feedback = network.heads[0].feedback
    torch.nn.init.zeros_(feedback.weight)
    chance = torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5], [0.05, 0.15, 0.25, 0.35, 0.45]])
    feedback.bias.copy_(chance.logit().flatten())
    dreamt = dream(learner.collector, real, 100)
    actions = dreamt.actions[..., 0]
    torch.testing.assert_close(dreamt.rewards, worth * chance[0][actions])
    ended = torch.stack([dreamt.terminated[actions == k].float().mean() for k in range(5)])
    torch.testing.assert_close(ended, chance[1], atol=0.08, rtol=0.0)


def test_rewards_below_0_are_not_imagined():
    learner, real = learned()
    with pytest.raises(ValueError, match=r"^agent\.imagine: imagined rollouts need rewards from 0 on, and one is -1; "):
        dream(learner.collector, real._replace(rewards=real.rewards - 1.0), 3)


@pytest.mark.parametrize("memory", ["none", "gru"])
def test_dreams_hang_on_their_generator_and_leave_worlds_and_network_alone(memory):
    learner, real = learned(memory=memory)
    collector = learner.collector
    saved = {name: value.clone() for name, value in collector.tensors().items()}
    weights = {name: value.clone() for name, value in learner.network.state_dict().items()}
    drawn, prepared = learner.actions.get_state(), collector.prepared
    torch.manual_seed(3)
    one, equal, other = (dream(collector, real, 6, seed) for seed in (0, 0, 1))
    assert (
        differ(*(x._replace(observations=read(x.observations))._asdict() | {"following": {}} for x in (one, equal)))
        == ""
    )
    assert not torch.equal(one.actions, other.actions)
    assert differ(saved, collector.tensors()) == "" and collector.prepared is prepared
    assert differ(weights, learner.network.state_dict()) == ""
    assert torch.equal(drawn, learner.actions.get_state())


# ----------------------------------------------------------------------------- learning from it


@pytest.mark.parametrize("horizon", [3, 4])
def test_a_learners_dream_knows_which_worlds_are_at_a_new_beginning(monkeypatch, horizon):
    """Nobody acts: after three steps all worlds stand at a new beginning, after four at their second step."""
    dreams = []
    monkeypatch.setattr("agents.learner.imagine", lambda *args: dreams.append(imagine(*args)) or dreams[-1])
    learner = make_learner(STAIRS, agent=small(memory="gru", imagine=1), horizon=horizon)
    with torch.no_grad():
        learner.network.heads[0].policy.bias.copy_(torch.tensor([SURE, -SURE]))
    learner.update()
    (dreamt,) = dreams
    assert dreamt.carry.any() and dreamt.start[0].tolist() == [horizon == 3] * 16


def test_how_worlds_evolve_is_learned_from_worlds_alone():
    learner, real = learned()
    for _ in range(2):
        learner.update()
    before = {name: value.clone() for name, value in learner.network.named_parameters()}
    learner._imagine(real, 1.0)
    changed = {name for name, value in learner.network.named_parameters() if not torch.equal(value, before[name])}
    assert {"heads.0.policy.weight", "heads.0.value.weight", "heads.0.trunk.1.weight"} <= changed
    assert not any("evolution" in name or "feedback" in name for name in changed)


@pytest.mark.parametrize("times", [0, 1, 3])
def test_as_many_dreams_as_asked_for_follow_a_rollout(monkeypatch, times):
    spreads = []

    def note(network, optimiser, rollout, config, generator, bfloat16, spread=None):
        told = improve(network, optimiser, rollout, config, generator, bfloat16, spread)
        spreads.append((spread, config.feedback, told["spread"]))
        return told

    monkeypatch.setattr("agents.learner.improve", note)
    learner = make_learner("goto", agent=small(imagine=times), parameters={"size": 3, "horizon": 4})
    told = learner.update()
    assert told["steps"] == 64  # those of the worlds alone
    assert spreads[0] == (None, learner.ppo.feedback, told["spread"])
    assert spreads[1:] == [(told["spread"], 0.0, told["spread"])] * times


def test_advantages_are_measured_by_the_spread_that_is_told():
    moved, spreads = [], []
    for spread in (None, 1.0, 4.0):
        learner, real = learned()
        real = real._replace(rewards=real.actions[..., 0].float())
        network = learner.network
        before = torch.cat([p.detach().flatten().clone() for p in network.parameters()])
        plain = torch.optim.SGD(network.parameters(), lr=1e-4)
        nothing = {"entropy": 0.0, "value": 0.0, "feedback": 0.0, "evolution": 0.0}
        config = PPOConfig(**nothing, epochs=1, minibatches=1, max_grad_norm=1e9)
        told = improve(network, plain, real, config, torch.Generator().manual_seed(0), False, spread)
        moved.append(torch.cat([p.detach().flatten() for p in network.parameters()]) - before)
        spreads.append(told["spread"])
    own, one, four = (float(change.norm()) for change in moved)
    assert spreads[1:] == [1.0, 4.0] and spreads[0] not in (0.0, 1.0, 4.0)
    assert one == pytest.approx(4 * four, rel=0.01) and one == pytest.approx(spreads[0] * own, rel=0.01)


def test_decisions_without_a_world_model_tell_it_nothing():
    decision = Decision(*torch.zeros(4, 1))
    assert not decision.latents and not decision.features
