import itertools

import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy.stats import chisquare

from agents.choices import Choices
from agents.network import make_network
from tests.agents.tiny import small, space_of

NVEC = (3, 2, 4)


def logits_of(batch=1, seed=0):
    return torch.randn(batch, sum(NVEC), generator=torch.Generator().manual_seed(seed))


def test_the_law_of_an_action_adds_up_to_one():
    choices = Choices(NVEC)
    every = torch.tensor(list(itertools.product(*map(range, NVEC))))
    log_probs = choices.log_probs(logits_of()).expand(len(every), -1)
    assert choices.at(log_probs, every).exp().sum().item() == pytest.approx(1.0, rel=1e-5)


def test_one_part_is_a_categorical_law():
    choices, logits = Choices([5]), torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(choices.log_probs(logits), logits.log_softmax(dim=1))
    actions = torch.arange(7)[:, None] % 5
    torch.testing.assert_close(choices.at(logits, actions), logits.gather(1, actions)[:, 0])


def test_samples_follow_the_law_of_each_part():
    choices, count = Choices(NVEC), 20_000
    log_probs = choices.log_probs(logits_of())
    sampled = choices.sample(log_probs.expand(count, -1), torch.Generator().manual_seed(2))
    for part, law in zip(sampled.T, log_probs[0].exp().split(NVEC), strict=True):
        expected = law.double() / law.double().sum() * count
        assert chisquare(np.bincount(part, minlength=len(law)), expected.numpy()).pvalue > 1e-3


def test_uniform_actions_are_uniform():
    drawn = Choices(NVEC).uniform(20_000, torch.Generator().manual_seed(0))
    for part, k in zip(drawn.T, NVEC, strict=True):
        assert chisquare(np.bincount(part, minlength=k)).pvalue > 1e-3


def test_entries_are_added_over_the_parts_whatever_stands_between():
    rows = torch.randn(6, 2, sum(NVEC), generator=torch.Generator().manual_seed(3))
    actions = Choices(NVEC).uniform(6, torch.Generator().manual_seed(4))
    found = Choices(NVEC).at(rows, actions)
    for b, (i, j, k) in enumerate(actions.tolist()):
        torch.testing.assert_close(found[b], rows[b, :, i] + rows[b, :, 3 + j] + rows[b, :, 5 + k])


def test_a_network_emits_a_head_for_every_part():
    space = spaces.Dict({"text": spaces.MultiDiscrete([4, 4]), "image": spaces.Discrete(3)})
    for form in ("joint", "late", "image"):
        network = make_network(space_of(5), space, small(psi=form))
        assert network.choices.nvec == (3, 4, 4)
        assert network.heads[0].policy.out_features == 11
