import itertools

import numpy as np
import pytest
import torch
from gymnasium import spaces

from agents.network import AgentConfig, Network, make_network
from encoders.codebook import Codebook
from encoders.size import count_parameters
from tests.agents.tiny import small, space_of
from unienv.registry import make_world

FORMS = ("joint", "late", "text", "image")
ACTIONS = spaces.Discrete(3)
OUTPUTS = ("logits", "value", "feedback")


def make(actions=ACTIONS, seed=0, **shape):
    torch.manual_seed(seed)
    network = make_network(space_of(5), actions, small(**shape))
    for parameter in network.parameters():  # away from the start, where logits are nearly 0
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def observe(*rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(0, 6, (*rows, 4), generator=generator)
    return {"text": text, "image": torch.randint(0, 256, (*rows, 16, 16, 3), generator=generator).byte()}


def decide(network, observation, **mixed):
    observation = {**observation, **mixed}
    prepared = network.encoder.prepare(observation)
    return network(prepared, network.initial_carry(len(observation["text"])))


@pytest.mark.parametrize("world", ["match", "goto"])
@pytest.mark.parametrize("memory", ["none", "gru"])
@pytest.mark.parametrize("shape", [{}, {"dim": 32, "hidden": 64, "queries": 2, "layers": 2}, {"image": "resnet10t"}])
def test_all_forms_have_the_size_of_joint(world, memory, shape):
    space, actions = make_world(world).observation_space, make_world(world).action_space
    sizes = {
        form: count_parameters(make_network(space, actions, AgentConfig(psi=form, memory=memory, **shape)))
        for form in FORMS
    }
    assert all(0.99 * sizes["joint"] <= size <= 1.01 * sizes["joint"] for size in sizes.values()), sizes


def test_heads_that_leave_no_room_for_equal_sizes_are_told_in_one_line():
    with pytest.raises(ValueError, match=r"^agent\.psi=late has at least .*; take a larger agent\.hidden than 16$"):
        make_network(space_of(5), ACTIONS, small(psi="late", hidden=16))


def test_building_a_network_of_another_form_draws_as_many_numbers_whatever_the_search():
    torch.manual_seed(0)
    found = make_network(space_of(5), ACTIONS, small(psi="late"))
    torch.manual_seed(0)
    width = sum(head.policy.in_features for head in found.heads)
    direct = Network(space_of(5), ACTIONS, small(psi="late", hidden=width))
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), direct.parameters(), strict=True))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("memory", ["none", "gru"])
def test_sizes_of_what_is_decided(form, memory):
    network = make(psi=form, memory=memory)
    decision = decide(network, observe(5))
    assert decision.logits.shape == (5, 3) and decision.value.shape == (5,) and decision.feedback.shape == (5, 2, 3)
    assert decision.carry.shape == network.initial_carry(5).shape
    assert decision.carry.shape[1] == (2 if form == "late" else 1)
    sum(getattr(decision, name).sin().sum() for name in OUTPUTS).backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == [f"heads.{s}.cell.weight_hh" for s in range(len(network.heads)) if memory == "gru"]  # h_0 is 0


@pytest.mark.parametrize("form", FORMS)
def test_a_new_policy_is_nearly_uniform(form):
    torch.manual_seed(0)
    probabilities = decide(make_network(space_of(5), ACTIONS, small(psi=form)), observe(64)).logits.softmax(dim=-1)
    assert (probabilities - 1 / 3).abs().max() < 0.05


