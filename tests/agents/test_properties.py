"""Whatever an agent is told of frozen encoders, and whatever lies there: the encoders, or one line."""

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.bridge import LATENT, check_bridge, load_bridge
from encoders.pixels import PixelConfig, PixelVAE, save_pixels
from encoders.text.pretrained import save_text
from encoders.text.tokens import Bytes
from encoders.text.vae import TextVAE, VAEConfig
from tests.properties import told
from unienv.modality import IMAGE, TEXT, VIDEO, Vocabulary

PROFILE = settings(
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
hows = st.sampled_from(["tokens", "tile", LATENT, "", "Latent", "resnet18"])


@pytest.fixture(scope="module")
def bridge(tmp_path_factory):
    """A folder with both models of a bridge."""
    folder = tmp_path_factory.mktemp("bridge")
    save_text(folder / "text", TextVAE(260, VAEConfig(width=4, layers=1, heads=1, latent=3, patch=1)), Bytes())
    save_pixels(folder / "pixels", PixelVAE(PixelConfig(latent=2, width=8)))
    return folder


def test_the_bridge_is_whole(bridge):
    assert set(load_bridge(LATENT, LATENT, str(bridge), Vocabulary(["a"]))) == {TEXT, IMAGE, VIDEO}


@PROFILE
@given(hows, hows, st.none() | st.text(max_size=5) | st.sampled_from(["a\0b", "é" * 300, "\udcff", "..", "/"]))
def test_any_bridge_is_loaded_or_refused(text, image, place):
    fits = told(lambda: check_bridge(text, image, place) or True)
    found = told(lambda: load_bridge(text, image, place, Vocabulary(["a"])))
    assert found is None or (fits and found == {})


@PROFILE
@given(st.sampled_from(["text", "pixels"]), st.sampled_from(["absent", "empty", "a file", "exchanged"]))
def test_a_bridge_in_parts_is_loaded_or_refused(tmp_path, bridge, part, how):
    shutil.rmtree(tmp_path / "bridge", ignore_errors=True)
    shutil.copytree(bridge, tmp_path / "bridge")
    place = tmp_path / "bridge" / part
    shutil.rmtree(place)
    if how == "empty":
        place.mkdir()
    elif how == "a file":
        place.write_text("no folder")
    elif how == "exchanged":
        shutil.copytree(bridge / ({"text", "pixels"} - {part}).pop(), place)
    assert told(lambda: load_bridge(LATENT, LATENT, str(tmp_path / "bridge"), Vocabulary(["a"]))) is None
