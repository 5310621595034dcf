"""Predicts photos and videos into files. Files that cannot be predicted are passed over."""

import contextlib
import dataclasses
import itertools
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from tqdm import tqdm

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera
from diffdepth_jax.media.camera import Camera
from diffdepth_jax.media.frame_times import Clock, Span
from diffdepth_jax.media.preprocessing import Size
from diffdepth_jax.media.reading import Photo, read_photo
from diffdepth_jax.media.video import Frame, VideoReader
from diffdepth_jax.prediction import placement
from diffdepth_jax.prediction.camera_choice import CameraChoice
from diffdepth_jax.prediction.depth_prediction import DepthPrediction
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.prediction.input_files import InputFile, image_sizes
from diffdepth_jax.prediction.options import Options
from diffdepth_jax.prediction.outputs import (
    NEED_CAMERA,
    AnyPrediction,
    OutputWriter,
    count_beyond_png,
)
from diffdepth_jax.prediction.report import Failure, Report, VideoOutcome
from diffdepth_jax.prediction.writers import Writers


class _Job(NamedTuple):
    """A photo or frame to predict.

    Attributes:
      path: of the file.
      name: the beginning of its outputs' paths.
      photo: the image, and what its file says of it.
      camera: None stands for the camera that the model assumes.
      target: the size at which the network sees the image.
      span: when a frame shows; of no meaning for a photo.
    """

    path: pathlib.Path
    name: str
    photo: Photo
    camera: Camera | None
    target: Size
    span: Span = Span(Fraction(0), Fraction(0))


class _Result(NamedTuple):
    """A prediction, and the camera for which it holds; None if the model states no camera."""

    job: _Job
    prediction: AnyPrediction
    camera: Camera | None


