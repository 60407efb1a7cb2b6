"""Agents that read by the frozen encoders of a bridge."""

import pytest
import torch
from gymnasium import spaces
from scipy.stats import binomtest

from agents.bridge import check_bridge, load_bridge
from agents.distribution import descend
from agents.network import AgentConfig, make_network
from agents.objective import objective
from encoders.pixels import PixelConfig, PixelVAE, save_pixels
from encoders.precision import autocast
from encoders.size import count_parameters
from encoders.text.corpus import open_corpus
from encoders.text.fit import fit
from encoders.text.pretrained import save_text
from encoders.text.tokens import Bytes
from encoders.text.vae import TextVAE, VAEConfig
from tests.agents.tiny import CPU, STAIRS, make_learner, small
from unienv.adapt import make_vector
from unienv.registry import make_world

TEXT, IMAGE, BOTH = {"text": "latent"}, {"image": "latent"}, {"text": "latent", "image": "latent"}
FORMS = ("joint", "late", "text", "image")
MATCH = {"num_colours": 2, "num_shapes": 1}


@pytest.fixture(scope="module")
def bridge(tmp_path_factory):
    """A bridge of `match`: text trained for some seconds, pictures not at all."""
    folder, corpus = tmp_path_factory.mktemp("bridge"), open_corpus("match")
    torch.manual_seed(0)
    vae, generator = (
        TextVAE(len(corpus.tokens), VAEConfig(width=32, layers=1, patch=2)),
        torch.Generator().manual_seed(0),
    )
    fit(vae.loss, vae.parameters(), corpus.batches("train", 32, 10, generator), 150, 5e-3, generator)
    save_text(folder / "text", vae, corpus.tokens)
    save_pixels(folder / "pixels", PixelVAE(PixelConfig(latent=4, width=8)))
    return str(folder)


def make(config, seed=0):
    envs = make_vector("match", 6)
    torch.manual_seed(seed)
    network = make_network(envs.single_observation_space, envs.single_action_space, config, envs.vocabulary)
    return network, {key: torch.from_numpy(value) for key, value in envs.reset(seed=0)[0].items()}


def decide(network, observation):
    return network(network.encoder.prepare(observation), network.initial_carry(6))


def frozen(network):
    return {name: p.clone() for name, p in network.named_parameters() if not p.requires_grad}


@pytest.mark.parametrize("memory", ["none", "gru"])
@pytest.mark.parametrize("latent", [TEXT, IMAGE, BOTH])
def test_all_forms_have_the_size_of_joint_and_the_bridge_is_not_counted(bridge, latent, memory):
    networks = {form: make(AgentConfig(psi=form, memory=memory, bridge=bridge, **latent))[0] for form in FORMS}
    sizes = {form: count_parameters(network) for form, network in networks.items()}
    assert all(0.95 * sizes["joint"] <= size <= sizes["joint"] for size in sizes.values()), sizes
    joint = networks["joint"]
    assert sizes["joint"] == sum(p.numel() for p in joint.parameters()) - sum(p.numel() for p in frozen(joint).values())
    reads = {form: {name.split(".")[2] for name in frozen(network)} for form, network in networks.items()}
    assert reads == {form: {m for m in latent if form in ("joint", "late", m)} for form in FORMS}


