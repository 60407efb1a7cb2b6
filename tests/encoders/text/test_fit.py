"""Fitting: the pace, what is recorded, and that equal seeds fit alike."""

import itertools

import pytest
import torch

from encoders.tensors import load_tensors, save_tensors, told_of
from encoders.text.fit import fit, pace


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def line(steps=100, lr=0.05, every=50, report=None, seed=0):
    """A weight that learns to double: the records, and the weight."""
    weight, still = torch.nn.Parameter(torch.zeros(())), torch.nn.Parameter(torch.zeros(()), requires_grad=False)

    def loss(x, generator):
        noise = 0.1 * torch.randn(x.shape, generator=generator)
        return {"loss": ((weight - 2.0) * x + noise).square().mean(), "size": x.abs().mean()}

    batches = itertools.repeat(torch.ones(8))
    return fit(loss, [weight, still], batches, steps, lr, seeded(seed), report, every), weight, still


def test_what_is_to_learn_is_learned():
    curve, weight, still = line(steps=300)
    assert weight.item() == pytest.approx(2.0, abs=0.2)
    assert still.item() == 0.0
    assert curve[-1]["loss"] < 0.2 * curve[0]["loss"]


def test_records_are_means_since_the_last_one():
    told = []
    curve, _, _ = line(steps=25, every=10, report=told.append)
    assert told == curve
    assert [record["step"] for record in curve] == [10, 20, 25]
    assert all(set(record) == {"step", "lr", "loss", "size"} and record["size"] == 1.0 for record in curve)
    single, _, _ = line(steps=25, every=1)
    losses = [record["loss"] for record in single]
    assert curve[2]["loss"] == pytest.approx(sum(losses[20:]) / 5)
    assert curve[2]["lr"] == single[-1]["lr"]


def test_the_pace_goes_up_and_then_down():
    paces = [pace(step, 100) for step in range(100)]
    assert paces[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert all(after <= before for before, after in itertools.pairwise(paces[5:]))
    assert paces[-1] == pytest.approx(0.05, abs=0.01)
    assert [pace(step, 1) for step in (0, 1)] == [1.0, pytest.approx(1.0)]


def test_equal_seeds_fit_alike():
    one, same, other = (line(seed=seed)[1].item() for seed in (1, 1, 2))
    assert one == same != other


def test_a_loss_that_is_no_number_is_told_in_one_line():
    weight = torch.nn.Parameter(torch.ones(()))
    with pytest.raises(FloatingPointError, match=r"the loss became nan by step 2: try an lr below 0\.1"):
        fit(
            lambda x, generator: {"loss": (weight * x).sum() * torch.nan},
            [weight],
            itertools.repeat(torch.ones(2)),
            10,
            0.1,
            seeded(),
            every=2,
        )


class Interrupted(Exception):
    pass


def dropout_fit(keep, stop=None):
    """A fit whose loss draws: records, and the weights that come out; it may be interrupted at a step."""
    weights = torch.nn.Parameter(torch.ones(4))

    def loss(x, generator):
        shown = torch.rand(x.shape, generator=generator) < 0.5
        return {"loss": ((weights * x * shown).sum(dim=1) - 3.0).square().mean()}

    def report(record):
        record["told"] = 2.0 * record["step"]
        if record["step"] == stop:
            raise Interrupted

    drawn = torch.Generator().manual_seed(5)
    batches = (torch.rand(8, 4, generator=drawn) for _ in itertools.count())
    curve = fit(loss, [weights], batches, 30, 0.05, seeded(), report, every=5, keep=keep)
    return curve, weights.tolist()


def test_an_interrupted_fit_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch):
    monkeypatch.setattr("encoders.text.fit._KEEP_EVERY", 0.0)
    whole = dropout_fit(None)
    with pytest.raises(Interrupted):
        dropout_fit(tmp_path / "state.safetensors", stop=15)
    assert dropout_fit(tmp_path / "state.safetensors") == whole
    assert [record["told"] for record in whole[0]] == [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    assert dropout_fit(tmp_path / "state.safetensors") == whole  # it has ended: nothing is done again
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


@pytest.mark.parametrize("lost", ["generator", "0.exp_avg_sq", "0.exp_avg", "0.step", "0.value", "curve"])
def test_half_a_state_is_refused(tmp_path, lost):
    path = tmp_path / "state.safetensors"
    dropout_fit(path)
    tensors, told = load_tensors(path), {} if lost == "curve" else told_of(path)
    save_tensors(path, {name: value for name, value in tensors.items() if name != lost}, told)
    with pytest.raises(ValueError, match=r"state.safetensors is of another fit"):
        dropout_fit(path)


def test_a_state_of_another_fit_is_refused(tmp_path):
    dropout_fit(tmp_path / "state.safetensors")
    other = torch.nn.Parameter(torch.ones(3))
    with pytest.raises(ValueError, match=r"state.safetensors is of another fit: it does not hold these 1 parameters$"):
        fit(lambda x, _: {"loss": (other * x).sum()}, [other], iter([torch.ones(3)]), 1, 0.1, seeded(),
            keep=tmp_path / "state.safetensors")  # fmt: skip
