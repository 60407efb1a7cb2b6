"""Shapes of equal size."""

import itertools

import pytest
from torch import nn

from encoders.size import closest_shape, count_parameters
from encoders.text.autoregressive import Autoregressive
from encoders.text.masked import Masked
from encoders.text.vae import TextVAE, VAEConfig

SHAPES = list(itertools.product(range(96, 225, 8), range(3, 6)))


def test_counts_only_what_is_trained():
    model = nn.Linear(3, 2)
    assert count_parameters(model) == 8
    model.bias.requires_grad = False
    assert count_parameters(model) == 6


@pytest.mark.parametrize("model", [Autoregressive, Masked])
@pytest.mark.parametrize("vocabulary_size", [20, 2000])
def test_baselines_are_as_large_as_the_vae(model, vocabulary_size):
    target = count_parameters(TextVAE(vocabulary_size, VAEConfig()))
    width, layers = closest_shape(lambda width, layers: model(vocabulary_size, width, layers), SHAPES, target)
    assert abs(count_parameters(model(vocabulary_size, width, layers)) - target) < 0.05 * target


def test_a_size_out_of_reach_is_refused():
    with pytest.raises(ValueError, match=r"expected a shape of about 1000000 parameters, the closest, \(4,\), has 20"):
        closest_shape(lambda width: nn.Linear(width, width), [(2,), (4,)], 1_000_000)