@pytest.mark.parametrize("latent", [TEXT, IMAGE, BOTH])
@pytest.mark.parametrize("psi, memory", [("joint", "none"), ("late", "gru")])
def test_a_step_moves_everything_but_the_bridge(bridge, latent, psi, memory):
    network, observation = make(small(psi=psi, memory=memory, bridge=bridge, **latent))
    still, began = frozen(network), {name: p.clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        if parameter.requires_grad:  # away from the start, where logits are nearly 0
            torch.nn.init.normal_(parameter, std=0.3)
    before = {name: p.clone() for name, p in network.named_parameters()}
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    with autocast(CPU, True):
        decision = decide(network.train(), observation)
    assert {decision.logits.dtype, decision.value.dtype} == {torch.float32}
    loss = sum(part.sin().sum() for part in (decision.logits, decision.value, decision.feedback))
    assert descend(network, optimiser, loss, 1.0) > 0
    after = dict(network.named_parameters())
    assert still and all(torch.equal(after[name], began[name]) for name in still)
    stuck = [name for name, p in after.items() if name not in still and torch.equal(p, before[name])]
    assert stuck == [f"heads.{s}.cell.weight_hh" for s in range(len(network.heads)) if memory == "gru"]  # h_0 is 0


def test_decisions_hang_on_the_words(bridge):
    network, observation = make(small(bridge=bridge, **TEXT))
    said = observation["text"]
    other = said[[0, 1, 2, 3, 5, 4]]
    same = (said == other).all(dim=1)
    before, after = decide(network, observation).logits, decide(network, {**observation, "text": other}).logits
    assert same.tolist() == [True] * 4 + [False] * 2 and torch.equal((before == after).all(dim=1), same)


@pytest.mark.parametrize("agent", [{**TEXT, "memory": "gru"}, {**BOTH, "psi": "late", "hidden": 96}])
def test_a_loaded_learner_continues_bit_by_bit(tmp_path, bridge, agent):
    def learner():
        return make_learner(agent=small(bridge=bridge, **agent), total_steps=1000)

    whole, first = learner(), learner()
    expected = [whole.update() for _ in range(3)]
    first.update()
    first.save(tmp_path)
    later = learner()
    with torch.no_grad():
        for parameter in later.network.parameters():
            parameter.zero_()  # all weights, the frozen ones too, come from the checkpoint
    assert later.load(tmp_path) is True
    assert [later.update() for _ in range(2)] == expected[1:]
    one, two = whole.network.state_dict(), later.network.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_an_agent_learns_through_frozen_latents(bridge):
    """`match` in small, where no agent that reads one modality exceeds 1/2 and no sum of such readings 3/4."""
    agent = small(bridge=bridge, **TEXT)
    learner = make_learner(agent=agent, parameters=MATCH, total_steps=10**9, worlds=64, epochs=4, lr=3e-3)
    for _ in range(45):
        learner.update()
    envs = make_vector("match", 50, **MATCH)
    wins = round(2000 * objective(envs, learner.policy(50, seed=0), 0.97, 2000, seed=1 << 30).success)
    assert binomtest(wins, 2000, 3 / 4, alternative="greater").pvalue < 1e-6


def test_a_bridge_of_bytes_reads_any_environment(tmp_path, bridge):
    save_text(tmp_path / "text", TextVAE(260, VAEConfig(width=16, layers=1, heads=2)), Bytes())
    learner = make_learner(env=STAIRS, agent=small(text="latent", bridge=str(tmp_path)))
    assert learner.update()["steps"] == 64


def test_choices_that_do_not_fit_together_are_told():
    for arguments, said in {
        ("latnt", "tile", None): "must be one of tokens, latent, got 'latnt'; did you mean 'latent'",
        ("latent", "tile", None): "agent.text=latent needs agent.bridge=.*study=bridge corpus=<world> makes one",
        ("tokens", "latent", None): "agent.image=latent needs agent.bridge=.*study=bridge corpus=<world> makes one",
        ("tokens", "tile", "runs/x"): "agent.bridge is for agent.text=latent or agent.image=latent",
    }.items():
        with pytest.raises(ValueError, match=said) as error:
            check_bridge(*arguments)
        assert "\n" not in str(error.value)


def mistake(*arguments):
    with pytest.raises(ValueError) as error:
        load_bridge(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_bridges_that_are_none_are_told(tmp_path, bridge):
    vocabulary, nowhere = make_world("match").vocabulary, str(tmp_path / "gone")
    assert "gone does not exist; python" in mistake("latent", "tile", nowhere, vocabulary)
    assert "has no folder text, as a finished" in mistake("latent", "tile", str(tmp_path), vocabulary)
    assert "has no folder pixels, as a finished" in mistake("tokens", "latent", str(tmp_path), None)
    (tmp_path / "text").mkdir()
    assert "vae.json, vae.safetensors, tokens.json missing" in mistake("latent", "tile", str(tmp_path), vocabulary)
    assert "needs the vocabulary" in mistake("latent", "tile", bridge, None)
    assert "does not know the environment's" in mistake("latent", "tile", bridge, make_world("goto").vocabulary)


def test_a_network_without_a_vocabulary_reads_pictures_alone(bridge):
    world = make_world("match")
    config = small(psi="image", image="latent", bridge=bridge)
    assert make_network(world.observation_space, spaces.Discrete(2), config).encoder.grids["image"]
