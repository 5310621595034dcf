"""What the command line predicts once its flags and files are known. Imports JAX."""

import dataclasses
import sys
from collections.abc import Sequence

from diffdepth_jax.errors import UserError
from diffdepth_jax.prediction import outputs, placement
from diffdepth_jax.prediction.camera_choice import CameraChoice
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.prediction.existing_results import ExistingResults
from diffdepth_jax.prediction.image_prediction import ImagePredictor
from diffdepth_jax.prediction.input_files import image_sizes
from diffdepth_jax.prediction.options import Options
from diffdepth_jax.prediction.output_names import InputFile
from diffdepth_jax.prediction.photo_prediction import PhotoPredictor
from diffdepth_jax.prediction.record import Record
from diffdepth_jax.prediction.report import Report
from diffdepth_jax.prediction.video_prediction import VideoPredictor
from diffdepth_jax.prediction.writers import Writers
from diffdepth_jax.program import compilation_cache
from diffdepth_jax.program.devices import describe_devices
from diffdepth_jax.program.folder_lock import FolderLock
from diffdepth_jax.program.progress import awaited


@compilation_cache.kept()
def predict_files(
    model: str,
    files: Sequence[InputFile],
    writers: Writers,
    cameras: CameraChoice,
    options: Options,
    report: Report,
    *,
    overwrite: bool,
) -> Writers:
    """Predicts all photos, then all videos, and adds to a report what became of them.

    `model` is a name, see `find_model`; compiled programs are kept. Photos at their native size are
    padded to a few sizes that they share.

    Returns the writers, whose kinds are what such a model writes.

    Raises:
      UserError: there is no such model, or it cannot predict like this.
    """
    with awaited(f"loading {model}"):
        estimator = DepthEstimator.from_pretrained(model)
    estimator.check(
        dataclasses.replace(options, trajectory=outputs.trajectory_steps(writers.kinds))
    )
    writers = _fitting(estimator, writers, files, options.ensemble)
    cameras = _cameras(estimator, writers.kinds, cameras)
    print(f"device: {describe_devices()}", file=sys.stderr)
    photos = [file for file in files if not file.is_video]
    videos = [file for file in files if file.is_video]
    padded = placement.shared_sizes(image_sizes(photos)) if options.native_size else ()
    of_photos = dataclasses.replace(options, padded_sizes=padded)
    images = ImagePredictor(estimator, writers.photos, cameras, of_photos)
    of_videos = dataclasses.replace(cameras)  # whose frames have no EXIF
    frames = ImagePredictor(estimator, writers.videos, of_videos, options)
    with FolderLock(writers.photos.directory) as lock:
        lock.share("wait until it ends, or give another --output")
        record = Record(writers.photos.directory)
        of_photo, of_frames = (
            ExistingResults(each.writer, record, overwrite, each.settings)
            for each in (images, frames)
        )
        of_photo.check(photos)
        of_frames.check(videos)
        PhotoPredictor(images, of_photo, report).predict(photos)
        if not estimator.is_relative:
            cameras.warn_of_unknown()
        VideoPredictor(frames, of_frames, report).predict(videos)
    return writers


def _fitting(
    estimator: DepthEstimator, writers: Writers, files: Sequence[InputFile], ensemble: int
) -> Writers:
    """Returns the writers of what such a model tells; or raises a UserError."""
    if not estimator.is_relative:
        outputs.check_spread(writers.kinds, ensemble, estimator)
        return writers.of_metric_model()
    writers = writers.of_relative_model()
    writers.check(files)
    return writers


def _cameras(
    estimator: DepthEstimator, kinds: Sequence[str], cameras: CameraChoice
) -> CameraChoice:
    """Returns the cameras for the model; or raises a UserError if one would change nothing."""
    if estimator.is_relative and cameras.is_given:
        raise UserError("this model is relative and knows no metres: leave the camera out")
    cameras = cameras.completed(has_canonical_camera=estimator.has_canonical_camera)
    cameras.check(estimator.focal_length, kinds)
    return cameras
