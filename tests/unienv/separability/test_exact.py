import itertools
import math
from collections import defaultdict

import numpy as np
import pytest

from tests.unienv.separability import toys
from unienv.registry import make_world
from unienv.separability.draws import NotEnumerable
from unienv.separability.enumeration import enumerate_world
from unienv.separability.exact import exact
from unienv.separability.ladder import ladder

SMALL = {"num_colours": 2, "num_shapes": 2}
LN2 = math.log(2)


@pytest.mark.parametrize("kind", ["joint", "additive", "redundant", "text", "image"])
@pytest.mark.parametrize("coupling", [0.0, 0.25, 0.5, 1.0])
def test_match_has_its_closed_form(kind, coupling):
    """Pictures and sentences, enumerated: the value of the docstring's formula, at every setting of the dial."""
    world = make_world("match", kind=kind, coupling=coupling, **SMALL)
    report = exact(world)
    assert report.total("feedback", "nonseparability") == pytest.approx(world.nonseparability(), abs=1e-9)
    assert report.steps[0].feedback.certificate < 1e-9
    assert report.length == pytest.approx(1.0)


def test_pixels_and_places_of_the_full_world_change_nothing():
    assert exact(make_world("match")).total("feedback", "nonseparability") == pytest.approx(LN2, abs=1e-9)


def test_the_law_of_the_actions_is_declared_and_counts():
    world = make_world("match", kind="additive", coupling=0.5, **SMALL)
    report = exact(world, rho=np.array([0.9, 0.1]))
    assert "0.9" in report.rho and exact(world).rho == "uniform actions"
    assert report.total("feedback", "nonseparability") == pytest.approx(world.nonseparability(), abs=1e-9)
    recall = toys.Delayed()
    assert exact(recall, rho=np.array([1.0, 0.0]), history=2).total("feedback", "nonseparability") == pytest.approx(LN2)


def test_the_signal_is_measured_beside_the_feedback():
    """Under supervision l = 1[a = oracle(w)] is the XOR itself; xi still is AND, which a sum of scores expresses."""
    report = exact(toys.Both(signal="label"))
    assert report.total("feedback", "nonseparability") == pytest.approx(0.0, abs=1e-9)
    assert report.total("signal", "nonseparability") == pytest.approx(LN2, abs=1e-9)


def test_memory_decides_what_is_separable():
    """What was shown earlier: needed from one modality (Recall), or one half of what is needed (Delayed)."""
    recall, delayed = toys.Recall(), toys.Delayed()
    for world, memory, information, nonseparability in [
        (recall, 1, 0.0, 0.0),
        (recall, 2, LN2, 0.0),
        (delayed, 1, 0.0, 0.0),
        (delayed, 2, LN2, LN2),
    ]:
        report = exact(world, history=memory)
        assert report.total("feedback", "information") == pytest.approx(information, abs=1e-9)
        assert report.total("feedback", "nonseparability") == pytest.approx(nonseparability, abs=1e-9)
    assert exact(delayed).conditioning == "the present observation and the action, each step by itself"
    assert "last 2 observations, the actions between them and the action" in exact(delayed, history=2).conditioning


def trajectories(kernel, steps):
    """Law of (observations o_1..o_T+1 as code pairs, actions a_1..a_T) under uniform actions."""
    law = defaultdict(float)
    edges = defaultdict(list)
    for e in range(len(kernel.source)):
        edges[kernel.source[e], kernel.action[e]].append(e)
    code = [tuple(row) for row in kernel.codes.tolist()]

    def go(state, p, seen, done):
        if len(done) == steps:
            law[seen, done] += p
            return
        for action in range(kernel.num_actions):
            for e in edges[state, action]:
                after = kernel.target[e]
                go(after, p / kernel.num_actions * kernel.probability[e], (*seen, code[after]), (*done, action))

    for state in np.flatnonzero(kernel.initial):
        go(state, kernel.initial[state], (code[state],), ())
    return law


