"""Cameras from what people know of theirs."""

import numpy as np
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera


def test_field_of_view_spans_the_width():
    found = camera.from_field_of_view(90, 480, 640)
    assert found.fx == found.fy == pytest.approx(320)
    assert (found.cx, found.cy) == (319.5, 239.5)
    assert "90 degrees" in found.source


def test_exif_refers_to_the_diagonal_of_film():
    """A photo of film's own shape, 36 mm wide, and one of 4:3, in both orientations."""
    assert camera.from_exif(36, 2400, 3600).fx == pytest.approx(3600)
    wide, tall = camera.from_exif(26, 3024, 4032), camera.from_exif(26, 4032, 3024)
    assert wide.fx == tall.fx == pytest.approx(26 / 43.2666 * 5040, rel=1e-5)
    assert "26 mm" in wide.source


def test_datasets_scale_with_the_frame():
    whole, half = (camera.from_dataset("nyu", 480 // k, 640 // k) for k in (1, 2))
    assert whole.fx == 518.8579 and half.fx == whole.fx / 2
    # The centre of two pixels is the border between them, and the centre of one of the half size.
    assert half.cx == pytest.approx((whole.cx - 0.5) / 2)
    kitti = camera.from_dataset("kitti", 375, 1242)
    np.testing.assert_allclose([kitti.fx, kitti.cx, kitti.cy], [721.5377, 609.5593, 172.854])
    assert camera.from_dataset("kitti", 370, 1224).source == kitti.source


def test_a_frame_that_is_squeezed_a_little_has_two_focal_lengths():
    found = camera.from_dataset("nyu", 480, 656)
    assert found.fx == pytest.approx(518.8579 * 656 / 640)
    assert (found.fy, found.cy) == (519.46961, 253.73617)


@pytest.mark.parametrize(("name", "size"), [("nyu", (640, 480)), ("kitti", (352, 1216))])
def test_parts_of_frames_are_refused(name, size):
    with pytest.raises(UserError, match=f"camera {name} is that of whole frames"):
        camera.from_dataset(name, *size)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 170.1])
def test_numbers_out_of_range_are_refused(value):
    with pytest.raises(UserError, match="fov"):
        camera.from_field_of_view(value, 480, 640)
    if value != 170.1:
        with pytest.raises(UserError, match="focal_length"):
            camera.centred(value, 480, 640, "test")
