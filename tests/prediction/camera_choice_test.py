"""The camera that a user chooses, or leaves to the model."""

import pytest

from diffdepth_jax.errors import UserError
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
