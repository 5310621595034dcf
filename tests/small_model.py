"""A model directory without a training run: random parameters that predict all sorts of depth."""

import jax
import numpy as np

from diffdepth_jax.checkpoint import save_model
from diffdepth_jax.models.diffusion_depth import create_model
from diffdepth_jax.train_state import abstract_variables
from tests import small_run


def save(directory):
    """Writes it and returns its configuration, that of `small_run`."""
    config, rng = small_run.config(), np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32),
        abstract_variables(create_model(**config.model)),
    )
    save_model(directory, config, variables)
    return config
