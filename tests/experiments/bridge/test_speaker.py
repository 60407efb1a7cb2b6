import json
import math

import pytest
import torch

from encoders.text.heads import TextHead
from experiments.bridge.speaker import _HELD_OUT, State, _derived, _seeds, evaluate, meet, train_speaker
from unienv.registry import make_world

SCENE = {"size": 2, "num_colours": 2, "num_shapes": 2}


def world(**scene):
    return make_world("describe", backend="torch", **scene)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Knowing(TextHead):
    """Names either candidate at random; `apart` draws which one anew for each word."""

    def __init__(self, met, apart):
        super().__init__()
        self.met, self.apart = met, apart

    def loss(self, state, x, generator):
        raise NotImplementedError

    def log_likelihood(self, state, x, generator):
        return torch.full((len(x),), -math.log(2.0))

    def sample(self, state, generator):
        coins = torch.randint(2, (len(state), 2 if self.apart else 1), generator=generator)
        return torch.where(coins == 1, self.met.meant, self.met.other)


def test_the_other_candidate_has_the_colour_of_the_text_and_another_name():
    scene = world()
    met = meet(scene, torch.arange(500))
    assert met.judge(met.meant).all() and not met.judge(met.other).any()
    assert (met.meant[:, 0] != met.other[:, 0]).all()  # two shapes of one colour
    described = scene.vocabulary.decode(met.other[0].tolist()).split()
    assert len(described) == 2 and described[1].isdigit()
    same_row = (met.meant[:, 1] == met.other[:, 1]).double().mean().item()
    assert same_row == pytest.approx(1 / 5, abs=0.06)


@pytest.mark.parametrize("apart, expected", [(False, "best"), (True, "word_by_word")])
def test_what_is_derived_is_what_the_world_says_to_a_speaker_that_knows_both_candidates(apart, expected):
    scene, episodes = world(), 2000
    met = meet(scene, _HELD_OUT + torch.arange(episodes))
    found = evaluate(scene, State(scene), Knowing(met, apart), episodes, seeded())
    derived = _derived(scene)[expected]
    for name in ("consistent", "success"):
        assert found[name]["value"] == pytest.approx(derived[name], abs=0.04)
        assert found[name]["n"] == episodes
    assert found["nats"]["value"] == pytest.approx(math.log(2.0))


def test_episodes_of_training_are_not_those_of_the_evaluation():
    seeds = next(_seeds(1000, seeded()))
    assert ((seeds >= 0) & (seeds < _HELD_OUT)).all() and len(seeds.unique()) == 1000


def test_a_short_training_tells_plain_data_that_can_be_repeated():
    told = [train_speaker("words", 3, seeded(), batch=8, episodes=16, parameters=30_000, **SCENE) for _ in range(2)]
    seconds = [result.pop("seconds") for result in told]
    assert seconds[0].keys() == {"pretraining", "training", "evaluation"}
    assert json.dumps(told[0]) == json.dumps(told[1])
    assert told[0]["head"] == "words" and told[0]["kind"] == "exact" and told[0]["steps"] == 3
    assert abs(told[0]["parameters"] - 30_000) < 0.05 * 30_000
    assert told[0]["success"].keys() == {"value", "error", "n"}


def test_words_are_learned_where_there_is_little_to_see():
    found = train_speaker("words", 250, seeded(), batch=64, lr=3e-3, episodes=500, parameters=30_000, **SCENE)
    assert found["nats"]["value"] < found["word_by_word"]["nats"] + 0.15
    assert found["consistent"]["value"] > found["word_by_word"]["consistent"] - 0.1


def test_an_unknown_head_is_told_in_one_line():
    with pytest.raises(ValueError, match=r"autoregressive") as unknown:
        train_speaker("autoregresive", 1, seeded())
    assert "\n" not in str(unknown.value)
