"""From a model directory to a model that predicts."""

import dataclasses
import functools
import os

from diffdepth_jax.arrays import Variables
from diffdepth_jax.checkpoints.model_directory import load_variables, read_config
from diffdepth_jax.configuration.groups import ModelConfiguration
from diffdepth_jax.method import diffusion
from diffdepth_jax.models.assembly import DepthNetwork, create_model
from diffdepth_jax.models.variables import abstract_variables


def load_model(
    path: str | os.PathLike, dtype: str | None = None
) -> tuple[DepthNetwork, diffusion.NoiseSchedule, Variables, ModelConfiguration]:
    """Loads the model, schedule, variables and configuration of a model directory.

    `dtype` replaces the type that the model computes in.
    """
    config = read_config(path)
    fields = config.model if dtype is None else dataclasses.replace(config.model, dtype=dtype)
    model, schedule = create_model(fields), diffusion.create_schedule(**vars(config.diffusion))
    variables = load_variables(path, functools.partial(abstract_variables, model))
    return model, schedule, variables, config
