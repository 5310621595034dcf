"""What the command line predicts once its flags and files are known. Imports JAX."""

import dataclasses
from collections.abc import Sequence

from diffdepth_jax.prediction import outputs
from diffdepth_jax.prediction.camera_choice import CameraChoice
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.prediction.file_prediction import predict_files
from diffdepth_jax.prediction.input_files import InputFile
from diffdepth_jax.prediction.options import Options
from diffdepth_jax.prediction.report import Report
from diffdepth_jax.prediction.writers import Writers
from diffdepth_jax.program import compilation_cache


@compilation_cache.kept()
def predict_with(
    model: str,
    files: Sequence[InputFile],
    writers: Writers,
    cameras: CameraChoice,
    options: Options,
    *,
    overwrite: bool,
) -> tuple[Report, Writers]:
    """Predicts files with the model of a name, see `find_model`; compiled programs are kept.

    Returns the report, and the writers, whose kinds are what such a model writes.

    Raises:
      UserError: there is no such model, or it cannot predict like this.
    """
    estimator = DepthEstimator.from_pretrained(model)
    estimator.check(dataclasses.replace(options, trajectory="gif" in writers.kinds))
    if estimator.is_relative:
        writers = writers.of_relative_model()
        writers.check(files, overwrite=overwrite)
    else:
        writers = writers.of_metric_model()
    outputs.check_spread(writers.kinds, options.ensemble, estimator.has_scale)
    cameras = cameras.completed(has_canonical_camera=estimator.has_canonical_camera)
    cameras.check(estimator.focal_length, writers.kinds)
    done = predict_files(estimator, files, writers, cameras, options, overwrite=overwrite)
    return done, writers
