import itertools

import numpy as np
import pytest
import torch

from agents.network import make_network
from agents.rollout import Collector
from agents.world_model import survey
from tests.agents.tiny import STAIRS, Reader, small
from tests.compare import differ
from unienv.adapt import make_vector


def collector(envs, network, seed=0, worlds=5):
    return Collector(envs, network, torch.Generator().manual_seed(seed), worlds)


def network_for(envs, **shape):
    torch.manual_seed(0)
    return make_network(envs.single_observation_space, envs.single_action_space, small(**shape))


def foreseer(world, worlds=6, **parameters):
    """A collector whose network learns how the world evolves."""
    envs, codebook = make_vector(world, worlds, **parameters), survey(lambda n: make_vector(world, n, **parameters))
    torch.manual_seed(0)
    spaces = envs.single_observation_space, envs.single_action_space
    return collector(envs, make_network(*spaces, small(imagine=0), codebook=codebook))


def read(prepared):
    """Observations of a rollout as they were before they were prepared."""
    text, image = (prepared[name].items[prepared[name].which] for name in ("text", "image"))
    return {"text": text, "image": image.transpose(2, 3).flatten(1, 2).flatten(2, 3)}


def test_a_truncated_step_is_followed_by_the_last_observation_of_its_own_episode():
    """Nobody acts: episodes of three steps with words 0 1 2, truncated at 3; V is the word + 100 * steps remembered."""
    rollout, episodes = collector(make_vector(STAIRS, 2), Reader(-100.0)).collect(7)
    assert rollout.values[:, 0].tolist() == [0, 101, 202, 0, 101, 202, 0]
    assert rollout.next_values[:, 0].tolist() == [101, 202, 303, 101, 202, 303, 101]
    assert rollout.truncated[:, 0].tolist() == [False, False, True, False, False, True, False]
    assert rollout.start[:, 0].tolist() == [True, False, False, True, False, False, True]
    assert not rollout.terminated.any()
    assert (episodes.lengths, episodes.returns, episodes.successes) == ([3] * 4, [0.0] * 4, [False] * 4)


def test_columns_tell_one_story():
    """Columns of mixed actions against the rules of the world, world by world, over several rollouts."""
    actor = collector(make_vector(STAIRS, 6), Reader(-1.0))
    parts = [actor.collect(steps) for steps in (1, 9, 20)]
    column = {name: torch.cat([getattr(r, name) for r, _ in parts]) for name in parts[0][0]._fields[3:-1] + ("start",)}
    column["actions"] = column["actions"][..., 0]
    words = torch.cat([r.observations["text"][:, 0].view(-1, 6) for r, _ in parts])
    log_odds = torch.tensor([0.0, -1.0]).log_softmax(dim=0)
    assert torch.equal(column["log_probs"], log_odds[column["actions"]])
    assert torch.equal(column["terminated"], column["actions"] == 1)
    assert torch.equal(column["truncated"], (words == 2) & (column["actions"] == 0))
    assert torch.equal(column["rewards"], ((words + 1) * column["actions"]).float())
    over = column["terminated"] | column["truncated"]
    assert column["start"][0].all() and torch.equal(column["start"][1:], over[:-1])
    assert torch.equal(words == 0, column["start"])
    going_on = ~over
    assert (column["next_values"][going_on] == 101.0 * (words[going_on] + 1)).all()
    expected = [  # in the order of time, then of worlds: episodes that ended, their whole length and return
        (int(words[t, n]) + 1, float(column["rewards"][t, n]), bool(column["terminated"][t, n]))
        for t, n in itertools.product(range(30), range(6))
        if over[t, n]
    ]
    told = [(e.lengths, e.returns, e.successes) for _, e in parts]
    assert [row for columns in told for row in zip(*columns, strict=True)] == expected
    assert len({row for row in expected}) > 3


def test_a_step_led_to_what_its_own_episode_shows_next():
    """In Stairs the next word and picture are one stair up, at the ends of episodes too, where others begin at once."""
    actor = foreseer(STAIRS)
    rollout, _ = actor.collect(20)
    play, _ = actor.play(20)
    grid, book = actor.network.evolution.grid, actor.network.evolution.codebook
    for seen, following in ((rollout.observations, rollout.following), (play.observations, play.following)):
        words = read(seen)["text"]
        assert torch.equal(following["text"], words.long() + 1)
        assert torch.equal(book.draw(following["image"], grid)[:, 0, 0, 0].long(), 50 * (words[:, 0].long() + 1))
        assert set(following["text"].flatten().tolist()) == {1, 2, 3}
    assert rollout.terminated.any() and rollout.truncated.any()


