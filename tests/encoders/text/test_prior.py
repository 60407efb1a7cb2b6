import math

import pytest
import torch

from encoders.text import flow
from encoders.text.prior import STOPS, Prior, packed_mask, waves

LATENT = 3


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make(block=2, latent=LATENT, width=32, seed=0):
    """A prior whose gates and outputs are open, as if it had been trained: at the start they are zero."""
    torch.manual_seed(seed)
    prior = Prior(latent, width, num_layers=2, num_heads=2, block=block)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return prior


def inputs(length, block, batch=3, latent=LATENT, seed=1):
    """Clean and noised latents (B, L, d) and times (B, L) that a block's positions share."""
    generator = seeded(seed)
    clean, noised = torch.randn(2, batch, length, latent, generator=generator)
    t = torch.rand(batch, math.ceil(length / block), generator=generator)
    return clean, noised, t.repeat_interleave(block, dim=1)[:, :length]


def sequential(prior, clean, noised, t):
    """Velocities block by block: each finished block is read at time 0 into a cache."""
    found, past = [], None
    for positions in torch.arange(clean.shape[1]).split(prior.block):
        found.append(prior(noised[:, positions], t[:, positions], positions, past=past)[0])
        _, past = prior(clean[:, positions], torch.zeros_like(t[:, positions]), positions, past=past)
    return torch.cat(found, dim=1)


def modelled(z):
    return torch.ones(z.shape[:2], dtype=torch.bool)


def test_the_packed_mask_of_four_positions_in_blocks_of_two():
    expected = """
        1 1 . . . .
        1 1 . . . .
        . . 1 1 . .
        . . 1 1 . .
        1 1 . . 1 1
        1 1 . . 1 1
    """
    rows = [[mark == "1" for mark in line.split()] for line in expected.strip().splitlines()]
    assert packed_mask(torch.arange(4), 2).tolist() == rows


