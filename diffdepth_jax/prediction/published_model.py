"""Writes a model directory for others: nothing of this machine, and half the size if depth allows.

The copy has the configuration without paths, the weights, the model card and the calibration. The
weights are float16 if that moves no depth of four rendered pictures by `LARGEST_MOVE` or more.
"""

import dataclasses
import os
import pathlib
import shutil

import jax
import numpy as np

from diffdepth_jax.arrays import Variables
from diffdepth_jax.checkpoints.calibration import load_calibration, save_calibration
from diffdepth_jax.checkpoints.model_directory import (
    CARD_FILE,
    copy_configuration,
    load_variables,
    write_variables,
)
from diffdepth_jax.datasets.synthetic import SyntheticScenes
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.identity import parameters_identity
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.prediction.loading import load_model
from diffdepth_jax.whole_files import whole_folder

LARGEST_MOVE = 1e-3  # of depth, relative


def publish_model(directory: str | os.PathLike, output: str | os.PathLike) -> str:
    """Writes the model directory `output`; returns a line on how it keeps the weights.

    Raises:
      UserError: the directory holds no model, or `output` exists already.
    """
    if os.path.exists(output):
        raise UserError(f"output {output} exists: give another name, or delete it")
    model, schedule, variables, config = load_model(directory)
    restored = jax.tree.map(_rounded, jax.device_get(variables))
    ours, theirs = (DepthEstimator(model, schedule, each, config) for each in (variables, restored))
    move = _largest_move(ours, theirs)
    half = move < LARGEST_MOVE  # False for nan, too
    with whole_folder(output) as unfinished:
        copy_configuration(directory, unfinished)
        write_variables(unfinished, restored if half else variables, half=half)
        card = pathlib.Path(directory) / CARD_FILE
        if card.exists():
            shutil.copyfile(card, unfinished / CARD_FILE)
        calibrated = _copy_calibration(directory, variables, unfinished)
    kept = "float16" if half else "float32"
    return f"{output}: {kept}, because float16 moves depth by up to {move:.1e}{calibrated}"


def _rounded(array: np.ndarray) -> np.ndarray:
    """What comes back of an array that was float16 in a file."""
    if not np.issubdtype(array.dtype, np.floating):
        return array
    with np.errstate(over="ignore"):  # inf, which moves depth
        return array.astype(np.float16).astype(array.dtype)


def _largest_move(before: DepthEstimator, after: DepthEstimator) -> float:
    """The largest relative difference of the depth of two rooms and two streets.

    Inverse depth may be 0, so that its difference is relative to the greatest of the picture.
    """
    height, width = before.image_size
    scenes = SyntheticScenes("mixed", "eval", 4, height, width)
    images = [scene["image"] for scene in scenes]
    if before.is_relative:
        first, second = (each.relative(images) for each in (before, after))
        planes = [(a.inverse_depth, b.inverse_depth) for a, b in zip(first, second, strict=True)]
        return float(np.max([np.abs(b - a).max() / a.max() for a, b in planes]))
    pairs = zip(before(images), after(images), strict=True)
    return float(np.max([np.abs(b.depth / a.depth - 1).max() for a, b in pairs]))


def _copy_calibration(
    directory: str | os.PathLike, variables: Variables, output: pathlib.Path
) -> str:
    """Copies the calibration of these variables to those of `output`; says if it is of others."""
    calibration = load_calibration(directory)
    if calibration is None:
        return ""
    if calibration.parameters != parameters_identity(variables):
        return "; its calibration was made for other parameters, and is left out"
    identity = parameters_identity(load_variables(output))
    save_calibration(output, dataclasses.replace(calibration, parameters=identity))
    return ""
