"""Values that no run could work with are named before anything is built."""

import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.method import diffusion
from diffdepth_jax.training import loop
from tests.support import small_run


@pytest.mark.parametrize(
    ("group", "field", "value"),
    [
        ("train", "batch_size", 0),
        ("train", "log_every", 0),
        ("train", "max_skipped", -1),
        ("train", "profile_steps", (0, 7)),
        ("augmentation", "rotation", -1.0),
        ("augmentation", "zoom", 0.5),
        ("augmentation", "flip_probability", 1.5),
        ("augmentation", "gamma", -0.1),
        ("augmentation", "keep_valid", 0.0),
        ("augmentation", "crop_size", (4, 4, 4, 4)),  # the flag given twice
        ("inference", "size", (32,)),
    ],
)
def test_a_field_out_of_range_is_named(group, field, value):
    config = small_run.config()
    loop._check_fields(config)
    with config.unlocked():
        config[group][field] = value
    with pytest.raises(UserError, match=rf"{group}\.{field}"):
        loop._check_fields(config)


@pytest.mark.parametrize(
    ("fields", "name"), [((0, 1e-4, 0.02), "num_timesteps"), ((10, 1e-4, 1.5), "beta_end")]
)
def test_a_schedule_that_is_none_is_named(fields, name):
    with pytest.raises(UserError, match=rf"diffusion\.{name}"):
        diffusion.create_schedule("linear", *fields, "epsilon")
