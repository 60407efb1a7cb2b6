"""The block: masks worked out by hand, rotations that know only distances, a cache equal to a full pass."""

import pytest
import torch

from encoders.text.blocks import Block, Transformer, causal, rotate

WIDTH, HEADS, LENGTH = 32, 4, 9
POSITIONS = torch.arange(LENGTH)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def block(conditioned: bool = False) -> Block:
    """A block with weights that do not depend on the tests before, none of them 0."""
    made = Block(WIDTH, HEADS, conditioned)
    for index, parameter in enumerate(made.parameters()):
        parameter.data = draw(*parameter.shape, seed=index) * 0.2
    return made


def test_masks_by_hand():
    positions = torch.arange(4)
    assert causal(positions, positions).int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert causal(positions[2:3], positions).tolist() == [[True, True, True, False]]


def test_rotation_keeps_lengths_and_knows_only_distances():
    x, y = draw(1, 1, 1, 8), draw(1, 1, 1, 8, seed=1)
    near = rotate(x, torch.tensor([3])) * rotate(y, torch.tensor([1]))
    far = rotate(x, torch.tensor([503])) * rotate(y, torch.tensor([501]))
    torch.testing.assert_close(near.sum(), far.sum(), atol=1e-4, rtol=0)
    torch.testing.assert_close(rotate(x, torch.tensor([77])).norm(), x.norm())
    assert torch.equal(rotate(x, torch.tensor([0])), x)


def test_rotation_is_float32_amid_bfloat16():
    x = draw(1, 1, 1, 8).bfloat16()
    turned = rotate(x, torch.tensor([1001]))
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned, rotate(x.float(), torch.tensor([1001])).bfloat16(), atol=0, rtol=0)


def test_later_positions_are_not_seen():
    model, x = block(), draw(2, LENGTH, WIDTH)
    mask = causal(POSITIONS, POSITIONS)
    changed = x.clone()
    changed[:, 5] += 1.0
    before, after = model(x, POSITIONS, mask)[0], model(changed, POSITIONS, mask)[0]
    assert torch.equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any(dim=2).all()


@pytest.mark.parametrize("conditioned", [False, True])
def test_a_cache_equals_a_full_pass(conditioned):
    model, x = block(conditioned), draw(2, LENGTH, WIDTH)
    condition = draw(2, LENGTH, WIDTH, seed=1) if conditioned else None
    full, cache = model(x, POSITIONS, causal(POSITIONS, POSITIONS), condition=condition)
    parts, past = [], None
    for part in (slice(0, 4), slice(4, 5), slice(5, LENGTH)):
        positions = POSITIONS[part]
        given = condition[:, part] if condition is not None else None
        out, past = model(x[:, part], positions, causal(positions, POSITIONS[: part.stop]), past, given)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts, dim=1), full, atol=1e-5, rtol=1e-5)
    assert past is not None
    torch.testing.assert_close(past.keys, cache.keys, atol=1e-5, rtol=1e-5)
    assert past.values.shape == (2, HEADS, LENGTH, WIDTH // HEADS)


def test_a_conditioned_block_starts_as_the_identity():
    x = draw(2, LENGTH, WIDTH)
    out, _ = Block(WIDTH, HEADS, conditioned=True)(x, POSITIONS, condition=draw(2, LENGTH, WIDTH, seed=1))
    assert torch.equal(out, x)


def test_a_condition_is_its_positions_own():
    model, x, condition = block(True), draw(1, LENGTH, WIDTH), draw(1, LENGTH, WIDTH, seed=1)
    mask = torch.eye(LENGTH, dtype=torch.bool)
    changed = condition.clone()
    changed[:, 3] += 1.0
    differs = (model(x, POSITIONS, mask, None, condition)[0] != model(x, POSITIONS, mask, None, changed)[0]).any(dim=2)
    assert differs[0].tolist() == [place == 3 for place in range(LENGTH)]


def test_a_transformer_with_a_cache_equals_a_full_pass():
    model, x = Transformer(WIDTH, 3, HEADS), draw(2, LENGTH, WIDTH)
    full, _ = model(x, POSITIONS, causal(POSITIONS, POSITIONS))
    first, past = model(x[:, :4], POSITIONS[:4], causal(POSITIONS[:4], POSITIONS[:4]))
    second, _ = model(x[:, 4:], POSITIONS[4:], causal(POSITIONS[4:], POSITIONS), past)
    torch.testing.assert_close(torch.cat([first, second], dim=1), full, atol=1e-5, rtol=1e-5)


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="width must be a multiple of 2 \\* num_heads, got width 12 and 4 heads"):
        Block(12, 4)
