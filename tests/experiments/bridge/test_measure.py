import math
from functools import cache

import pytest
import torch

from encoders.text import elbo
from encoders.text.autoregressive import Autoregressive
from encoders.text.elbo import Measured
from encoders.text.masked import Masked
from experiments.bridge import measure
from tests.encoders.text import toy
from tests.encoders.text.test_latent import law, make, seeded


@pytest.fixture(autouse=True)
def _short_fits_and_solves(monkeypatch):
    monkeypatch.setattr(measure, "_FIT_STEPS", 4)
    monkeypatch.setattr(measure, "_STEPS", 2)


@cache
def latent():
    return make(width=16)


def rows():
    return toy.language()[0]


def told(mean):
    return Measured(**mean)


class Knows(Autoregressive):
    """Its law is the language's own, up to rounding."""

    def log_probability(self, x):
        which = (x[:, None] == rows()).all(dim=2).int().argmax(dim=1)
        return law().log()[which]


def test_a_likelihood_that_is_known_is_the_entropy_and_has_no_error():
    found = measure.likelihood(Knows(toy.SIZE, 8, 1, 1), rows(), law(), seeded())
    entropy = -(law() * law().log()).sum().item()
    assert found["kind"] == "exact"
    assert found["nats"] == {"value": pytest.approx(entropy), "error": 0.0, "n": 48}
    assert found["perplexity"]["value"] == pytest.approx(math.exp(toy.entropy()))
    assert found["perplexity"]["error"] == pytest.approx(0.0, abs=1e-9)


def test_a_sample_tells_the_entropy_within_its_error():
    found = measure.likelihood(Knows(toy.SIZE, 8, 1, 1), toy.draw(2000, seeded()), None, seeded())
    entropy = -(law() * law().log()).sum().item()
    assert 0 < found["nats"]["error"] < 0.05
    assert found["nats"]["value"] == pytest.approx(entropy, abs=4 * found["nats"]["error"])
    assert found["nats"]["n"] == 2000


def test_a_masked_model_that_knows_nothing_pays_for_every_place():
    """All tokens but begin and mask are alike: L ln(V - 2) at every draw."""
    model = Masked(toy.SIZE, 8, 1, 1)
    torch.nn.init.zeros_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)
    found = measure.likelihood(model, rows(), law(), seeded(), draws=20)
    assert found["kind"] == "at most"
    expected = toy.LENGTH * math.log(toy.SIZE - 2)
    assert found["nats"] == {"value": pytest.approx(expected), "error": pytest.approx(0.0, abs=1e-6), "n": 48 * 20}


def test_a_masked_model_is_bounded_by_the_mean_of_its_draws():
    torch.manual_seed(0)
    model, x = Masked(toy.SIZE, 16, 1, 2), toy.draw(50, seeded())
    found = measure.likelihood(model, x, None, seeded(1), draws=100)
    again = torch.stack([model.bound(x, seeded(2 + draw)) for draw in range(100)]).mean().item()
    assert found["nats"]["value"] == pytest.approx(again, rel=0.02)
    assert found["nats"]["n"] == 50


def test_the_bound_of_a_latent_model_is_its_elbo():
    model = latent()
    found = measure.likelihood(model, rows(), law(), seeded(1), draws=4)
    model.solver_steps = 2
    exact = elbo.average(elbo.log_weights(model, rows(), 4, seeded(2)), law())
    model.solver_steps = 32
    assert found["kind"] == "at most"
    errors = math.hypot(found["nats"]["error"], exact.error)
    assert found["nats"]["value"] == pytest.approx(-exact.value, abs=4 * errors)
    assert found["perplexity"]["value"] > math.exp(toy.entropy())
    assert model.probe is None


def test_other_models_are_refused():
    with pytest.raises(ValueError, match="expected an Autoregressive, Masked or LatentLanguage model, got Linear"):
        measure.likelihood(torch.nn.Linear(2, 2), rows(), law(), seeded())


class Codes(torch.nn.Module):
    """A VAE whose latents are the tokens, one of V numbers each, and whose decoder takes the largest."""

    def __init__(self, spread):
        super().__init__()
        self.log_variance = 2.0 * math.log(spread)

    def posterior(self, x):
        mean = torch.nn.functional.one_hot(x, toy.SIZE).float()
        return elbo.Gaussian(mean, torch.full_like(mean, self.log_variance))

    def decode(self, z):
        return z

    def sample(self, z, temperature):
        return z.argmax(dim=2)


