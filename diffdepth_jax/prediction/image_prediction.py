"""Predicts photos and frames in batches, and writes the results."""

import contextlib
import dataclasses
import errno
import pathlib
from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera
from diffdepth_jax.media.camera import Camera
from diffdepth_jax.media.frame_times import Span
from diffdepth_jax.media.preprocessing import Size
from diffdepth_jax.media.reading import Photo
from diffdepth_jax.prediction.camera_choice import CameraChoice
from diffdepth_jax.prediction.depth_prediction import DepthPrediction, RelativePrediction
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.prediction.options import Options
from diffdepth_jax.prediction.output_kinds import NEED_CAMERA
from diffdepth_jax.prediction.output_names import InputFile
from diffdepth_jax.prediction.outputs import AnyPrediction, OutputWriter, trajectory_steps
from diffdepth_jax.prediction.record import Fingerprint
from diffdepth_jax.prediction.settings import settings
from diffdepth_jax.program.progress import awaited

# Reasons for which no other file could be written either.
_ENDS_ALL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENODEV, errno.EMFILE}


class Job(NamedTuple):
    """A photo or frame to predict.

    Attributes:
      path: of the file.
      name: the beginning of its outputs' paths.
      photo: the image, and what its file says of it.
      camera: None stands for the camera that the model assumes.
      target: the size at which the network sees the image.
      source: the file's fingerprint, if it is a photo that has one.
      span: when a frame shows; of no meaning for a photo.
    """

    path: pathlib.Path
    name: str
    photo: Photo
    camera: Camera | None
    target: Size
    source: Fingerprint | None = None
    span: Span = Span(Fraction(0), Fraction(0))


class Result(NamedTuple):
    """A prediction, and the camera for which it holds; None if the model states no camera."""

    job: Job
    prediction: AnyPrediction
    camera: Camera | None


class ImagePredictor:
    """Predicts images, and writes the results."""

    def __init__(
        self,
        estimator: DepthEstimator,
        writer: OutputWriter,
        cameras: CameraChoice,
        options: Options,
    ) -> None:
        """Takes the model, the writer of its results, and what is known of the cameras.

        `options` say how images are predicted; the writer's kinds decide on the trajectory.
        """
        self.writer, self.cameras = writer, cameras
        self._estimator = estimator
        self._options = dataclasses.replace(options, trajectory=trajectory_steps(writer.kinds))
        self._compiled: set[Size] = set()

    def job(self, file: InputFile, name: str, photo: Photo) -> Job:
        """Raises a UserError if the photo cannot be predicted, or not into the kinds of output."""
        chosen = self.cameras.of_photo(photo)
        if chosen is None and not self._estimator.focal_length and self._needs_camera:
            raise UserError(
                "no focal length is known for its points: give --focal_length or --fov, or leave "
                f"{' and '.join(sorted(NEED_CAMERA))} out"
            )
        placed = self._estimator.placement(*photo.image.shape[:2], self._options)
        return Job(file.path, name, photo, chosen, placed.target)

    @property
    def num_steps(self) -> int:
        """The number of sampler steps that the depth takes."""
        return self._options.num_steps or self._estimator.num_steps

    @property
    def settings(self) -> dict[str, str]:
        """By which the results are made, for the record of them."""
        identities = self._estimator.identities(self._options)
        return settings(identities, self.num_steps, self.writer, self.cameras, self._options)

    @property
    def _needs_camera(self) -> bool:
        return bool(NEED_CAMERA & set(self.writer.kinds))

    def batches(self, jobs: Iterable[Job]) -> Iterator[list[Job]]:
        """Yields each batch of jobs of one size as soon as it is full, and the rest at the end."""
        waiting: dict[Size, list[Job]] = {}
        for job in jobs:
            batch = waiting.setdefault(job.target, [])
            batch.append(job)
            if len(batch) == self._options.batch_size:
                yield waiting.pop(job.target)
        yield from waiting.values()

    def predict(self, batch: list[Job]) -> list[Result]:
        """Predicts images of one size; raises a UserError if that is not possible."""
        height, width = size = batch[0].target
        wait = awaited(f"compiling for images of {height} x {width}, and predicting")
        with contextlib.nullcontext() if size in self._compiled else wait:
            results = self._relative(batch) if self._estimator.is_relative else self._metric(batch)
        self._compiled.add(size)
        return results

    def _relative(self, batch: list[Job]) -> list[Result]:
        images = [job.photo.image for job in batch]
        predictions = self._estimator.relative(images, **vars(self._options))
        return [Result(job, each, None) for job, each in zip(batch, predictions, strict=True)]

    def _metric(self, batch: list[Job]) -> list[Result]:
        focal_lengths = [None if job.camera is None else job.camera.fx for job in batch]
        predictions = self._estimator(
            [job.photo.image for job in batch],
            # Without the model's focal length metres cannot be rescaled; points alone use cameras.
            focal_length=focal_lengths if self._estimator.focal_length else None,
            **vars(self._options),
        )
        return [
            Result(job, prediction, job.camera or _assumed_camera(prediction))
            for job, prediction in zip(batch, predictions, strict=True)
        ]

    def write(self, result: Result) -> None:
        """Writes a result.

        Raises:
          UserError: it cannot be written, but others may be.
          OSError: the disk is full, or fails.
        """
        with explained(result.job.name):
            self.writer.write(result.job.name, result.prediction, result.camera)


@contextlib.contextmanager
def explained(name: str) -> Generator[None, None, None]:
    """Turns an error of writing results with a name into a UserError, unless it ends all."""
    try:
        yield
    except OSError as error:
        if error.errno in _ENDS_ALL:
            raise
        reason = error.strerror or " ".join(str(error).split())
        text = f"its results {name}.* cannot be written ({reason})"
        raise UserError(f"{text}: rename it, or give another --output") from error


def _assumed_camera(prediction: DepthPrediction) -> Camera | None:
    if prediction.focal_length is None:
        return None
    size = prediction.depth.shape
    return camera.centred(prediction.focal_length, *size, "the model's assumption")


def metres_hold(prediction: AnyPrediction, pinhole: Camera | None) -> str:
    """Says for which camera the metres hold, if the model states a focal length."""
    if isinstance(prediction, RelativePrediction):
        return "the model is relative and knows no metres"
    # Without a stated one metres are not rescaled: the camera of the user is for points alone.
    if pinhole is None or prediction.focal_length is None:
        return "metres hold for cameras like those of the training data (focal length not stated)"
    return f"metres hold for a focal length of {pinhole.fx:.1f} pixels ({pinhole.source})"