def test_steps_add_up_to_the_divergence_of_whole_trajectories():
    """The chain rule: KL(P || Q) of trajectories, Q made of every modality's own prediction of itself."""
    kernel = enumerate_world(toys.Drift())
    steps = 3
    law = trajectories(kernel, steps)
    assert sum(law.values()) == pytest.approx(1.0)

    def marginal(key):
        table = defaultdict(float)
        for (seen, done), p in law.items():
            table[key(seen, done)] += p
        return lambda seen, done: table[key(seen, done)]

    divergence = 0.0
    factors = []
    for t in range(1, steps + 1):
        ahead = marginal(lambda s, a, t=t: (s[: t + 1], a[:t]))
        known = marginal(lambda s, a, t=t: (s[:t], a[:t]))
        factors.append((1.0, ahead, known))
        for m in range(2):
            ahead = marginal(lambda s, a, t=t, m=m: (tuple(o[m] for o in s[: t + 1]), a[:t]))
            known = marginal(lambda s, a, t=t, m=m: (tuple(o[m] for o in s[:t]), a[:t]))
            factors.append((-1.0, ahead, known))
    for (seen, done), p in law.items():
        divergence += p * sum(sign * math.log(num(seen, done) / den(seen, done)) for sign, num, den in factors)
    report = exact(kernel, history=steps)
    assert divergence > 0.05
    assert report.total("output", "nonseparability") == pytest.approx(divergence, abs=1e-9)


def test_feedback_of_a_hidden_chain_matches_a_direct_fit():
    """One step of Drift by hand: with 2 x 2 observations and 2 actions the class is fitted by plain optimisation."""
    from scipy.optimize import minimize

    p = {}
    for text, image, hidden, action in itertools.product(range(2), repeat=4):
        success = 0.2 + 0.5 * (action == (text ^ hidden))
        p[text, image, action] = p.get((text, image, action), 0.0) + success / 2

    def cross_entropy(theta):
        f, g = theta[:4].reshape(2, 2), theta[4:].reshape(2, 2)
        total = 0.0
        for (text, image, action), success in p.items():
            s = f[text, action] + g[image, action]
            total += (success * np.logaddexp(0, -s) + (1 - success) * np.logaddexp(0, s)) / 8
        return total

    best = minimize(cross_entropy, np.zeros(8)).fun
    entropy = sum(-s * math.log(s) - (1 - s) * math.log(1 - s) for s in p.values()) / 8
    first = exact(toys.Drift()).steps[0].feedback
    assert first.nonseparability == pytest.approx(best - entropy, abs=1e-8)
    assert first.entropy == pytest.approx(entropy, abs=1e-12)


def test_only_the_living_count():
    """In goto an episode ends on an object, so later steps weigh less."""
    report = exact(make_world("goto", size=3, num_colours=2, num_shapes=2), horizon=2)
    alive = [step.alive for step in report.steps]
    assert alive[0] == pytest.approx(1.0) and 0.5 < alive[1] < 1.0
    assert report.length == pytest.approx(sum(alive))
    assert report.total("signal", "nonseparability") > 0.2


def test_feedback_that_differs_in_a_late_digit_differs():
    assert exact(toys.Exacting()).total("feedback", "nonseparability") == pytest.approx(LN2, abs=1e-9)


def test_separable_feedback_may_make_a_signal_that_is_not():
    report = exact(toys.Made())
    assert report.total("feedback", "nonseparability") == pytest.approx(0.0, abs=1e-9)
    assert report.total("signal", "nonseparability") == pytest.approx(LN2, abs=1e-9)


def test_episodes_that_fade_come_to_an_end_and_endless_ones_are_refused(monkeypatch):
    report = exact(toys.Fading())
    assert report.length == pytest.approx(10.0, abs=1e-6) and len(report.steps) < 250
    assert report.total("feedback", "nonseparability") == pytest.approx(10 * LN2, abs=1e-5)

    class Unending(toys.Fading):
        def transition(self, state, observation, action, feedback, keys):
            return state

    monkeypatch.setattr("unienv.separability.walk._STEPS", 100)
    with pytest.raises(NotEnumerable, match="take a shorter history or horizon"):
        exact(Unending())


@pytest.mark.parametrize(
    "options, match",
    [
        ({"rho": np.array([0.5, 0.6])}, "2 probabilities that sum to 1"),
        ({"rho": np.ones(3) / 3}, "2 probabilities that sum to 1"),
        ({"rho": np.array([np.nan, 1.0])}, "2 probabilities that sum to 1"),
        ({"horizon": 0}, "at least 1, got 0"),
        ({"history": 0}, "at least 1; got 0"),
        ({"limit": 10}, "smaller version"),
    ],
)
def test_bad_input_is_told_in_one_line(options, match):
    with pytest.raises(ValueError, match=match) as told:
        exact(make_world("match", **SMALL), **options)
    assert "\n" not in str(told.value)


def test_a_kernel_is_no_good_beyond_its_horizon():
    kernel = enumerate_world(make_world("goto", size=3, num_colours=2, num_shapes=2), horizon=1)
    assert len(exact(kernel).steps) == 1
    for measure in (exact, ladder):
        with pytest.raises(ValueError, match=r"horizon must lie in \[1, 1\] for this kernel, got 2"):
            measure(kernel, horizon=2)
