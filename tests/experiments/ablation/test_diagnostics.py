from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy.stats import binomtest

from agents.choices import Choices
from agents.network import Decision
from agents.policies import NetworkPolicy
from experiments.ablation import diagnostics
from experiments.ablation.diagnostics import AdditivePolicy, ShuffledPolicy, additive_logits, diagnose
from experiments.config import parse
from experiments.evaluate import evaluate, unseen
from experiments.train import make_envs, make_learner
from tests.agents.tiny import STAIRS
from tests.compare import differ
from unienv.actions import Actions
from unienv.adapt import make_vector
from unienv.rng import slots

TINY = ["agent.dim=16", "agent.heads=2", "agent.hidden=48", "agent.queries=2", "ppo.worlds=8", "ppo.minibatches=1"]
MATCH = ["env=match", "env.num_colours=2", "env.num_shapes=2"]
GOTO = ["env=goto", "env.size=4", "env.horizon=6"]
CHASE = ["env=chase", "env.num_objects=2", "env.num_motions=2", "env.field=2"]


def make(*arguments):
    """A learner whose untrained policy is sure of something, in float32."""
    config = parse([*TINY, "device=cpu", *arguments])
    learner = make_learner(config)
    learner.bfloat16 = False
    generator = torch.Generator().manual_seed(0)
    for head in learner.network.heads:
        torch.nn.init.orthogonal_(head.policy.weight, 10.0, generator=generator)
    return config, learner


