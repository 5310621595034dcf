"""Patterns keep to their range and to the mean that they fade to."""

import numpy as np
import pytest

from diffdepth_jax.datasets.scenes.textures import PATTERNS


@pytest.mark.parametrize("name", PATTERNS)
def test_texture_stays_in_range_and_has_about_the_mean_it_fades_to(name):
    pattern, mean = PATTERNS[name]
    u, v = np.random.default_rng(0).uniform(0, 3, (2, 5000)).astype(np.float32)
    values = pattern(u, v)
    assert 0 <= values.min() < values.max() <= 1
    assert abs(values.mean() - mean) < 0.15
