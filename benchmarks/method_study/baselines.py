"""The predictors of row 1 that see no image, fitted to the training scenes of the same kind."""

import functools
import json
import os
import pathlib

import numpy as np

from benchmarks.method_study import results, scores
from benchmarks.method_study.results import Scores
from benchmarks.method_study.scenes import Sets
from benchmarks.method_study.variants import Size, budget, create_config
from diffdepth_jax.configuration.renamed import RENAMED
from diffdepth_jax.datasets import transforms
from diffdepth_jax.evaluation import predictors

FILE = "baselines.json"
FITS = {"constant": predictors.constant_predictor, "mean map": predictors.mean_map_predictor}


def _fit_and_score(fit, train, held_out, config):
    limits = config.frame.min_depth, config.frame.max_depth
    prepare = functools.partial(transforms.valid_range, min_depth=limits[0], max_depth=limits[1])
    shape = held_out.depth.shape[1:3]
    (prediction,) = fit(train, prepare)([{"content": shape}], 0)
    prediction = np.broadcast_to(prediction[..., 0], held_out.depth.shape[:3])
    return scores.score(prediction, held_out, config)


def write(directory: str | os.PathLike, size: Size, sets: Sets) -> None:
    """Scores both on both kinds, unless the file is there with this budget."""
    path = pathlib.Path(directory) / FILE
    fields = json.loads(json.dumps(budget(size)))
    if path.is_file() and _budget(path) == fields:
        return
    config = create_config({}, 0, size)
    metrics = {
        kind: {name: _fit_and_score(fit, *pair, config) for name, fit in FITS.items()}
        for kind, pair in sets.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {"budget": fields, "commit": results.commit(), "metrics": metrics}
    path.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")


def _budget(path):
    """The budget of a file, under today's names of fields."""
    fields = json.loads(path.read_text())["budget"]
    return {RENAMED.get(name, name): value for name, value in fields.items()}


def read(directory: str | os.PathLike) -> dict[str, dict[str, Scores]]:
    """{set: {predictor: scores}}, or {} if they were not scored."""
    path = pathlib.Path(directory) / FILE
    return json.loads(path.read_text())["metrics"] if path.is_file() else {}
