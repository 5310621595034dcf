"""Solids and items leave the camera room."""

import numpy as np
import pytest

from diffdepth_jax.datasets.scenes.rooms import sample_room
from diffdepth_jax.datasets.scenes.solids import interval, to_unit
from diffdepth_jax.datasets.scenes.streets import sample_street


@pytest.mark.parametrize("sampler", [sample_room, sample_street])
def test_camera_is_in_no_solid_and_at_the_height_of_eyes(sampler):
    for seed in range(150):
        scene = sampler(np.random.default_rng(seed))
        assert 1.2 <= scene.camera.position[2] <= 1.8
        for item in scene.solids:
            to_local = to_unit(item)
            origin = to_local @ (scene.camera.position - item.centre)[:, None]
            near, far = interval(item.shape, origin, to_local @ scene.camera.rotation[:, 2:])
            assert (near < 0 < far) == (item.shape == "room")
