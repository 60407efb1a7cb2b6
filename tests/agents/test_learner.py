import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from agents import checkpoint
from encoders.tensors import load_tensors, save_tensors
from tests.agents.tiny import STAIRS, make_learner, small
from unienv.rng import slots

GOTO = {"env": "goto", "parameters": {"size": 4, "horizon": 5}}
CASES = [{}, {**GOTO, "agent": small(memory="gru")}, {**GOTO, "agent": small(psi="late")}]
CASES += [{**GOTO, "agent": small(memory="gru", imagine=1)}, {**GOTO, "agent": small(psi="late", imagine=2)}]


def weights(learner):
    return {name: value.clone() for name, value in learner.network.state_dict().items()}


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


def fingerprint(learner, updates):
    told = [learner.update() for _ in range(updates)]
    data = b"".join(value.numpy().tobytes() for value in weights(learner).values())
    return hashlib.sha256(data + repr(told).encode()).hexdigest()


@pytest.mark.parametrize("case", CASES)
def test_a_loaded_learner_continues_bit_by_bit(tmp_path, case):
    whole, first = make_learner(**case), make_learner(**case)
    expected = [whole.update() for _ in range(5)]
    for _ in range(2):
        first.update()
    first.save(tmp_path)
    later = make_learner(**case)
    torch.manual_seed(99)  # nothing hangs on the global generator
    assert later.load(tmp_path) is True
    assert later.steps == first.steps
    assert [later.update() for _ in range(3)] == expected[2:]
    assert same(weights(later), weights(whole))


def test_a_checkpoint_holds_the_codebook(tmp_path):
    first, later = (make_learner(**GOTO, agent=small(imagine=1)) for _ in range(2))
    codebook = later.network.evolution.codebook
    codebook.patches.copy_(codebook.patches.flip(0))  # as if another survey had found them
    assert not torch.equal(codebook.patches, first.network.evolution.codebook.patches)
    first.save(tmp_path)
    assert later.load(tmp_path)
    assert later.update() == first.update()
    assert same(weights(later), weights(first))


def test_a_checkpoint_of_an_agent_without_a_world_model_is_another_network(tmp_path):
    make_learner(**GOTO).save(tmp_path)
    with pytest.raises(ValueError, match=r"holds another network: .*evolution\.codebook\.patches"):
        make_learner(**GOTO, agent=small(imagine=0)).load(tmp_path)


@pytest.mark.parametrize("memory", ["none", "gru"])
def test_a_world_model_without_weight_changes_nothing(memory):
    """What else an agent learns hangs on it through the loss alone: neither first weights nor draws differ."""
    common = {**GOTO, "play": 0.01, "total_steps": 10_000, "max_grad_norm": 1e9}
    plain = make_learner(**common, agent=small(memory=memory))
    other = make_learner(**common, agent=small(memory=memory, imagine=0), evolution=0.0)
    for _ in range(4):
        one, two = plain.update(), other.update()
        assert one.pop("evolution_loss") == 0.0 < two.pop("evolution_loss")
        assert one.pop("grad_norm") == pytest.approx(two.pop("grad_norm"))
        assert one == two
    mine, theirs = weights(plain), weights(other)
    assert same(mine, theirs) and any(name.startswith("evolution.") for name in theirs.keys() - mine.keys())


def test_saving_changes_nothing(tmp_path):
    one, two = make_learner(), make_learner()
    one.save(tmp_path)
    assert one.update() == two.update()
    assert same(weights(one), weights(two))


def test_other_environments_continue_with_new_episodes(tmp_path):
    first, later = (make_learner(env=STAIRS, agent=small(memory="gru")) for _ in range(2))
    first.update()
    first.save(tmp_path)
    assert later.load(tmp_path)
    assert same(weights(later), weights(first))
    assert later.collector.start.all() and not later.collector.carry.any() and not later.collector.lengths.any()
    told = later.update()
    assert told["steps"] == 2 * 16 * 4


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_a_run_continues_with_another_number_of_workers(tmp_path, monkeypatch, workers):
    """Of 16 worlds saved by 2 replicas, a replica among `workers` can't take over all its own."""
    monkeypatch.setattr("agents.learner.num_replicas", lambda: 2)
    first = make_learner()
    first.update()
    monkeypatch.setattr("agents.learner.num_replicas", lambda: 1)
    first.save(tmp_path)
    monkeypatch.setattr("agents.learner.num_replicas", lambda: workers)
    later = make_learner()
    assert later.load(tmp_path)
    assert same(weights(later), weights(first))
    assert later.update()["steps"] == 2 * 16 * 4
    assert later.collector.carry.shape[0] == later.envs.num_envs == 16 // workers


