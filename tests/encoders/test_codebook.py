import numpy as np
import pytest
import torch

from encoders.codebook import OTHER, Codebook
from encoders.distinct import distinct_patches
from unienv.adapt import make_vector

KNOWN = 1023


def play(world, steps=12, **parameters):
    """Images (N, H, W, 3) of each step of uniform actions."""
    envs, generator = make_vector(world, 8, **parameters), np.random.default_rng(0)
    images = [torch.as_tensor(envs.reset(seed=0)[0]["image"])]
    for _ in range(steps):
        observation, *_ = envs.step(generator.integers(0, envs.single_action_space.n, 8))
        images.append(torch.as_tensor(observation["image"]))
    return images


def flat(*values):
    """An image (8, 8 n, 3) of n patches, each of one value."""
    return torch.tensor(values, dtype=torch.uint8).repeat_interleave(8).view(1, -1, 1).repeat(8, 1, 3)


def grid_of(images):
    return tuple(distinct_patches(images).which.shape[1:])


@pytest.mark.parametrize("world, parameters", [("goto", {"size": 4}), ("manual", {})])
def test_pictures_of_worlds_are_told_by_codes_exactly(world, parameters):
    images = play(world, **parameters)
    book, seen = Codebook.of(images, KNOWN), torch.cat(images)
    codes = book.code(distinct_patches(seen))
    assert codes.dtype == torch.int64 and codes.shape == (len(seen), seen.shape[1] // 8 * (seen.shape[2] // 8))
    assert codes.min() > OTHER and codes.max() == len(book) - 1 < 100
    assert torch.equal(book.draw(codes, grid_of(seen)), seen)
    assert len(book.patches.flatten(1).unique(dim=0)) == len(book)  # no patch is known twice


def test_pictures_are_prepared_from_codes_as_they_are_from_pixels():
    images = torch.cat(play("goto", size=4))
    book, prepared = Codebook.of([images], KNOWN), distinct_patches(images)
    codes = book.code(prepared)
    again = book.prepared(codes, grid_of(images))
    assert torch.equal(again.items[again.which], prepared.items[prepared.which])
    assert torch.equal(book.code(again), codes)


@pytest.mark.parametrize("height, width", [(13, 9), (1, 17), (16, 8)])
def test_images_of_any_sides_fill_their_last_patches_with_zeros(height, width):
    images = torch.randint(1, 256, (5, height, width, 3), generator=torch.Generator().manual_seed(0)).byte()
    book = Codebook.of(images.split(2), KNOWN)
    drawn = book.draw(book.code(distinct_patches(images)), grid_of(images))
    assert drawn.shape == (5, -(-height // 8) * 8, -(-width // 8) * 8, 3)
    assert torch.equal(drawn[:, :height, :width], images)
    assert not drawn[:, height:].any() and not drawn[:, :, width:].any()


def test_an_unknown_patch_is_other_and_shown_in_grey():
    book, image = Codebook.of([flat(1, 2)[None]], KNOWN), flat(2, 9, 1)[None]
    image[0, 3, 17, 0] ^= 1  # one byte of a known patch
    codes = book.code(distinct_patches(image))
    assert codes[0, 0] > OTHER and codes[0, 1:].tolist() == [OTHER, OTHER]
    assert torch.equal(book.draw(codes, (1, 3))[0], flat(2, 128, 128))


def test_other_stays_other_when_it_is_seen_again_but_grey_of_the_world_is_known():
    book, codes = Codebook.of([flat(1)[None]], KNOWN), torch.tensor([[OTHER, 1]])
    assert book.code(book.prepared(codes, (1, 2))).tolist() == codes.tolist()
    book = Codebook.of([flat(128)[None]], KNOWN)
    assert book.code(distinct_patches(flat(128)[None])).tolist() == [[1]]


def test_the_most_frequent_patches_are_known():
    batches = [flat(1, 2, 3, 3)[None], flat(4, 2, 2, 3)[None], flat(2, 4, 1, 2)[None]]  # 1: 2, 2: 5, 3: 3, 4: 2
    book = Codebook.of(batches, 2)
    assert len(book) == 3 and book.patches[:, 0, 0, 0].tolist() == [128, 2, 3]
    assert book.code(distinct_patches(flat(1, 2, 3, 4)[None])).tolist() == [[OTHER, 1, 2, OTHER]]
    assert len(Codebook.of(batches, 4)) == len(Codebook.of(batches, KNOWN)) == 5


def test_the_batches_in_which_images_come_do_not_count():
    images = torch.cat(play("goto", size=4))
    one, two = (Codebook.of(images.split(size), 10) for size in (7, len(images)))
    assert len(one) == 11 and torch.equal(one.patches, two.patches)


@pytest.mark.parametrize(
    "patches",
    [torch.zeros(3, 8, 8, 3), torch.zeros(3, 8, 8).byte(), torch.zeros(3, 8, 9, 3).byte(), torch.zeros(8, 8, 3).byte()],
)
def test_what_is_no_patches_is_refused(patches):
    with pytest.raises(ValueError, match=r"^patches must be \(C - 1, 8, 8, 3\) uint8, got \(.*\) of torch\.\w+$"):
        Codebook(patches)


def test_a_codebook_is_part_of_a_checkpoint():
    one, other = (Codebook.of([flat(*values)[None]], KNOWN) for values in ((1, 2), (3, 4)))
    assert not torch.equal(one.patches, other.patches)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.patches, other.patches)
    assert not list(one.parameters())