@pytest.mark.parametrize("form", FORMS)
def test_a_new_agent_expects_nothing(form):
    """With a good guess by chance, what ends an episode would look bad, and be avoided before it is ever rewarded."""
    torch.manual_seed(0)
    assert (decide(make_network(space_of(5), ACTIONS, small(psi=form)), observe(64)).value == 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_an_unroll_is_one_step_after_another(form):
    network, steps, worlds = make(psi=form, memory="gru"), 5, 3
    observation = observe(steps, worlds)
    start = torch.tensor([[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 0]]).bool()
    began = torch.randn(network.initial_carry(worlds).shape, generator=torch.Generator().manual_seed(1))
    prepared = network.encoder.prepare({name: value.flatten(0, 1) for name, value in observation.items()})
    whole, carry = network(prepared, began, start), began
    for t in range(steps):
        one = network(network.encoder.prepare({n: v[t] for n, v in observation.items()}), carry, start[t][None])
        carry = one.carry
        for name in OUTPUTS:
            torch.testing.assert_close(getattr(whole, name).unflatten(0, (steps, worlds))[t], getattr(one, name))
    torch.testing.assert_close(whole.carry, carry)


@pytest.mark.parametrize("form", ["joint", "late"])
def test_the_start_of_an_episode_clears_the_memory_of_its_world_alone(form):
    network, observation = make(psi=form, memory="gru"), observe(2)
    prepared, zeros = network.encoder.prepare(observation), network.initial_carry(2)
    used = torch.randn(zeros.shape, generator=torch.Generator().manual_seed(1))
    fresh, kept = network(prepared, zeros), network(prepared, used)
    mixed = network(prepared, used, torch.tensor([[True, False]]))
    torch.testing.assert_close(mixed.logits[0], fresh.logits[0])
    torch.testing.assert_close(mixed.logits[1], kept.logits[1])
    assert (fresh.logits - kept.logits).abs().min() > 1e-4


def test_without_memory_the_past_does_not_count():
    network, observation = make(memory="none"), observe(4)
    whole = network(network.encoder.prepare(observation), network.initial_carry(2), torch.zeros(2, 2).bool())
    late = {name: value[2:] for name, value in observation.items()}
    torch.testing.assert_close(whole.logits[2:], decide(network, late).logits)
    assert whole.carry.numel() == 0


def interactions(form):
    """f(t1, i1) - f(t1, i2) - f(t2, i1) + f(t2, i2) over pairs of observations, and the largest |f|, by output."""
    network, one, two = make(psi=form), observe(32, seed=1), observe(32, seed=2)
    decisions = [decide(network, t, image=i["image"]) for t, i in itertools.product((one, two), repeat=2)]
    f = {name: [getattr(decision, name) for decision in decisions] for name in OUTPUTS}
    return {n: (v[0] - v[1] - v[2] + v[3]).abs().max() / max(part.abs().max() for part in v) for n, v in f.items()}


def test_late_decisions_are_sums_over_modalities():
    """The separable class: log pi(a | o), up to its normaliser, is f_text(o_text, a) + f_image(o_image, a)."""
    assert all(value < 1e-5 for value in interactions("late").values())


def test_joint_decisions_are_not():
    assert all(value > 1e-2 for value in interactions("joint").values())


@pytest.mark.parametrize("form, other", [("text", "image"), ("image", "text")])
def test_a_form_of_one_modality_ignores_the_other(form, other):
    network, one, two = make(psi=form), observe(6, seed=1), observe(6, seed=2)
    before, after = decide(network, one), decide(network, one, **{other: two[other]})
    changed = decide(network, one, **{form: two[form]})
    for name in OUTPUTS:
        assert torch.equal(getattr(before, name), getattr(after, name))
        assert (getattr(before, name) != getattr(changed, name)).any(dim=-1).all()
    assert list(network.encoder.parts) == [form]


def test_a_world_model_foresees_patches():
    book = Codebook(torch.zeros(1, 8, 8, 3, dtype=torch.uint8))
    with pytest.raises(
        ValueError, match=r"^agent\.imagine foresees patches: it needs agent\.image=tile, got resnet18$"
    ):
        make_network(space_of(5), ACTIONS, small(image="resnet18", imagine=1), codebook=book)


@pytest.mark.parametrize("memory, psi", [("lstm", "joint"), ("lstm", "late"), ("gru", "video"), ("none", "lat")])
def test_mistakes_are_told_in_one_line(memory, psi):
    said = {
        "joint": "one of none, gru",
        "late": "one of none, gru",
        "video": "needs video",
        "lat": "did you mean 'late'",
    }
    with pytest.raises(ValueError, match=said[psi]) as error:
        make_network(space_of(5), ACTIONS, small(psi=psi, memory=memory))
    assert "\n" not in str(error.value)


def test_pixels_have_three_channels_and_observations_are_of_modalities():
    space = spaces.Dict({**space_of(5), "image": spaces.Box(0, 255, (16, 16, 1), np.uint8)})
    with pytest.raises(ValueError, match=r"^the environment observes image of 1 channels; expected 3, \(H, W, 3\)$"):
        make_network(space, ACTIONS, small())
    with pytest.raises(ValueError, match=r"^expected a Dict of modalities to observe, got Box"):
        make_network(space["image"], ACTIONS, small())


def test_actions_are_discrete():
    with pytest.raises(ValueError, match="Discrete"):
        make_network(space_of(5), spaces.Box(0, 1, (2,)), small())
