import pytest
import torch

from agents.network import make_network
from encoders.precision import autocast, has_bfloat16
from tests.agents.tiny import CPU, small
from unienv.adapt import make_vector


@pytest.mark.parametrize("enabled, kind", [(True, torch.bfloat16), (False, torch.float32)])
def test_products_within_are_of_the_type_asked_for(enabled, kind):
    one = torch.eye(3)
    with autocast(CPU, enabled):
        assert (one @ one).dtype == kind
    assert (one @ one).dtype == torch.float32


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_tile"])
def test_a_processor_with_instructions_for_it_uses_bfloat16(monkeypatch, name):
    for known in ("avx512_bf16", "amx_tile"):
        monkeypatch.setattr(torch.cpu, f"_is_{known}_supported", lambda known=known: known == name)
    assert has_bfloat16(CPU)
    monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda: False)
    assert not has_bfloat16(CPU)


def test_devices_of_other_kinds_stay_in_float32():
    assert not has_bfloat16(torch.device("meta"))


@pytest.mark.parametrize("memory", ["none", "gru"])
@pytest.mark.parametrize("psi", ["joint", "late"])
def test_decisions_and_gradients_stay_in_float32(memory, psi):
    envs = make_vector("match", 4)
    torch.manual_seed(0)
    network = make_network(envs.single_observation_space, envs.single_action_space, small(memory=memory, psi=psi))
    observation = {key: torch.from_numpy(value) for key, value in envs.reset(seed=0)[0].items()}
    prepared, carry = network.encoder.prepare(observation), network.initial_carry(4)
    exact = network(prepared, carry)
    with autocast(CPU, True):
        low = network(prepared, carry)
    assert {low.logits.dtype, low.value.dtype, low.feedback.dtype} == {torch.float32}
    for name in ("logits", "value", "feedback"):
        torch.testing.assert_close(getattr(low, name), getattr(exact, name), rtol=0.05, atol=0.05)
    (low.value.sum() + low.feedback.sum() + low.logits.sum()).backward()
    assert {p.grad.dtype for p in network.parameters() if p.grad is not None} == {torch.float32}
