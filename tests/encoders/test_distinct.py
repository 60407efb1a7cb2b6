import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from encoders.distinct import Distinct, distinct_images, distinct_patches, distinct_rows

SIZES = [(8, 8), (16, 24), (13, 9), (1, 17), (40, 3)]


def pixels(*shape, seed=0, highest=256):
    return torch.randint(0, highest, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def restored(distinct, height, width):
    """Images put together from their patches."""
    tiles = distinct.items[distinct.which]  # (B, h, w, 8, 8, 3)
    return tiles.transpose(2, 3).flatten(1, 2).flatten(2, 3)[:, :height, :width]


def alike(one, two):
    """Whether two batches of patches, given as (8, 8, 3) each, are held to be the same."""
    return len(distinct_patches(torch.stack([one, two])).items) == 1


@pytest.mark.parametrize("height, width", SIZES)
@pytest.mark.parametrize("highest", [2, 256])
def test_patches_and_their_places_hold_the_whole_batch(height, width, highest):
    image = pixels(5, height, width, 3, highest=highest)
    distinct = distinct_patches(image)
    assert distinct.which.shape == (5, -(-height // 8), -(-width // 8))
    assert torch.equal(restored(distinct, height, width), image)


@pytest.mark.parametrize("height, width", SIZES)
def test_a_rim_of_zeros_completes_the_last_patches(height, width):
    tiles = distinct_patches(pixels(2, height, width, 3) | 1)
    whole = tiles.items[tiles.which].transpose(2, 3).flatten(1, 2).flatten(2, 3)
    assert (whole[:, height:] == 0).all() and (whole[:, :, width:] == 0).all()
    assert (whole[:, :height, :width] > 0).all()


def test_every_patch_is_kept_once():
    image = pixels(1, 8, 8, 3).repeat(3, 4, 5, 1)
    image[1, 8:16, :8] = 7
    distinct = distinct_patches(image)
    assert len(distinct.items) == len(distinct.items.flatten(1).unique(dim=0)) == 2
    assert distinct.which.flatten().bincount().sort().values.tolist() == [1, 59]


def test_images_that_are_views_are_read_as_they_look():
    image = pixels(2, 3, 16, 16).permute(0, 2, 3, 1)
    assert torch.equal(restored(distinct_patches(image), 16, 16), image)


def test_black_differs_from_white():
    black = torch.zeros(8, 8, 3, dtype=torch.uint8)
    assert not alike(black, black + 255)
    assert alike(black, black.clone())


@given(st.integers(0, 2**32), st.integers(0, 191), st.integers(1, 255), st.sampled_from([1, 2, 256]))
def test_one_byte_makes_another_patch(seed, place, change, highest):
    one = pixels(8, 8, 3, seed=seed, highest=highest)
    two = one.clone()
    two.view(-1)[place] ^= change
    assert not alike(one, two)


@given(st.integers(0, 2**32), st.sampled_from([2, 256]))
def test_the_order_of_pixels_makes_another_patch(seed, highest):
    one = pixels(8, 8, 3, seed=seed, highest=highest)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(seed))
    two = one.flatten(0, 1)[order].view(8, 8, 3)
    assert alike(one, two) == torch.equal(one, two)


@given(st.integers(0, 2**32), st.integers(0, 23), st.integers(0, 23), st.sampled_from([2, 256]))
def test_the_order_of_words_makes_another_patch(seed, first, second, highest):
    one = pixels(8, 8, 3, seed=seed, highest=highest)
    two = one.clone().view(24, 8)
    two[[first, second]] = two[[second, first]]
    assert alike(one, two.view(8, 8, 3)) == torch.equal(one, two.view(8, 8, 3))


@given(st.integers(0, 2**32), st.lists(st.integers(0, 23), min_size=1, max_size=24, unique=True))
def test_inverted_words_make_another_patch(seed, words):
    one = pixels(8, 8, 3, seed=seed)
    two = one.clone().view(24, 8)
    two[words] = 255 - two[words]
    assert not alike(one, two.view(8, 8, 3))


@pytest.mark.parametrize("height, width", SIZES)
@pytest.mark.parametrize("highest", [2, 256])
def test_places_of_clips_hold_the_whole_batch(height, width, highest):
    video = pixels(4, 3, height, width, 3, highest=highest)
    distinct = distinct_patches(video)
    assert distinct.items.shape[1:] == (3, 8, 8, 3)
    for frame in range(3):
        one = Distinct(distinct.items[:, frame], distinct.which)
        assert torch.equal(restored(one, height, width), video[:, frame])


def test_a_place_that_differs_in_one_frame_is_another():
    video = pixels(1, 1, 8, 8, 3).repeat(4, 3, 1, 1, 1)
    video[1, 0, 2, 2, 0] ^= 1
    video[2, 2, 2, 2, 0] ^= 1
    which = distinct_patches(video).which.flatten()
    assert which[0] == which[3] and len(which.unique()) == 3


def test_rows_and_their_places_hold_the_whole_batch():
    tokens = torch.tensor([[3, 0], [1, 2], [3, 0], [0, 3]], dtype=torch.int32)
    distinct = distinct_rows(tokens)
    assert torch.equal(distinct.items[distinct.which], tokens)
    assert len(distinct.items) == 3


def test_select_is_indexing():
    tokens = torch.tensor([[3, 0], [1, 2], [3, 0], [0, 3]])
    index = torch.tensor([3, 0, 0])
    chosen = distinct_rows(tokens).select(index)
    assert torch.equal(chosen.items[chosen.which], tokens[index])


def test_selected_utterances_stand_alone_and_selected_patches_keep_their_company():
    tokens = torch.tensor([[3, 0], [1, 2], [3, 0], [0, 3]])
    assert len(distinct_rows(tokens).select(torch.tensor([2, 0])).items) == 1
    patches = distinct_patches(pixels(4, 16, 16, 3))
    assert len(patches.select(torch.tensor([0])).items) == len(patches.items)


def test_merged_utterances_are_those_of_the_concatenation():
    batches = [torch.randint(0, 2, (n, 3), generator=torch.Generator().manual_seed(n)) for n in (1, 4, 9)]
    merged = Distinct.merge([distinct_rows(batch) for batch in batches])
    whole = distinct_rows(torch.cat(batches))
    assert torch.equal(merged.items[merged.which], torch.cat(batches))
    assert len(merged.items) == len(whole.items)


def test_merged_images_are_those_of_the_concatenation():
    batches = [pixels(n, 12, 20, 3, seed=n, highest=2) // 2 * 255 for n in (2, 1, 3)]
    batches[2][1] = batches[0][0]
    batches[2][2] = 255
    merged = Distinct.merge([distinct_patches(batch) for batch in batches])
    whole = distinct_patches(torch.cat(batches))
    assert torch.equal(restored(merged, 12, 20), torch.cat(batches))
    assert len(merged.items) == len(whole.items) == len(merged.items.flatten(1).unique(dim=0))


@pytest.mark.parametrize("height, width", SIZES)
def test_equal_images_are_one_item(height, width):
    images = pixels(3, height, width, 3)
    batch = images[torch.tensor([2, 0, 2, 1, 0])]
    distinct = distinct_images(batch)
    assert len(distinct.items) == 3 and distinct.which.shape == (5,)
    assert torch.equal(distinct.items[distinct.which], batch)


def test_compact_drops_what_stands_nowhere_and_shows_the_same():
    batch = Distinct(torch.tensor([[7], [8], [9], [10]]), torch.tensor([[2, 0], [2, 3]]))
    small = batch.compact()
    assert small.items[:, 0].tolist() == [7, 9, 10]
    assert torch.equal(small.items[small.which], batch.items[batch.which])
