"""From a model directory to a model that predicts.

Functions import the model at need, because Flax takes .15 s to import: a program that was traced
before, see `lowered_programs`, needs none of it.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from jax.stages import Wrapped

from diffdepth_jax.arrays import Array, Variables
from diffdepth_jax.checkpoints.model_directory import load_variables, read_config
from diffdepth_jax.configuration.groups import ModelConfiguration
from diffdepth_jax.method import diffusion
from diffdepth_jax.program import lowered_programs

if TYPE_CHECKING:
    from diffdepth_jax.models.assembly import DepthNetwork


def load_model(
    path: str | os.PathLike, dtype: str | None = None
) -> tuple["DepthNetwork", diffusion.NoiseSchedule, Variables, ModelConfiguration]:
    """Loads the model, schedule, variables and configuration of a model directory.

    `dtype` replaces the type that the model computes in.
    """
    from diffdepth_jax.models.assembly import create_model

    variables, config = read_model(path)
    fields = config.model if dtype is None else dataclasses.replace(config.model, dtype=dtype)
    schedule = diffusion.create_schedule(**vars(config.diffusion))
    return create_model(fields), schedule, variables, config


def read_model(path: str | os.PathLike) -> tuple[Variables, ModelConfiguration]:
    """Reads the variables and the configuration of a model directory, and builds no model.

    Raises:
      UserError: the directory holds no model, or the variables are not those of its configuration.
    """
    config = read_config(path)

    def abstract() -> Variables:
        from diffdepth_jax.models.assembly import create_model
        from diffdepth_jax.models.variables import abstract_variables

        return abstract_variables(create_model(config.model))

    return load_variables(path, abstract), config


def predict_function(
    model: "DepthNetwork | None", schedule: diffusion.NoiseSchedule, config: ModelConfiguration
) -> Callable[..., dict[str, Array]]:
    """Returns the function of `sampling.create_predict`.

    Without a `model` it is that of the model that `config` describes, and programs that were traced
    before are taken from the disk.
    """

    def create() -> Wrapped:
        from diffdepth_jax.models.assembly import create_model
        from diffdepth_jax.prediction.sampling import create_predict

        return create_predict(model or create_model(config.model), schedule, config.sampler)

    if model is not None:
        return create()
    identity = repr((config, schedule.prediction_type, schedule.alpha_bar.tolist()))
    return lowered_programs.kept(create, identity)
