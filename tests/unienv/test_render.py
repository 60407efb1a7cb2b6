import numpy as np

from unienv.render import caption, enlarge, picture


def test_an_image_is_shown_as_it_is():
    image = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    assert np.array_equal(picture({"image": image}), image)


def test_a_video_is_shown_as_a_strip_of_its_frames():
    video = np.arange(3 * 2 * 4 * 3, dtype=np.uint8).reshape(3, 2, 4, 3)
    strip = picture({"video": video})
    assert strip.shape == (2, 3 * 4 + 2 * 3, 3)
    assert all(np.array_equal(strip[:, 7 * t : 7 * t + 4], video[t]) for t in range(3))
    assert (strip[:, 4:7] == 255).all() and (strip[:, 11:14] == 255).all()


def test_an_image_stands_before_the_video_enlarged_to_fit():
    image, video = np.full((2, 3, 3), 7, np.uint8), np.full((2, 5, 4, 3), 9, np.uint8)
    strip = picture({"video": video, "image": image})
    assert strip.shape == (5, 6 + 4 + 4 + 2 * 3, 3)
    assert (strip[:4, :6] == 7).all() and (strip[4:, :6] == 255).all()
    assert (strip[:, 9:13] == 9).all() and (strip[:, 16:] == 9).all()


def test_a_caption_stands_below_enlarged_pixels():
    image = np.full((16, 20, 3), 7, np.uint8)
    assert enlarge(image).shape == (320, 400, 3)
    shown = caption(image, "catch the one that turns left")
    assert (shown[:320] == 7).all() and shown.shape[1] == 400 and shown.shape[0] > 320
    assert (shown[320:] != 255).any()