@pytest.mark.parametrize("split", ["language", "sample"])
def test_reconstructions_fade_with_time(split):
    x, shares = (rows(), law()) if split == "language" else (toy.draw(300, seeded()), None)
    laws = {"train": (x, shares), "test": (x, shares)}
    found = measure.reconstruction(Codes(1e-3), laws, toy.TOKENS, seeded(), times=(0.05, 0.5, 1.0))  # type: ignore
    for accuracy in found["accuracy"].values():
        assert accuracy["value"] == 1.0
        assert accuracy["error"] == 0.0
    (_, early), (_, middle), (_, late) = found["noised"]
    assert early == 1.0 > middle > late
    assert late == pytest.approx(1 / toy.SIZE, abs=0.03)  # of all V numbers the right one is the largest by chance
    assert len(found["examples"]) == 8
    assert all(text == back and text.startswith("the ") for text, back in found["examples"])


def test_the_share_of_tokens_is_that_over_texts_of_all_lengths():
    counts, lengths = torch.tensor([[1.0, 4.0], [1.0, 4.0]]).double(), torch.tensor([2, 8])
    assert measure.share(counts, lengths, None).value == pytest.approx(0.5)
    assert measure.share(counts, lengths, None).error == pytest.approx(0.0)
    weights = torch.tensor([0.75, 0.25]).double()
    uneven = measure.share(torch.tensor([[2.0, 4.0], [2.0, 4.0]]).double(), lengths, weights)
    assert uneven.value == pytest.approx((0.75 * 2 + 0.25 * 4) / (0.75 * 2 + 0.25 * 8))


def test_a_split_adds_up():
    found = measure.split(latent(), rows(), law(), seeded())
    assert set(found) == {"elbo", "realisation", "rate", "information", "matching"}
    assert found["elbo"]["value"] == pytest.approx(found["realisation"]["value"] - found["rate"]["value"])
    for side, other in (("lower", "upper"), ("upper", "lower")):
        parts = found["information"][side]["value"] + found["matching"][other]["value"]
        assert found["rate"]["value"] == pytest.approx(parts)
    entropy = -(law() * law().log()).sum().item()
    assert 0 < found["information"]["lower"]["value"] < entropy + 0.1


def test_gaps_add_up_and_rise_with_k():
    model = latent()
    found = measure.gap_curve(model, rows(), law(), seeded(), ks=(1, 2, 8), operations=1.0)
    assert found["rows"] == 2  # the fewest that have an error
    values = [told(mean).value for mean in found["values"]]
    assert values[0] == pytest.approx(0.0, abs=1e-9)
    assert 0.0 < values[1] < values[2]
    assert found["k"] == 8
    assert found["total"]["value"] == pytest.approx(found["amortisation"]["value"] + found["family"]["value"])
    assert model.probe is None


def test_operations_say_how_many_rows_there_are():
    model, x = latent(), toy.draw(6, seeded())
    each = measure.gap_operations(model, x[:1], 4)
    found = measure.gap_curve(model, x, None, seeded(), ks=(1, 4), operations=3.5 * each)
    assert found["rows"] == 3
    assert found["values"][1]["n"] == 3
    again = measure.gap_curve(model, x, None, seeded(), ks=(1, 4), operations=3.5 * each)
    assert again == found


def test_speeds_are_tokens_a_second_in_turns(monkeypatch):
    order, clock = [], [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: clock[0])

    def call(name, seconds):
        def run():
            order.append(name)
            clock[0] += seconds
            return 100

        return run

    training = {"slow": call("slow", 0.02), "fast": call("fast", 0.005)}
    found = measure.speeds(training, {"slow": call("writes", 0.01)}, repeats=5)
    assert order == ["slow", "fast", "writes"] * 6
    assert found["slow"]["training"] == pytest.approx(100 / 0.02)
    assert found["fast"]["training"] == pytest.approx(100 / 0.005)
    assert set(found["slow"]) == {"training", "generation"}
    assert set(found["fast"]) == {"training"}
