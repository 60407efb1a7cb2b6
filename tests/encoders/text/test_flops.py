import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from encoders.text.autoregressive import Autoregressive
from encoders.text.blocks import Block, causal
from encoders.text.flops import flops


def test_a_linear_layer_by_hand():
    """Forward 2 B n m; backward as much for the weights, and once more if the input has a gradient."""
    layer, x = nn.Linear(5, 7), torch.randn(11, 5)
    product = 2 * 11 * 5 * 7
    assert flops(lambda: layer(x)) == product
    assert flops(lambda: layer(x).sum().backward()) == 2 * product
    assert flops(lambda: layer(x.requires_grad_()).sum().backward()) == 3 * product


def test_what_is_elementwise_is_not_counted():
    assert flops(lambda: nn.LayerNorm(8)(torch.randn(4, 8)).exp()) == 0


@pytest.mark.parametrize("mask", [None, causal(torch.arange(6), torch.arange(6))])
def test_attention_by_hand(mask):
    """Scores and values are a product each; the way back has four, and one more where scores are computed again."""
    q, k, v = (torch.randn(2, 4, 6, 8, requires_grad=True) for _ in range(3))
    product = 2 * (2 * 4) * 6 * 6 * 8
    assert flops(lambda: scaled_dot_product_attention(q, k, v, mask)) == 2 * product
    assert flops(lambda: scaled_dot_product_attention(q, k, v, mask).sum().backward()) == 7 * product
    with sdpa_kernel(SDPBackend.MATH):
        assert flops(lambda: scaled_dot_product_attention(q, k, v, mask).sum().backward()) == 6 * product


def test_a_block_by_hand():
    """12 width^2 weights of the attention's and the network's layers, each used at every position, and attention."""
    batch, length, width, heads = 3, 10, 16, 2
    block, x = Block(width, heads), torch.randn(batch, length, width, requires_grad=True)
    layers = 2 * batch * length * 12 * width**2
    product = 2 * batch * length**2 * width
    assert flops(lambda: block(x, torch.arange(length))) == layers + 2 * product
    assert flops(lambda: block(x, torch.arange(length))[0].sum().backward()) == 3 * layers + 7 * product


def test_a_step_of_training_is_6_operations_a_parameter_and_token_and_attention():
    model, x = Autoregressive(20, width=32, num_layers=3, num_heads=4), torch.randint(1, 17, (4, 12))
    used = sum(p.numel() for name, p in model.named_parameters() if p.dim() == 2 and name != "embed.weight")
    attention = 3 * 7 * 2 * 4 * 12**2 * 32
    assert flops(lambda: model.loss(x)["loss"].backward()) == 6 * 4 * 12 * used + attention
    assert all(p.grad is not None for p in model.parameters())  # the step was taken
