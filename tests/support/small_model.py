"""A model directory without a training run: random parameters that predict all sorts of depth."""

import jax
import numpy as np

from diffdepth_jax.checkpoints.model_directory import save_model
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.variables import abstract_variables
from tests.support import small_run


def random_variables(model):
    rng = np.random.default_rng(0)

    def random(path, leaf):
        values = rng.normal(0, 0.3, leaf.shape).astype(np.float32)
        return np.abs(values) if path[-1].key == "var" else values  # of a batch norm

    return jax.tree.map_with_path(random, abstract_variables(model))


def save(directory, config=None):
    """Writes it and returns its configuration, by default that of `small_run`."""
    config = config or small_run.config()
    save_model(directory, config, random_variables(create_model(config.model)))
    return config