def test_what_a_step_led_to_is_what_is_observed_next():
    actor = foreseer("goto", size=3, num_colours=2, num_shapes=2, horizon=5)
    parts = [actor.collect(steps)[0] for steps in (4, 9)]
    for rollout in parts:
        steps = len(rollout.rewards)
        now = {n: c.unflatten(0, (steps, 6)) for n, c in actor.network.evolution.codes(rollout.observations).items()}
        following = {name: codes.unflatten(0, (steps, 6)) for name, codes in rollout.following.items()}
        going_on = ~(rollout.terminated | rollout.truncated)[:-1]
        for name in ("text", "image"):
            assert torch.equal(following[name][:-1][going_on], now[name][1:][going_on])
        assert not torch.equal(following["image"][:-1], now["image"][1:])  # others begin elsewhere
    last = actor.network.evolution.codes(actor.prepared)["image"]
    assert torch.equal(following["image"][-1][~actor.start], last[~actor.start])


def test_nobody_asks_what_a_step_led_to_without_a_world_model():
    envs = make_vector("goto", 4, size=4)
    actor = collector(envs, network_for(envs))
    assert actor.collect(3)[0].following == actor.play(3)[0].following == {}


def test_a_rollout_begins_with_the_memory_that_the_last_one_left():
    actor = collector(make_vector(STAIRS, 3), Reader(-100.0))
    first, _ = actor.collect(2)
    second, _ = actor.collect(2)
    assert first.carry.flatten().tolist() == [0.0] * 3
    assert second.carry.flatten().tolist() == [2.0] * 3
    assert first.next_values[-1].tolist() == second.values[0].tolist() == [202.0] * 3


@pytest.mark.parametrize("memory", ["none", "gru"])
@pytest.mark.parametrize("world", ["match", "goto"])
def test_log_probs_and_values_are_those_that_an_unroll_finds(world, memory):
    envs = make_vector(world, 6, **({"horizon": 5, "size": 4} if world == "goto" else {}))
    network = network_for(envs, memory=memory)
    actor = collector(envs, network)
    actor.collect(3)
    rollout, _ = actor.collect(11)
    unrolled = network(rollout.observations, rollout.carry, rollout.start)
    log_probs = unrolled.logits.log_softmax(dim=-1).gather(1, rollout.actions.flatten(0, 1))[:, 0]
    torch.testing.assert_close(log_probs, rollout.log_probs.flatten())
    torch.testing.assert_close(unrolled.value, rollout.values.flatten())


@pytest.mark.parametrize("world", ["match", "goto"])
def test_backends_give_the_same_experience(world):
    parameters = {"horizon": 5, "size": 4} if world == "goto" else {}
    found = []
    for backend in ("numpy", "torch"):
        envs = make_vector(world, 6, backend=backend, **parameters)
        rollout, episodes = collector(envs, network_for(envs, memory="gru")).collect(12)
        found.append((rollout._replace(observations=read(rollout.observations))._asdict(), vars(episodes)))
    assert found[0][0]["rewards"].dtype == torch.float32
    assert differ(*found) == ""
    assert found[0][0]["truncated"].any() == (world == "goto")


def test_actions_are_those_that_the_worlds_saw():
    """Replayed in other worlds of the same seeds, the actions earn the same rewards from the same observations."""
    envs = make_vector("goto", 4, size=4)
    rollout, _ = collector(envs, network_for(envs), worlds=9).collect(20)
    envs = make_vector("goto", 4, size=4)
    observation, _ = envs.reset(seed=9)
    seen = {name: value.unflatten(0, (20, 4)).numpy() for name, value in read(rollout.observations).items()}
    for t in range(20):
        assert all(np.array_equal(seen[name][t], observation[name]) for name in seen)
        observation, reward, terminated, truncated, _ = envs.step(rollout.actions[t, :, 0].numpy())
        assert np.array_equal(rollout.rewards[t].numpy(), reward)
        assert np.array_equal(rollout.terminated[t].numpy(), terminated)
        assert np.array_equal(rollout.truncated[t].numpy(), truncated)


def test_worlds_continue_from_saved_tensors():
    def fresh(seed):
        envs = make_vector("goto", 4, size=4)
        return collector(envs, network_for(envs, memory="gru"), seed=seed, worlds=seed)

    one, two = fresh(1), fresh(2)
    one.collect(7)
    two.restore({name: value.clone() for name, value in one.tensors().items()}, restart_seed=99)
    two.generator.set_state(one.generator.get_state())
    (a, ended), (b, also) = one.collect(9), two.collect(9)
    assert differ(a._replace(observations=read(a.observations)), b._replace(observations=read(b.observations))) == ""
    assert ended == also and ended.lengths


def test_other_environments_begin_new_episodes_instead():
    one, two = (collector(make_vector(STAIRS, 3), Reader(-100.0)) for _ in range(2))
    one.collect(2)
    two.restore({name: value.clone() for name, value in one.tensors().items()}, restart_seed=99)
    rollout, episodes = two.collect(4)
    assert rollout.start[:, 0].tolist() == [True, False, False, True]
    assert rollout.values[:, 0].tolist() == [0, 101, 202, 0]
    assert episodes.lengths == [3, 3, 3]