def test_equal_seeds_are_equal_and_others_differ():
    one, equal, other = (fingerprint(make_learner(seed=seed), 2) for seed in (3, 3, 4))
    assert one == equal != other


def test_results_do_not_hang_on_the_process():
    torch.manual_seed(1)
    here = fingerprint(make_learner(), 2)
    code = (
        "import torch; torch.set_num_threads(1); from tests.agents.test_learner import *;"
        "print(fingerprint(make_learner(), 2))"
    )
    root = Path(__file__).parents[2]
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root).stdout
    assert there.strip() == here


def test_worlds_of_replicas_and_of_runs_differ(monkeypatch):
    monkeypatch.setattr("agents.learner.num_replicas", lambda: 2)
    seen = []
    for seed, rank in ((0, 0), (0, 1), (1, 0)):
        monkeypatch.setattr("agents.learner.rank", lambda rank=rank: rank)
        learner = make_learner(seed=seed)
        seen.append((set(learner.envs.snapshot()["slots"].tolist()), weights(learner), learner.actions.initial_seed()))
    (first, w0, a0), (second, w1, a1), (third, w2, a2) = seen
    assert same(w0, w1) and not same(w0, w2)  # replicas hold one network
    assert len(first | second | third) == 3 * 8
    assert len({a0, a1, a2}) == 3


def test_worlds_of_many_replicas_stay_below_those_of_the_next_seed(monkeypatch):
    """512 replicas with 256 worlds each fit in."""
    monkeypatch.setattr("agents.learner.num_replicas", lambda: 512)
    monkeypatch.setattr("agents.learner.rank", lambda: 511)
    seen = make_learner(worlds=512 * 256).envs.snapshot()["slots"].tolist()
    assert seen == slots(torch.arange(511 * 256, 512 * 256)).tolist()


def test_a_checkpoint_of_another_kind_of_device_goes_on_with_draws_of_its_own(tmp_path):
    learner = make_learner()
    learner.update()
    learner.save(tmp_path)
    path = checkpoint.newest(tmp_path) / "worlds-0.safetensors"
    save_tensors(path, load_tensors(path) | {"actions": torch.zeros(16, dtype=torch.uint8)})  # as CUDA's generators
    first, second = make_learner(), make_learner()
    for other in (first, second):
        other.load(tmp_path)
        other.update()
    assert first.steps == 2 * 64 and same(weights(first), weights(second))
    fresh = make_learner().actions.get_state()
    assert not torch.equal(first.actions.get_state(), fresh)


def test_world_i_has_the_seed_that_it_is_said_to_have():
    learner = make_learner(seed=2)
    expected = slots(torch.arange(16) + 2 * (1 << 20)).tolist()
    assert learner.envs.snapshot()["slots"].tolist() == expected


def test_the_step_size_falls_linearly_to_zero():
    learner, rates = make_learner(total_steps=4 * 64, lr=0.01), []
    for _ in range(5):
        learner.update()
        rates.append(learner.optimiser.param_groups[0]["lr"])
    assert rates == pytest.approx([0.01, 0.0075, 0.005, 0.0025, 0.0])


def test_means_are_over_the_episodes_that_ended():
    learner = make_learner(worlds=32, horizon=3)
    told = learner.update()
    assert (told["steps"], told["episodes"], told["length"]) == (96, 96, 1.0)
    assert told["success"] == told["return"] and 0.2 < told["success"] < 0.8
    long = make_learner(env="goto", parameters={"size": 16}, horizon=1, worlds=4)
    told = long.update()
    assert told["episodes"] == 0 and told["success"] is told["return"] is told["length"] is None


def test_worlds_are_shared_out_evenly_or_not_at_all(monkeypatch):
    monkeypatch.setattr("agents.learner.num_replicas", lambda: 3)
    with pytest.raises(ValueError, match=r"ppo.worlds=16 can't be shared out evenly among 3 workers"):
        make_learner()


def test_a_policy_of_its_own_leaves_the_learner_alone():
    one, two = make_learner(), make_learner()
    observation, _ = make_learner(seed=1).envs.reset(seed=1)
    start = torch.ones(16, dtype=torch.bool).numpy()
    acted = [two.policy(16, seed=seed).act(observation, start).tolist() for seed in (5, 5, 6)]
    assert acted[0] == acted[1] != acted[2]
    assert one.update() == two.update()