class Scores:
    """In a network's place: log odds of yes are score(text, image), of the numbers of a match's sentence and picture.

    Both numbers are 2 * concept + time of day.
    """

    def __init__(self, world, score):
        self.encoder, self.choices, self.score = self, Choices([2]), score
        places = len(world._frames) // len(world._sentences)
        self.sentences = {row.tobytes(): i for i, row in enumerate(world._sentences)}
        self.frames = {frame.tobytes(): i // places for i, frame in enumerate(world._frames)}

    def prepare(self, observation):
        keys = {"text": self.sentences, "image": self.frames}
        return {name: torch.tensor([keys[name][row.numpy().tobytes()] for row in observation[name]]) for name in keys}

    def initial_carry(self, batch):
        return torch.zeros(batch, 1, 0)

    def __call__(self, prepared, carry, start=None):
        odds = self.score(prepared["text"], prepared["image"]).float()
        logits = torch.stack([torch.zeros_like(odds), odds], dim=1)
        return Decision(logits, odds, torch.zeros(len(odds), 2, 2), carry)


class Clock:
    """Worlds that tell the time of their episodes, which last so many steps whatever is done."""

    def __init__(self, *lengths):
        self.lengths, self.num_envs, self.resets = np.array(lengths), len(lengths), []

    def reset(self, *, seed=None, options=None):
        if options is None:
            self.time = np.zeros(self.num_envs, int)
        else:
            self.time[options["reset_mask"]] = 0
            self.resets.append(options["reset_mask"].tolist())
        return {"text": self.time.copy(), "image": -self.time}, {}

    def step(self, action):
        self.time += 1
        over = self.time == self.lengths
        self.time[over] = 0
        return {"text": self.time.copy(), "image": -self.time}, None, over, over & False, {}


def of_scores(score, *arguments):
    config = parse([*MATCH, *arguments])
    network = Scores(make_vector("match", 1, num_colours=2, num_shapes=2).world, score)

    def policy(num_worlds, seed):
        generator = torch.Generator().manual_seed(seed)
        return NetworkPolicy(network, num_worlds, generator, False, Actions(spaces.Discrete(2)))

    return config, SimpleNamespace(policy=policy, network=network)


def is_match(text, image):
    return 20.0 * (text // 2 == image // 2) - 10.0


def votes(text, image):
    return 20.0 * (text % 2 + image % 2) - 20.0


# Of a policy whose scores are known


def test_what_match_needs_both_for_is_lost_without_either():
    told = diagnose(*of_scores(is_match), episodes=2000)
    assert (told["whole"], told["episodes"]) == (pytest.approx(1.0, abs=0.01), 2048)
    for J in told["shuffle"].values():  # what is named and what is shown are independent now
        assert binomtest(round(2048 * J), 2048, 0.5).pvalue > 1e-3
    assert binomtest(round(2048 * told["emap"]), 2048, 3 / 4, alternative="greater").pvalue > 1e-3


def test_what_is_a_sum_stays_as_it_was():
    told = diagnose(*of_scores(votes, "env.kind=additive"), episodes=2000)
    assert told["emap"] == told["whole"]
    assert binomtest(round(2048 * told["whole"]), 2048, 3 / 4).pvalue > 1e-3  # sure half the time, ties the other half
    for J in told["shuffle"].values():  # one vote is left: right if the other agrees, half of ties else
        assert binomtest(round(2048 * J), 2048, 5 / 8).pvalue > 1e-3


def test_what_is_not_read_can_be_shuffled():
    told = diagnose(*of_scores(lambda text, image: 4.0 * (text % 2) - 2.0, "env.kind=text"), episodes=500)
    assert told["shuffle"]["image"] == told["emap"] == told["whole"] > 0.8
    assert told["shuffle"]["text"] < 0.65


def test_projection_by_hand():
    table = torch.randn(8, 8, generator=torch.Generator().manual_seed(0))
    network = of_scores(lambda text, image: table[text, image])[1].network
    text, image = torch.tensor([0, 5, 3, 7, 1]), torch.tensor([2, 2, 6, 0, 4])  # two worlds and three others
    odds = additive_logits(network, {"text": text, "image": image}, 2, 3)[:, 1]
    constant = np.mean([table[3, 4], table[7, 6], table[1, 0]])  # texts with the pictures of their neighbours
    for i in range(2):
        by_hand = table[text[i], [6, 0, 4]].mean() + table[[3, 7, 1], image[i]].mean() - constant
        assert float(odds[i]) == pytest.approx(float(by_hand), abs=1e-5)


def test_what_all_actions_share_is_of_no_account():
    """Logits and log-probabilities are projected to the same policy."""
    network = of_scores(lambda text, image: torch.sin(text * image * 1.0))[1].network
    prepared = {
        name: torch.randint(8, (20,), generator=torch.Generator().manual_seed(len(name))) for name in ("text", "image")
    }

    class LogProbs(Scores):
        def __init__(self): ...

        def __call__(self, prepared, carry, start=None):
            decision = network(prepared, carry)
            return decision._replace(logits=decision.logits.log_softmax(dim=-1))

    one, two = (additive_logits(net, prepared, 12, 8) for net in (network, LogProbs()))
    assert not torch.allclose(one, two, atol=0.1)
    assert torch.allclose(one.softmax(dim=-1), two.softmax(dim=-1), atol=1e-6)


# Of networks


def test_late_fusion_is_its_own_projection():
    config, learner = make(*GOTO, "agent.psi=late")
    told = diagnose(config, learner, episodes=64)
    assert told["emap"] == told["whole"]
    assert set(told["shuffle"]) == set(learner.envs.single_observation_space)


@pytest.mark.parametrize("psi", ["late", "joint"])
@pytest.mark.parametrize("env", [MATCH, GOTO, [*CHASE, "env.order=3"], ["env=describe"]])
def test_only_late_fusion_acts_as_before(env, psi):
    config, learner = make(*env, f"agent.psi={psi}")
    envs, crowd = (make_envs(config.env, count, torch.device("cpu")) for count in (50, 8))
    policy = learner.policy(50, seed=1)
    projected = AdditivePolicy(learner.policy(50, seed=1), crowd, learner.policy(8, seed=0), seed=2)
    observation, _ = envs.reset(seed=0)
    start, same = np.ones(50, bool), []
    for _ in range(8):
        action = policy.act(observation, start)
        same.append(not differ(action, projected.act(observation, start)))
        observation, _, terminated, truncated, _ = envs.step(action)
        start = terminated | truncated
    assert all(same) == (psi == "late")


@pytest.mark.parametrize("psi, same", [("late", True), ("joint", False)])
@pytest.mark.parametrize("env", [MATCH, [*CHASE, "env.order=3"], ["env=describe"]])
def test_logits_are_projected(env, psi, same):
    _, learner = make(*env, f"agent.psi={psi}")
    observation, _ = learner.envs.reset(seed=0)
    prepared = learner.network.encoder.prepare({name: torch.as_tensor(value) for name, value in observation.items()})
    with torch.no_grad():
        logits = learner.network(prepared, learner.network.initial_carry(8)).logits[:3]
        projected = additive_logits(learner.network, prepared, 3, 5)
    assert logits.std() > 0.1
    assert torch.allclose(logits, projected, atol=1e-4) == same


@pytest.mark.parametrize("name, hidden", [("text", "image"), ("image", "text")])
def test_one_modality_is_all_that_its_agent_needs(name, hidden):
    told = diagnose(*make(*GOTO, f"agent.psi={name}"), episodes=64)
    assert told["shuffle"][hidden] == told["emap"] == told["whole"]
    assert told["shuffle"][name] != told["whole"]


def test_other_worlds_take_the_same_actions_and_start_together():
    """In stairs all episodes are alike but for the actions, so that what is lent is what was there."""
    told = diagnose(*make(f"env={STAIRS}", "agent.psi=joint"), episodes=200)
    assert set(told["shuffle"].values()) == {told["whole"]}


def test_other_episodes_begin_with_those_they_are_lent_to():
    seen = []

    class Spy:
        def act(self, observation, start):
            seen.append({name: value.tolist() for name, value in observation.items()})
            return np.zeros(3, int)

    others, own = Clock(2, 3, 5), Clock(3, 3, 3)
    policy = ShuffledPolicy(Spy(), "text", others, seed=0)
    observation, _ = own.reset()
    start = np.ones(3, bool)
    for _ in range(5):
        observation, _, start, _, _ = own.step(policy.act(observation, start))
    assert [one["text"] for one in seen] == [[0, 0, 0], [1, 1, 1], [0, 2, 2], [0, 0, 0], [1, 1, 1]]
    assert [one["image"] for one in seen] == [[-t] * 3 for t in (0, 1, 2, 0, 1)]
    assert others.resets == [[True, False, True]]  # the second had just begun anew


def test_a_policy_with_memory_has_no_projection():
    told = diagnose(*make(*GOTO, "agent.memory=gru"), episodes=64)
    assert told["emap"] is None and len(set(told["shuffle"].values()) - {told["whole"]}) == 2


# How it is measured


def test_whole_is_what_an_evaluation_measures():
    config, learner = make(*GOTO, "episodes=100", "seed=3")
    assert diagnose(config, learner, episodes=100)["whole"] == evaluate(config, learner)["J"]


def test_it_is_repeatable_and_leaves_the_learner_as_it_was():
    (config, one), (_, two) = make(*GOTO), make(*GOTO)
    told = diagnose(config, one, episodes=64)
    assert told == diagnose(config, one, episodes=64)
    assert one.update() == two.update()
    config.seed += 1
    assert diagnose(config, two, episodes=64)["shuffle"] != told["shuffle"]


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_what_is_lent_was_neither_trained_nor_measured_on(monkeypatch, seed):
    made = []

    def note(*arguments):
        made.append(real(*arguments))
        return made[-1]

    real = diagnostics.make_envs
    monkeypatch.setattr(diagnostics, "make_envs", note)
    config, learner = make(*MATCH, f"seed={seed}")
    diagnose(config, learner, episodes=64)
    measured, others, crowd = (set(envs.snapshot()["slots"].tolist()) for envs in made)
    assert len(measured) == len(others) == 64 and crowd < others
    assert others.isdisjoint(measured | set(learner.envs.snapshot()["slots"].tolist()))
    assert measured == set(slots(np.arange(64) + unseen(seed)).tolist())


def test_a_projection_meets_new_worlds_at_every_step():
    _, learner = make(*MATCH)
    envs, crowd = (make_vector("match", count, num_colours=2, num_shapes=2) for count in (2, 4))
    policy = AdditivePolicy(learner.policy(2, seed=0), crowd, learner.policy(4, seed=0), seed=5)
    observation, _ = envs.reset(seed=0)
    seen = [policy.seen["image"].copy()]
    for _ in range(3):
        policy.act(observation, np.ones(2, bool))
        seen.append(policy.seen["image"].copy())
    assert len({one.tobytes() for one in seen}) == 4


def test_the_crowd_does_not_draw_what_the_agent_draws(monkeypatch):
    config, learner = make(*GOTO)
    policy, seeds = learner.policy, []

    def noted(num_worlds, seed):
        seeds.append((num_worlds, seed))
        return policy(num_worlds, seed=seed)

    monkeypatch.setattr(learner, "policy", noted)
    diagnose(config, learner, episodes=64)
    (crowd,) = (seed for count, seed in seeds if count == diagnostics._CROWD)
    assert crowd not in {seed for count, seed in seeds if count != diagnostics._CROWD}