class FilePredictor:
    """Predicts files and writes the results."""

    def __init__(
        self,
        estimator: DepthEstimator,
        writer: OutputWriter,
        cameras: CameraChoice,
        options: Options,
        *,
        overwrite: bool = True,
    ) -> None:
        """Takes the model, the writer of its results, and what is known of the cameras.

        `options` say how images are predicted; the writer's kinds decide on the trajectory. With
        `overwrite`, files are predicted again whose results exist already.
        """
        self._estimator, self._writer, self._cameras = estimator, writer, cameras
        self._options = dataclasses.replace(options, trajectory="gif" in writer.kinds)
        self._overwrite = overwrite

    def predict_photos(self, files: Sequence[InputFile]) -> Report:
        """Predicts photos, in batches of one size, and prints a line about each."""
        missing = [f for f in files if self._overwrite or not self._writer.exist(f.name)]
        failures: list[Failure] = []

        def readable() -> Iterator[_Job]:
            for file in tqdm(missing, desc="predict", disable=len(files) == 1):
                try:
                    yield self._job(file, file.name, read_photo(file.path))
                except UserError as error:
                    failures.append((file.path, error))

        for batch in self._batches(readable()):
            failures += self._predict_photo_batch(batch)
        written, skipped = len(missing) - len(failures), len(files) - len(missing)
        return Report(written, skipped, tuple(failures))

    def _predict_photo_batch(self, batch: list[_Job]) -> list[Failure]:
        """Predicts and writes photos of one size; returns the photos that failed."""
        try:
            results = self._predict(batch)
        except UserError as error:
            return [(job.path, error) for job in batch]
        for result in results:
            self._write(result)
            tqdm.write(f"{result.job.name}: {self._describe(result)}")
        return []

    def predict_videos(self, files: Iterable[InputFile]) -> Report:
        """Predicts videos, and prints a line about each."""
        report = Report()
        for file in files:
            outcome = self.predict_video(file)
            report += outcome.report(file.path)
            if outcome.frames and outcome.error is None:
                tqdm.write("; ".join([f"{file.name}: {outcome.frames} frames", *outcome.notes]))
        return report

    def predict_video(self, file: InputFile) -> VideoOutcome:
        """Predicts each frame of a video by itself, all from the same noise.

        If a frame cannot be read, the frames before it are predicted nevertheless.
        """
        path = self._writer.video_path(file.name)
        makes_video = self._writer.makes_video and (self._overwrite or not path.exists())
        if not makes_video and not self._writer.paths(file.name):
            return VideoOutcome(0)
        count, notes, error = 0, (), None
        try:
            with VideoReader(file.path) as reader:
                frames = _UntilBroken(tqdm(reader, desc="predict", total=reader.num_frames or None))
                clock = reader.clock if makes_video else None
                for pinhole in self._written_frames(file, frames, clock):
                    count, notes = count + 1, (self._metres_hold(pinhole),)
            error = frames.error
        except UserError as raised:
            error = raised
        return VideoOutcome(count, notes, error)

    def _written_frames(
        self, file: InputFile, frames: Iterable[Frame], clock: Clock | None
    ) -> Iterator[Camera | None]:
        """Predicts frames and writes the results; then yields each frame's camera.

        With a clock, which counts their times, a video is made of the depth of all frames.
        """
        video = (
            contextlib.nullcontext() if clock is None else self._writer.open_video(file.name, clock)
        )
        jobs = self._frame_jobs(file, frames, skip_existing=clock is None and not self._overwrite)
        with video as append:
            for result in itertools.chain.from_iterable(map(self._predict, self._batches(jobs))):
                self._write(result)
                if append is not None:
                    append(result.prediction, result.job.span)
                yield result.camera

    def _frame_jobs(
        self, file: InputFile, frames: Iterable[Frame], skip_existing: bool
    ) -> Iterator[_Job]:
        for index, frame in enumerate(frames):
            name = file.frame_name(index)
            if not (skip_existing and self._writer.exist(name)):
                job = self._job(file, name, Photo(frame.image))
                yield job._replace(span=frame.span)

    def _job(self, file: InputFile, name: str, photo: Photo) -> _Job:
        """Raises a UserError if the photo cannot be predicted, or not into the kinds of output."""
        chosen = self._cameras.of_photo(photo)
        if chosen is None and not self._estimator.focal_length and self._needs_camera:
            raise UserError(
                "no focal length is known for its points: give --focal_length or --fov, or leave "
                f"{' and '.join(sorted(NEED_CAMERA))} out"
            )
        placed = self._estimator.placement(*photo.image.shape[:2], self._options)
        return _Job(file.path, name, photo, chosen, placed.target)

    @property
    def _needs_camera(self) -> bool:
        return bool(NEED_CAMERA & set(self._writer.kinds))

    def _batches(self, jobs: Iterable[_Job]) -> Iterator[list[_Job]]:
        """Yields each batch of jobs of one size as soon as it is full, and the rest at the end."""
        waiting: dict[Size, list[_Job]] = {}
        for job in jobs:
            batch = waiting.setdefault(job.target, [])
            batch.append(job)
            if len(batch) == self._options.batch_size:
                yield waiting.pop(job.target)
        yield from waiting.values()

    def _predict(self, batch: list[_Job]) -> list[_Result]:
        images = [job.photo.image for job in batch]
        if self._estimator.is_relative:
            relative = self._estimator.relative(images, **vars(self._options))
            return [_Result(job, x, None) for job, x in zip(batch, relative, strict=True)]
        focal_lengths = [None if job.camera is None else job.camera.fx for job in batch]
        predictions = self._estimator(
            images,
            # Without the model's focal length metres cannot be rescaled; points alone use cameras.
            focal_length=focal_lengths if self._estimator.focal_length else None,
            **vars(self._options),
        )
        return [
            _Result(job, prediction, job.camera or _assumed_camera(prediction))
            for job, prediction in zip(batch, predictions, strict=True)
        ]

    def _write(self, result: _Result) -> None:
        self._writer.write(result.job.name, result.prediction, result.camera)

    def _metres_hold(self, pinhole: Camera | None) -> str:
        """Says for which camera the metres hold; None: the model states no focal length."""
        if self._estimator.is_relative:
            return "the model is relative and knows no metres"
        if pinhole is None:
            return (
                "metres hold for cameras like those of the training data (focal length not stated)"
            )
        return f"metres hold for a focal length of {pinhole.fx:.1f} pixels ({pinhole.source})"

    def _describe(self, result: _Result) -> str:
        """Says what a user should know of a photo's result: its size, range and camera."""
        photo, prediction = result.job.photo, result.prediction
        height, width = prediction.image.shape[:2]
        size_and_range = f"{height} x {width}, {prediction.limits}"
        notes = [size_and_range, self._metres_hold(result.camera)]
        notes += [prediction.holes] * bool(prediction.holes)
        if result.camera is not None and photo.focal_length_35mm and not self._cameras.is_given:
            stated = camera.from_exif(photo.focal_length_35mm, height, width).fx
            notes.append(f"its EXIF says {stated:.1f}: --camera=exif")
        if photo.num_pictures > 1:
            notes.append(f"the first of the file's {photo.num_pictures} pictures")
        if isinstance(prediction, DepthPrediction) and "png16" in self._writer.kinds:
            beyond = count_beyond_png(prediction.marked_depth, self._writer.depth_scale)
            notes += [f"{beyond} pixels beyond the PNG's range"] * (beyond > 0)
        return "; ".join([*notes, *photo.notes])


class _UntilBroken:
    """Iterates over frames, and ends quietly where they break off after the first one.

    Attributes:
      error: why the frames broke off; None if they did not.
    """

    error: UserError | None = None

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames = frames

    def __iter__(self) -> Iterator[Frame]:
        count = 0
        try:
            for frame in self._frames:
                yield frame
                count += 1
        except UserError as error:
            if not count:
                raise
            self.error = error


def _assumed_camera(prediction: DepthPrediction) -> Camera | None:
    if prediction.focal_length is None:
        return None
    size = prediction.depth.shape
    return camera.centred(prediction.focal_length, *size, "the model's assumption")


def predict_files(
    estimator: DepthEstimator,
    files: Sequence[InputFile],
    writers: Writers,
    cameras: CameraChoice,
    options: Options,
    *,
    overwrite: bool,
) -> Report:
    """Predicts all photos, then all videos.

    Photos at their native size are padded to a few sizes that they share.
    """
    photos = [file for file in files if not file.is_video]
    videos = [file for file in files if file.is_video]
    padded = placement.shared_sizes(image_sizes(photos)) if options.native_size else ()
    of_photos = dataclasses.replace(options, padded_sizes=padded)
    photo_predictor = FilePredictor(
        estimator, writers.photos, cameras, of_photos, overwrite=overwrite
    )
    video_predictor = FilePredictor(
        estimator, writers.videos, cameras, options, overwrite=overwrite
    )
    return photo_predictor.predict_photos(photos) + video_predictor.predict_videos(videos)
