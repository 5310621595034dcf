"""The camera that a user chooses, or leaves to the model."""

import numpy as np
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.reading import Photo
from diffdepth_jax.prediction.camera_choice import CameraChoice


def test_a_choice_of_cameras_is_one():
    with pytest.raises(UserError, match="only one of"):
        CameraChoice(focal_length=3.0, name="exif")


def test_a_choice_that_was_left_to_the_model_is_completed():
    for choice in (CameraChoice(name="model"), CameraChoice(fov=60), CameraChoice(name="nyu")):
        for known in (True, False):
            assert choice.completed(has_canonical_camera=known) is choice
    assert CameraChoice().completed(has_canonical_camera=True) == CameraChoice(name="exif")
    assert not CameraChoice().completed(has_canonical_camera=False).is_given


def test_photos_whose_metadata_tell_no_camera_are_counted(caplog):
    image = np.zeros((4, 6, 3), np.uint8)
    for name in ("model", "exif"):
        choice = CameraChoice(name=name)
        cameras = [choice.of_photo(Photo(image, millimetres)) for millimetres in (0, 26, 0)]
        choice.warn_of_unknown()
    assert [camera is None for camera in cameras] == [True, False, True]
    (warning,) = caplog.messages
    assert warning.startswith("no focal length in the metadata of 2 of 3 photos: metres are those")
    assert warning.endswith("give --fov")