@pytest.mark.parametrize("length, block", [(8, 2), (7, 3), (4, 1), (3, 4), (4, 4)])
def test_the_packed_mask_is_its_definition(length, block):
    places = [("clean", i) for i in range((length - 1) // block * block)] + [("noised", i) for i in range(length)]
    allowed = packed_mask(torch.arange(length), block)
    assert allowed.shape == (len(places), len(places))
    for row, (asks, i) in enumerate(places):
        for column, (asked, j) in enumerate(places):
            b, c = i // block, j // block
            expected = {
                ("clean", "clean"): c <= b,
                ("clean", "noised"): False,
                ("noised", "clean"): c < b,
                ("noised", "noised"): c == b,
            }[asks, asked]
            assert bool(allowed[row, column]) == expected


@pytest.mark.parametrize("length, block", [(8, 2), (7, 3), (4, 1), (3, 4), (16, 8)])
def test_packed_velocities_are_the_sequential_ones(length, block):
    prior, (clean, noised, t) = make(block), inputs(length, block)
    packed = prior.packed(clean, noised, t)
    assert packed.std() > 0.1
    torch.testing.assert_close(packed, sequential(prior, clean, noised, t), rtol=0, atol=1e-5)


def test_what_comes_after_a_block_does_not_reach_it():
    prior, (clean, noised, t) = make(), inputs(8, 2)
    before = prior.packed(clean, noised, t)
    for b in range(4):
        changed, after = [x.clone() for x in (clean, noised, t)], slice(2 * b + 2, 8)
        for x in changed:
            x[:, after] = 0.5 - x[:, after]
        found = prior.packed(*changed)
        torch.testing.assert_close(found[:, : 2 * b + 2], before[:, : 2 * b + 2], rtol=0, atol=1e-6)
        assert b == 3 or not torch.isclose(found[:, after], before[:, after]).all(dim=2).any()


def test_a_block_sees_its_history_clean_and_itself_noised():
    prior, (clean, noised, t) = make(), inputs(8, 2)
    clean, noised = clean.requires_grad_(), noised.requires_grad_()
    v = prior.packed(clean, noised, t)
    for b in range(4):
        to_clean, to_noised = torch.autograd.grad(v[:, 2 * b].sum(), (clean, noised), retain_graph=True)
        seen = to_clean.abs().amax(dim=(0, 2)) > 0, to_noised.abs().amax(dim=(0, 2)) > 0
        assert seen[0].tolist() == [i // 2 < b for i in range(8)]
        assert seen[1].tolist() == [i // 2 == b for i in range(8)]


def test_a_new_prior_is_still():
    """AdaLN-zero: velocity 0 everywhere at the start."""
    torch.manual_seed(0)
    prior = Prior(LATENT, 32, num_layers=2, num_heads=2, block=2)
    assert torch.equal(prior.packed(*inputs(8, 2)), torch.zeros(3, 8, LATENT))


def test_rows_do_not_meet():
    prior, (clean, noised, t) = make(), inputs(8, 2)
    alone = prior.packed(clean[1:2], noised[1:2], t[1:2])
    torch.testing.assert_close(alone, prior.packed(clean, noised, t)[1:2], rtol=0, atol=1e-5)


def test_equal_latents_of_a_block_move_by_their_place():
    prior = make(block=3)
    v, _ = prior(torch.ones(1, 3, LATENT), torch.full((1, 3), 0.5), torch.arange(3))
    assert torch.pdist(v[0]).min() > 0.1
    with torch.no_grad():
        prior.place.zero_()
    v, _ = prior(torch.ones(1, 3, LATENT), torch.full((1, 3), 0.5), torch.arange(3))
    assert torch.pdist(v[0]).max() < 1e-5  # rotary positions are not enough


def test_waves_tell_times_apart():
    t = torch.linspace(0, 1, 101)
    codes = waves(t, 32)
    assert codes.shape == (101, 32)
    torch.testing.assert_close(codes[3, 0], torch.tensor(0.96).sin(), rtol=0, atol=1e-4)
    gaps = torch.cdist(codes, codes) + torch.eye(101) * 9
    assert gaps.min() > 0.3
    assert (codes.diff(dim=0) * 100).abs().max() < 33  # what a solver of 32 steps can follow


def spy(prior, monkeypatch):
    """The arguments of the calls of `packed`; velocities are those of the prior."""
    calls, packed = [], prior.packed
    monkeypatch.setattr(prior, "packed", lambda *args: (calls.append(args), packed(*args))[1])
    return calls


def test_the_loss_is_the_error_of_the_velocity(monkeypatch):
    """Noise and target are told from the path alone: z1 = (z_t - (1 - t) z0) / t."""
    prior = make()
    calls = spy(prior, monkeypatch)
    z0, _, _ = inputs(6, 2, batch=5)
    loss = prior.loss(z0, modelled(z0), seeded(), boundary=0.0)
    ((clean, noised, t),) = calls
    assert torch.equal(clean, z0)
    assert torch.equal(t[:, 0::2], t[:, 1::2])  # one time a block ...
    assert len(t[:, 0::2].unique()) == 15  # ... and blocks differ
    z1 = (noised - (1 - t[..., None]) * z0) / t[..., None]
    expected = (prior.packed(clean, noised, t) - (z1 - z0)).square().mean()
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=0)


def test_the_loss_of_the_best_constant_is_known():
    """With v = 0 and z0 ~ N(0, I), E (z1 - z0)^2 = 2 a coordinate."""
    prior, z0 = Prior(LATENT, 32, 1, 2, 2), torch.randn(512, 6, LATENT, generator=seeded())
    assert prior.loss(z0, modelled(z0), seeded(1)).item() == pytest.approx(2.0, abs=0.1)


def test_the_loss_follows_its_generator():
    prior, (z0, _, _) = make(), inputs(6, 2)
    one, same, other = (prior.loss(z0, modelled(z0), seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_padding_has_no_part_in_the_loss():
    prior, (z0, _, _) = make(), inputs(6, 2)
    kept = torch.tensor([6, 4, 2])[:, None] > torch.arange(6)
    assert kept.sum(dim=1).tolist() == [6, 4, 2]
    garbled = torch.where(kept[..., None], z0, 9.0)
    losses = [prior.loss(z, kept, seeded(), boundary=0.5) for z in (z0, garbled)]
    torch.testing.assert_close(*losses, rtol=0, atol=1e-5)
    assert prior.loss(z0, torch.zeros_like(kept), seeded()) == 0.0


def test_the_mean_is_over_modelled_coordinates():
    prior, (z0, _, _) = Prior(LATENT, 32, 1, 2, 2), inputs(6, 2, batch=400)
    short = torch.arange(6).expand(400, 6) < 2
    losses = [prior.loss(z0, kept, seeded(), boundary=0.0).item() for kept in (modelled(z0), short)]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


def test_some_blocks_begin_clean(monkeypatch):
    prior = make(block=4)
    calls = spy(prior, monkeypatch)
    z0, _, _ = inputs(12, 4, batch=2000)
    loss = prior.loss(z0, modelled(z0), seeded(), boundary=0.3)
    ((clean, noised, t),) = calls
    pinned = t == 0
    assert torch.equal(noised[pinned], clean[pinned])
    sizes = pinned.unflatten(1, (3, 4)).sum(dim=2)
    assert torch.equal(pinned.unflatten(1, (3, 4)), torch.arange(4) < sizes[..., None])  # left parts
    shares = torch.bincount(sizes.flatten(), minlength=5) / sizes.numel()
    torch.testing.assert_close(shares, torch.tensor([0.7, 0.1, 0.1, 0.1, 0.0]), rtol=0, atol=0.02)
    z1 = (noised - (1 - t[..., None]) * z0) / t[..., None]  # nan where pinned
    expected = (prior.packed(clean, noised, t) - (z1 - z0))[~pinned].square().mean()
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=0)


def test_a_block_of_one_position_has_no_part(monkeypatch):
    prior = make(block=1)
    calls = spy(prior, monkeypatch)
    z0, _, _ = inputs(5, 1)
    prior.loss(z0, modelled(z0), seeded(), boundary=1.0)
    assert (calls[0][2] > 0).all()


def test_the_encoder_learns_through_the_noised_input_alone(monkeypatch):
    """The gradient is that of the loss in which target, history and clean parts are other tensors of the same value."""
    prior, (z0, _, _) = make(), inputs(6, 2)
    calls = spy(prior, monkeypatch)
    entering = z0.clone().requires_grad_()
    prior.loss(entering, modelled(z0), seeded(), boundary=0.5).backward()
    _, noised, t = calls[0]
    z1 = ((noised - (1 - t[..., None]) * z0) / t[..., None]).detach()
    pinned = t == 0
    again = z0.clone().requires_grad_()
    v = prior.packed(z0, torch.where(pinned[..., None], z0, flow.interpolate(again, z1.nan_to_num(), t)), t)
    (v - (z1 - z0))[~pinned].square().mean().backward()
    assert entering.grad.abs().max() > 1e-3
    torch.testing.assert_close(entering.grad, again.grad, rtol=1e-3, atol=1e-5)


def test_stops_differ_in_gradient_and_not_in_value():
    prior, (z0, _, _) = make(), inputs(6, 2)
    values, gradients = [], []
    for stop in STOPS:
        z = z0.clone().requires_grad_()
        loss = prior.loss(z, modelled(z0), seeded(), stop=stop)
        loss.backward()
        values.append(loss.detach())
        gradients.append(torch.zeros_like(z) if z.grad is None else z.grad)
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2])
    into = dict(zip(STOPS, gradients, strict=True))
    assert not into["all"].any()
    assert (into["input"] - into["none"]).abs().max() > 1e-3


def test_an_unknown_stop_gets_the_nearest_name():
    z0 = torch.zeros(1, 2, LATENT)
    with pytest.raises(ValueError, match="stop must be one of input, all, none, got 'imput'; did you mean 'input'"):
        make().loss(z0, modelled(z0), seeded(), stop="imput")


def test_gradients_reach_every_parameter():
    prior, (z0, _, _) = make(), inputs(6, 2)
    prior.loss(z0, modelled(z0), seeded()).backward()
    assert [name for name, p in prior.named_parameters() if p.grad is None or not p.grad.any()] == []
