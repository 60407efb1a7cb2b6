import pytest
import torch

from encoders.distinct import PATCH, distinct_patches
from encoders.image import ImageEncoder

BACKBONES = ["test_convnext", "test_vit", "resnet10t", "test_mambaout"]


def make(name="tile", shape=(64, 64, 3), dim=16):
    torch.manual_seed(0)
    return ImageEncoder(name, shape, dim)


def picture(batch, height=64, width=64, seed=0):
    return torch.randint(0, 256, (batch, height, width, 3), generator=torch.Generator().manual_seed(seed)).byte()


def encode(encoder, image):
    return encoder(encoder.prepare(image))


@pytest.mark.parametrize("height, width", [(16, 24), (13, 9)])
def test_tiles_are_encoded_as_if_each_stood_alone(height, width):
    encoder = make(shape=(height, width, 3))
    image = picture(3, height, width)
    image[2] = image[0]
    padded = torch.nn.functional.pad(image, (0, 0, 0, -width % PATCH, 0, -height % PATCH))
    tokens = []
    for row in range(0, padded.shape[1], PATCH):
        for column in range(0, padded.shape[2], PATCH):
            patch = padded[:, row : row + PATCH, column : column + PATCH]
            tokens.append(torch.cat([encoder.features(one[None]) for one in patch]))
    torch.testing.assert_close(encode(encoder, image), torch.stack(tokens, dim=1))


def test_every_tile_is_encoded_once():
    encoder, rows = make(), []
    encoder.features.register_forward_hook(lambda _, args, __: rows.append(len(args[0])))
    image = picture(1, 8, 8).repeat(4, 8, 8, 1)
    image[2, :8, :8] ^= 255
    assert encode(encoder, image).shape == (4, 64, 16)
    assert rows == [2]


@pytest.mark.parametrize("name", ["tile", *BACKBONES, "test_efficientnet"])
def test_the_rest_of_the_batch_does_not_count_in_training_either(name):
    encoder = make(name)
    image = picture(4)
    image[3] = 255 - image[0]
    whole = encode(encoder, image)
    for index in range(4):
        alone = encode(encoder, image[index : index + 1])
        torch.testing.assert_close(whole[index : index + 1], alone, rtol=1e-4, atol=1e-4)


def test_a_pixel_moves_the_token_of_its_tile_alone():
    encoder, image = make(), picture(1)
    other = image.clone()
    other[0, 20, 37] ^= 128
    moved = (encode(encoder, image) != encode(encoder, other)).any(dim=2)[0]
    assert moved.nonzero().flatten().tolist() == [20 // 8 * 8 + 37 // 8]


@pytest.mark.parametrize("name", ["tile", *BACKBONES])
def test_a_token_for_every_place_and_a_gradient_for_every_parameter(name):
    encoder = make(name)
    tokens = encode(encoder, picture(2))
    height, width = encoder.grid
    assert tokens.shape == (2, height * width, 16)
    if name != "test_vit":  # whose patches are as large as they are
        assert min(height, width) >= 6  # small objects keep a place of their own
    with torch.no_grad():  # residual blocks start as the identity, which has no gradient
        for parameter in encoder.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    encode(encoder, picture(2)).pow(3).sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", ["tile", *BACKBONES])
def test_tokens_tell_what_each_place_shows(name):
    encoder = make(name)
    image = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    image[0, :32, :32], image[1, 32:, 32:] = 255, 255
    tokens = encode(encoder, torch.cat([image, image * 0]))
    assert torch.pdist(tokens.flatten(1)[:3]).min() > 1e-2


def test_tokens_are_cast_once_to_the_type_of_autocast():
    encoder, image = make(), picture(1)
    with torch.autocast("cpu", torch.bfloat16):
        low = encode(encoder, image)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low, encode(encoder, image).bfloat16())  # phases are computed in float32


@pytest.mark.parametrize("name, near", [("tiles", "tile"), ("resnet10", "resnet10t"), ("test_vitt", "test_vit")])
def test_an_unknown_model_gets_the_nearest_name(name, near):
    with pytest.raises(ValueError, match=f"{name!r}; did you mean '{near}'") as error:
        make(name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, shape", [("test_vit", (64, 4, 3)), ("test_vit", (20, 20, 3)), ("resnet10t", (64, 0, 3))]
)
def test_images_that_a_model_cannot_take_are_told_in_one_line(name, shape):
    with pytest.raises(ValueError, match=f"{name!r}.* {shape[0]} x {shape[1]}") as error:
        make(name, shape)
    assert "\n" not in str(error.value)


def test_preparation_keeps_distinct_tiles_or_all_pixels():
    image = picture(2)
    assert torch.equal(make().prepare(image).which, distinct_patches(image).which)
    assert make("test_vit").prepare(image) is image
