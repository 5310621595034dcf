"""Pixels turn as in Pillow; depth maps turn with their picture where they lie like it."""

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from diffdepth_jax.media.orientation import depth_turn, turned, turned_size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_turn_as_in_pillow(orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 7, 3), np.uint8)
    image = Image.fromarray(pixels)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    expected = np.array(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(turned(pixels, orientation), expected)
    assert turned_size((4, 7), orientation) == expected.shape[:2]


def _turn(size, frame, orientation, lies):
    return depth_turn(size, frame, orientation, lies, "FIELD")


@pytest.mark.parametrize("lies", ["stored", "apply"])
def test_the_size_of_the_depth_map_decides_where_it_can(lies):
    """The stored picture is 4 x 7 and turns to 7 x 4."""
    for orientation in (5, 6, 7, 8):
        assert _turn((4, 7), (7, 4), orientation, lies) == orientation
        assert _turn((7, 4), (7, 4), orientation, lies) == 1
        assert _turn((5, 5), (7, 4), orientation, lies) == 1  # fits neither: left as it is
    assert _turn((4, 7), (4, 7), 1, lies) == 1


@pytest.mark.parametrize(("lies", "other"), [("stored", "apply"), ("apply", "stored")])
def test_a_field_decides_where_sizes_are_equal_and_a_warning_says_so_once(
    lies, other, caplog, monkeypatch
):
    monkeypatch.setattr("absl.logging._log_counter_per_token", {})
    cases = [((4, 7), 2), ((4, 7), 3), ((4, 7), 4), ((5, 5), 5), ((5, 5), 6), ((5, 5), 8)]
    for size, orientation in cases:
        assert _turn(size, size, orientation, lies) == (orientation if lies == "stored" else 1)
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().endswith(f"set FIELD to {other}")
