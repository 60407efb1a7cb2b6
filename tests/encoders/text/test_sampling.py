import pytest
import torch

from encoders.text.prior import Prior
from encoders.text.sampling import guided, sample
from tests.encoders.text.test_prior import LATENT, inputs, make, seeded


def history_of(prior, clean):
    """The cache of blocks read one after the other."""
    past = None
    for positions in torch.arange(clean.shape[1]).split(prior.block):
        _, past = prior(clean[:, positions], torch.zeros(len(clean), len(positions)), positions, past=past)
    return past


@pytest.mark.parametrize("length, block, size", [(6, 2, 0), (5, 3, 0), (3, 1, 1), (2, 4, 0), (6, 3, 1), (8, 3, 5)])
def test_samples_are_the_packed_ode(length, block, size):
    """Replay: Euler's steps without a cache or a scheduler, from the same noise, with the packed velocity."""
    prior, steps, (clean, _, _) = make(block), 5, inputs(length, block)
    found = sample(prior, 3, length, seeded(4), steps=steps, prefix=clean[:, :size])
    generator, z = seeded(4), torch.zeros(3, length, LATENT)
    z[:, :size] = clean[:, :size]
    for here in torch.arange(length).split(block):
        free = here[here >= size]
        if len(free) == 0:
            continue
        moving = z.clone()
        moving[:, free] = torch.randn(3, len(here), LATENT, generator=generator)[:, -len(free) :]
        for k in range(steps, 0, -1):
            t = torch.full((3, length), k / steps)
            t[:, :size] = 0.0
            moving[:, free] -= prior.packed(z, moving, t)[:, free].detach() / steps
        z[:, free] = moving[:, free]
    assert found.dtype == torch.float32
    assert not found.requires_grad
    torch.testing.assert_close(found, z, rtol=0, atol=1e-5)


def test_a_cache_replayed_is_the_same_to_the_bit():
    """Denoising reads the cache and leaves it as it was."""
    prior, (clean, noised, t) = make(), inputs(6, 2)
    past, positions = history_of(prior, clean[:, :4]), torch.tensor([4, 5])
    copies = [tuple(part.clone() for part in kv) for kv in past]
    first, second = (guided(prior, noised[:, 4:], t[:, 4:], positions, past, guidance=3.0) for _ in range(2))
    assert torch.equal(first, second)
    for kv, copy in zip(past, copies, strict=True):
        assert all(torch.equal(*pair) for pair in zip(kv, copy, strict=True))
    for kv, again in zip(past, history_of(prior, clean[:, :4]), strict=True):
        assert all(torch.equal(*pair) for pair in zip(kv, again, strict=True))


def test_samples_follow_their_generator():
    prior = make()
    one, same, other = (sample(prior, 3, 6, seeded(seed), steps=3) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.isclose(one, other).any()


def test_a_still_prior_gives_its_noise():
    z = sample(Prior(LATENT, 32, 1, 2, 2), 4000, 4, seeded(), steps=2)
    assert z.shape == (4000, 4, LATENT)
    assert (z.mean(dim=0).abs() < 0.1).all()
    assert ((z.std(dim=0) - 1).abs() < 0.1).all()


def test_without_history_the_velocity_is_that_of_a_first_block():
    prior, (clean, noised, t) = make(), inputs(6, 2)
    past, positions = history_of(prior, clean[:, :4]), torch.tensor([4, 5])
    alone = guided(prior, noised[:, 4:], t[:, 4:], positions, past, guidance=0.0)
    first = prior.packed(clean, noised.roll(2, dims=1), t.roll(2, dims=1))[:, :2]  # the same noise as block 0
    torch.testing.assert_close(alone, first, rtol=0, atol=1e-5)
    given = guided(prior, noised[:, 4:], t[:, 4:], positions, past, guidance=1.0)
    assert (given - alone).abs().mean() > 0.05
    beyond = guided(prior, noised[:, 4:], t[:, 4:], positions, past, guidance=3.0)
    torch.testing.assert_close(beyond, alone + 3.0 * (given - alone), rtol=0, atol=1e-5)


def test_guidance_leaves_the_first_block_as_it_is():
    prior = make()
    plain, strong = (sample(prior, 3, 4, seeded(), steps=4, guidance=s) for s in (1.0, 7.0))
    assert torch.equal(plain[:, :2], strong[:, :2])
    assert not torch.isclose(plain[:, 2:], strong[:, 2:]).any()


@pytest.mark.parametrize("size", range(7))
def test_a_prefix_comes_out_unchanged(size):
    prior, (clean, _, _) = make(block=3), inputs(6, 3)
    z = sample(prior, 3, 6, seeded(), steps=3, guidance=2.0, prefix=clean[:, :size])
    assert torch.equal(z[:, :size], clean[:, :size])
    assert z.isfinite().all()


def test_rows_have_prefixes_of_their_own():
    prior, (clean, _, _) = make(block=3), inputs(9, 3, batch=4)
    sizes = torch.tensor([0, 2, 3, 5])
    known = torch.arange(5) < sizes[:, None]
    z = sample(prior, 4, 9, seeded(), steps=3, prefix=clean[:, :5], known=known)
    for row, size in enumerate(sizes.tolist()):
        assert torch.equal(z[row, :size], clean[row, :size])
        assert not torch.isclose(z[row, size:], clean[row, size:]).any()
    torch.testing.assert_close(z[0], sample(prior, 4, 9, seeded(), steps=3)[0], rtol=0, atol=1e-5)
    garbled = torch.where(known[..., None], clean[:, :5], 9.0)  # what is not known does not count
    assert torch.equal(z, sample(prior, 4, 9, seeded(), steps=3, prefix=garbled, known=known))


@pytest.mark.parametrize("shape", [(2, 3, LATENT), (3, 7, LATENT), (3, 2, LATENT + 1)])
def test_a_prefix_that_does_not_fit_is_told_in_one_line(shape):
    with pytest.raises(ValueError, match=r"prefix must have the shape \(3, at most 6, 3\), got \(") as error:
        sample(make(), 3, 6, seeded(), prefix=torch.zeros(shape))
    assert "\n" not in str(error.value)
