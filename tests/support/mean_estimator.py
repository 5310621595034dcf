"""A stand-in for the estimator, and predictions of files with it."""

import numpy as np
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction import placement
from diffdepth_jax.prediction.camera_choice import CameraChoice
from diffdepth_jax.prediction.depth_prediction import DepthPrediction
from diffdepth_jax.prediction.existing_results import ExistingResults
from diffdepth_jax.prediction.image_prediction import ImagePredictor
from diffdepth_jax.prediction.input_files import InputFile
from diffdepth_jax.prediction.options import Options
from diffdepth_jax.prediction.outputs import OutputWriter
from diffdepth_jax.prediction.record import Record
from diffdepth_jax.prediction.report import Report
from tests.media.video_test import write_lossless


class MeanEstimator:
    """Depth is 1 m plus the mean brightness; remembers the sizes of its batches."""

    is_relative = False

    def __init__(self, focal_length=50.0):
        self.focal_length, self.batches = focal_length, []

    def placement(self, height, width, options):
        if width == 13:
            raise UserError("unlucky")
        return placement.native((height, width))

    def __call__(self, images, *, focal_length, **_):
        if any(image.mean() == 250 for image in images):
            raise UserError("too much memory")
        self.batches.append(len(images))
        depths = [np.full(i.shape[:2], 1 + i.mean() / 255, np.float32) for i in images]
        return [
            DepthPrediction(depth, self.focal_length or None, image)
            for depth, image in zip(depths, images, strict=True)
        ]


def photo(folder, name, size=(24, 16), value=100):
    path = folder / f"{name}.png"
    Image.new("RGB", size, (value,) * 3).save(path)
    return InputFile(path, name)


def frames(values, size=(16, 24)):
    return [np.full((*size, 3), value, np.uint8) for value in values]


def video(folder, pictures, name="v", **options):
    write_lossless(folder / f"{name}.mp4", pictures, **options)
    return InputFile(folder / f"{name}.mp4", name)


def predict(
    predictor,
    files,
    output,
    *kinds,
    estimator=None,
    cameras=None,
    overwrite=False,
    **options,
):
    """Predicts with a PhotoPredictor or a VideoPredictor, and returns the report."""
    writer, report = OutputWriter(output, kinds or ("npy",)), Report(len(files))
    estimator, cameras = estimator or MeanEstimator(), cameras or CameraChoice()
    images = ImagePredictor(estimator, writer, cameras, Options(**options))
    output.mkdir(exist_ok=True)
    existing = ExistingResults(writer, Record(output), overwrite)
    predictor(images, existing, report).predict(files)
    return report
