"""The recipes of NYU and KITTI read frames of the sizes that these data sets have."""

import importlib

import numpy as np
import pytest

from diffdepth_jax.configuration import groups
from diffdepth_jax.training.batches import augmented_batches

NYU, KITTI = (480, 640), (375, 1242)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("nyu", NYU),
        ("nyu_dinov2", NYU),
        ("nyu_dinov3", NYU),
        ("paper", NYU),
        ("released_swin", KITTI),
        ("kitti", KITTI),
        ("kitti_official", KITTI),
        ("kitti_dinov2", KITTI),
    ],
)
def test_a_recipe_makes_batches_of_its_data(name, size):
    fields = importlib.import_module(f"diffdepth_jax.configs.{name}").get_config()
    fields.train.batch_size = 1
    config = groups.read(fields)
    frame = {"image": np.zeros((*size, 3), np.uint8), "depth": np.full((*size, 1), 5.0, np.float32)}
    frame["mask"] = frame["depth"] > 0
    batch = next(augmented_batches(config, [frame] * 2, 0))
    assert batch["image"].shape == (1, *config.augmentation.crop_size, 3)
    assert batch["mask"].any()
