import math
from functools import partial

import pytest
import torch
from gymnasium import spaces

from agents.foresight import foresee
from agents.network import AgentConfig, make_network
from agents.world_model import draw, evolution_loss, evolution_losses, survey
from encoders.codebook import OTHER, Codebook
from encoders.size import count_parameters
from tests.agents.tiny import STAIRS, make_learner, small, space_of
from unienv.adapt import make_vector
from unienv.registry import make_world

ACTIONS = spaces.Discrete(3)
MEMORIES = ("none", "gru")
SMALL_GOTO = {"size": 3, "num_colours": 2, "num_shapes": 2, "horizon": 6}


def codebook(known=11, seed=0):
    patches = torch.randint(0, 256, (known, 8, 8, 3), generator=torch.Generator().manual_seed(seed))
    return Codebook(patches.byte())


def make(**shape):
    """A network over images of 2 x 2 places, away from the start, where logits hardly depend on anything."""
    torch.manual_seed(0)
    network = make_network(space_of(5), ACTIONS, small(**shape), codebook=codebook())
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


def observe(network, rows=8, seed=0):
    """Words, and pictures of known patches."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(1, 12, (rows, 4), generator=generator)
    image = codebook().draw(codes, (2, 2))
    return {"text": torch.randint(0, 6, (rows, 4), generator=generator, dtype=torch.int32), "image": image}


@torch.no_grad()
def foreseen(network, observation, action=1, carry=None):
    """Logits of the next observation, by modality."""
    prepared = network.encoder.prepare(observation)
    rows = len(observation["text"])
    decision = network(prepared, network.initial_carry(rows) if carry is None else carry)
    actions = torch.full((rows, 1), action)
    return network.evolution(decision.latents, decision.features, actions, network.evolution.codes(prepared))


def learner_of(env=STAIRS, seed=0, **shape):
    parameters = SMALL_GOTO if env == "goto" else {}
    return make_learner(env, seed, small(imagine=0, **shape), parameters=parameters, worlds=64, play=1.0)


@torch.no_grad()
def losses(network, play):
    """-log p of what followed each step of play (B,), by modality."""
    decision = network(play.observations, network.initial_carry(len(play.actions)))
    codes = network.evolution.codes(play.observations)
    logits = network.evolution(decision.latents, decision.features, play.actions, codes)
    return evolution_losses(logits, play.following)


# ----------------------------------------------------------------------------- form


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("own, other", [("text", "image"), ("image", "text")])
def test_in_the_product_form_a_modality_foresees_itself_from_itself_alone(own, other, memory):
    network = make(psi="late", memory=memory)
    one, two = observe(network, seed=1), observe(network, seed=2)
    before, mixed = foreseen(network, one), foreseen(network, {**one, other: two[other]})
    assert torch.equal(before[own], mixed[own])
    assert (before[other] != mixed[other]).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("own, other", [("text", "image"), ("image", "text")])
def test_in_the_joint_form_every_modality_foresees_each(own, other, memory):
    network = make(memory=memory)
    one, two = observe(network, seed=1), observe(network, seed=2)
    before, mixed = foreseen(network, one), foreseen(network, {**one, other: two[other]})
    assert (before[own] != mixed[own]).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("psi", ["joint", "late", "text", "image"])
def test_actions_count_in_all_forms_and_parts_are_those_of_the_streams(psi):
    network = make(psi=psi)
    names = {"text", "image"} if psi in ("joint", "late") else {psi}
    logits = [foreseen(network, observe(network), action) for action in range(3)]
    assert all(set(one) == names for one in logits)
    shapes = {"text": (8, 4, 6), "image": (8, 4, 12)}
    for name in names:
        assert logits[0][name].shape == shapes[name] and logits[0][name].dtype == torch.float32
        assert (logits[0][name] != logits[1][name]).any() and (logits[1][name] != logits[2][name]).any()


@pytest.mark.parametrize("psi", ["joint", "late"])
def test_what_is_remembered_counts(psi):
    network = make(psi=psi, memory="gru")
    fresh = foreseen(network, observe(network))
    used = foreseen(network, observe(network), carry=torch.ones_like(network.initial_carry(8)))
    assert all((fresh[name] != used[name]).any() for name in fresh)


@pytest.mark.parametrize("memory", MEMORIES)
def test_all_forms_have_the_size_of_joint(memory):
    world = make_world("goto")
    spaces_ = world.observation_space, world.action_space
    configs = {psi: AgentConfig(psi=psi, memory=memory, imagine=0) for psi in ("joint", "late", "text", "image")}
    sizes = {psi: count_parameters(make_network(*spaces_, c, codebook=codebook(40))) for psi, c in configs.items()}
    assert all(0.99 * sizes["joint"] <= size <= sizes["joint"] for size in sizes.values()), sizes
    assert sizes["joint"] > count_parameters(make_network(*spaces_, configs["joint"]))


@pytest.mark.parametrize("psi", ["joint", "late"])
def test_everything_about_the_next_observation_is_learned(psi):
    network = make(psi=psi)
    observation = observe(network)
    prepared = network.encoder.prepare(observation)
    decision = network(prepared, network.initial_carry(8))
    codes = network.evolution.codes(prepared)
    evolution_loss(network.evolution, decision, prepared, torch.arange(8)[:, None] % 3, codes).backward()
    still = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    assert still == {n for n, _ in network.named_parameters() if n.startswith("heads.") and ".trunk." not in n}


# ----------------------------------------------------------------------------- codes


def test_codes_are_the_words_and_the_patches_and_come_back_as_they_were():
    network = make()
    observation, evolution = observe(network), network.evolution
    codes = evolution.codes(network.encoder.prepare(observation))
    assert torch.equal(codes["text"], observation["text"].long())
    assert torch.equal(evolution.codebook.draw(codes["image"], evolution.grid), observation["image"])
    again = evolution.codes(evolution.prepared(codes))
    assert all(torch.equal(again[name], codes[name]) for name in ("text", "image"))


@torch.no_grad()
def test_what_is_foreseen_is_encoded_like_what_is_seen():
    network = make()
    prepared = network.encoder.prepare(observe(network))
    again = network.evolution.prepared(network.evolution.codes(prepared))
    one, two = (network(told, network.initial_carry(8)) for told in (prepared, again))
    torch.testing.assert_close(one.logits, two.logits)
    torch.testing.assert_close(one.value, two.value)


# ----------------------------------------------------------------------------- loss and draws


@torch.no_grad()
def test_the_loss_is_the_sum_over_places_and_modalities_and_the_mean_over_steps():
    network = make()
    now, then = observe(network, seed=1), observe(network, seed=2)
    prepared, following = network.encoder.prepare(now), network.evolution.codes(network.encoder.prepare(then))
    logits = foreseen(network, now)
    told = evolution_losses(logits, following)
    for name in ("text", "image"):
        chances = logits[name].double().softmax(dim=-1)
        by_hand = [
            -sum(math.log(chances[b, p, following[name][b, p]]) for p in range(chances.shape[1])) for b in range(8)
        ]
        assert told[name].tolist() == pytest.approx(by_hand, rel=1e-4)
    decision = network(prepared, network.initial_carry(8))
    loss = evolution_loss(network.evolution, decision, prepared, torch.ones(8, 1, dtype=torch.int64), following)
    assert float(loss) == pytest.approx(float((told["text"] + told["image"]).mean()), rel=1e-5)


@torch.no_grad()
def test_nobody_foresees_without_a_world_model_or_without_what_followed():
    network = make()
    prepared = network.encoder.prepare(observe(network))
    decision, actions = network(prepared, network.initial_carry(8)), torch.ones(8, 1, dtype=torch.int64)
    following = network.evolution.codes(prepared)
    assert float(evolution_loss(None, decision, prepared, actions, following)) == 0.0
    assert float(evolution_loss(network.evolution, decision, prepared, actions, {})) == 0.0


def test_draws_follow_their_law_and_hang_on_the_generator_alone():
    log_odds = torch.tensor([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]]).log()
    logits = {"text": log_odds.expand(4000, 2, 3), "image": log_odds.flip(0).expand(4000, 2, 3)}
    one, equal, other = (draw(logits, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert one["text"].shape == (4000, 2) and one["text"].dtype == torch.int64
    shares = one["text"][:, 0].bincount(minlength=3) / 4000
    assert shares.tolist() == pytest.approx([0.5, 0.3, 0.2], abs=0.04)
    assert (one["text"][:, 1] == 1).all() and (one["image"][:, 0] == 1).all()
    assert all(torch.equal(one[name], equal[name]) for name in one)
    assert not torch.equal(one["text"], other["text"])


# ----------------------------------------------------------------------------- learning


def test_before_any_training_everything_is_foreseen_to_stay():
    learner = learner_of("goto")
    play, _ = learner.collector.play(16)
    told, codes = losses(learner.network, play), learner.network.evolution.codes(play.observations)
    for name, loss in told.items():
        places = codes[name].shape[1]
        changed = (codes[name] != play.following[name]).sum(dim=1)
        assert (loss[changed == 0] < 0.02 * places).all() and (changed == 0).any()
        assert (loss[changed > 0] > 6.0 * changed[changed > 0]).all()
    assert (told["text"] < 0.1).all()  # a sentence holds for the whole episode


def staying(play, codes, counts):
    """Nats a step of the best law by which a place stays what it is with one chance and else becomes anything."""
    total = 0.0
    for name, now in codes.items():
        share = (now != play.following[name]).double().mean()
        nats = torch.special.entr(torch.stack([share, 1 - share])).sum() + share * math.log(counts[name] - 1)
        total += float(nats) * now.shape[1]
    return total


@pytest.mark.parametrize("env, rounds, share", [(STAIRS, 8, 0.1), ("goto", 15, 0.25)])
def test_the_next_observations_of_other_worlds_are_foreseen_after_some_play(env, rounds, share):
    """Held out: worlds of other seeds. The rival knows how often places of these very worlds change."""
    learner, others = learner_of(env), learner_of(env, seed=1)
    held_out, _ = others.collector.play(8)
    network = learner.network
    assert torch.equal(network.evolution.codebook.patches, others.network.evolution.codebook.patches)
    codes = network.evolution.codes(held_out.observations)
    counts = {name: part.read.out_features for name, part in network.evolution.parts.items()}
    rival = staying(held_out, codes, counts)
    optimiser, generator = torch.optim.Adam(network.parameters(), lr=5e-3), torch.Generator().manual_seed(0)
    for _ in range(rounds):
        play, _ = learner.collector.play(8)
        foresee(network, optimiser, play, 8, len(play.actions) // 16, 1.0, 2.0, generator, False)
    loss = float(sum(losses(network, held_out).values()).mean())
    assert rival > 1.0 and loss < share * rival, (loss, rival)


# ----------------------------------------------------------------------------- survey


def test_a_survey_is_the_same_whenever_and_wherever_it_is_made():
    makers = [partial(make_vector, "goto", backend=backend, **SMALL_GOTO) for backend in ("numpy", "numpy", "torch")]
    torch.manual_seed(5)
    one, again, torch_ = (survey(lambda n, make=make: make(num_envs=n)) for make in makers)
    assert len(one) > 6 and torch.equal(one.patches, again.patches) and torch.equal(one.patches, torch_.patches)


def test_a_survey_sees_how_episodes_end():
    """The third stair is seen only as an episode's last observation."""
    book = survey(lambda n: make_vector(STAIRS, n))
    assert sorted(book.patches[1:, 0, 0, 0].tolist()) == [0, 50, 100, 150]


def test_a_survey_knows_what_worlds_show():
    book = survey(lambda n: make_vector("goto", n, **SMALL_GOTO))
    play, _ = learner_of("goto", seed=3).collector.play(12)
    assert (book.code(play.observations["image"]) != OTHER).all()
    assert (play.following["image"] != OTHER).all()


@pytest.mark.parametrize("env", ["chase"])
def test_worlds_of_clips_are_told_in_one_line(env):
    with pytest.raises(
        ValueError, match=r"^agent\.imagine needs observations with an image and no video, got text, vi"
    ):
        survey(lambda n: make_vector(env, n))
