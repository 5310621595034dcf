"""Photos and videos through the estimator and into files; what cannot be read is passed over."""

import dataclasses
import itertools
import pathlib

from tqdm import tqdm

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera, drawing
from diffdepth_jax.media.camera import Camera
from diffdepth_jax.media.reading import Photo, read_photo
from diffdepth_jax.media.video import VideoReader, VideoWriter
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.prediction.outputs import NEED_CAMERA, OutputWriter, count_beyond_png
from diffdepth_jax.whole_files import write_whole


@dataclasses.dataclass(frozen=True)
class CameraChoice:
    """What is known of the cameras of all files; at most one of the three.

    Attributes:
      focal_length: in pixels of each image.
      fov: horizontal field of view in degrees.
      name: model: that which the model assumes; exif: each photo's own, otherwise the model's; or
        one of `camera.DATASETS`.
    """

    focal_length: float | None = None
    fov: float | None = None
    name: str = "model"

    def __post_init__(self):
        given = (self.focal_length is not None, self.fov is not None, self.name != "model")
        if sum(given) > 1:
            raise UserError("give only one of --focal_length, --fov and --camera")
        if self.fov is not None:
            camera.from_field_of_view(self.fov, 1, 1)
        if self.focal_length is not None:
            camera.centred(self.focal_length, 1, 1, "")

    @property
    def is_given(self):
        return self.focal_length is not None or self.fov is not None or self.name != "model"

    def of_photo(self, photo: Photo) -> Camera | None:
        """The camera of a photo; None: the one that the model assumes."""
        size = photo.image.shape[:2]
        if self.focal_length is not None:
            return camera.centred(self.focal_length, *size, "--focal_length")
        if self.fov is not None:
            return camera.from_field_of_view(self.fov, *size)
        if self.name in camera.DATASETS:
            return camera.from_dataset(self.name, *size)
        if self.name == "exif" and photo.focal_length_35mm:
            return camera.from_exif(photo.focal_length_35mm, *size)
        return None


@dataclasses.dataclass
class Report:
    """What became of the files: numbers, and (path, error) of those that could not be read."""

    written: int = 0
    skipped: int = 0
    failures: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class _Job:
    """A photo or frame; the name of its outputs, its camera if known, the size it is brought to."""

    path: pathlib.Path
    name: str
    photo: Photo
    camera: Camera | None
    target: tuple[int, int]


class FilePredictor:
    """Predicts files and writes what `writer` is for.

    Args:
      estimator: the model.
      writer: of the results.
      cameras: what is known of them; default: nothing.
      overwrite: predict again what has been written before.
      batch_size, **options: of `DepthEstimator.__call__`.
    """

    def __init__(
        self,
        estimator: DepthEstimator,
        writer: OutputWriter,
        cameras: CameraChoice | None = None,
        *,
        overwrite=True,
        batch_size=1,
        native_size=False,
        padded_sizes=(),
        **options,
    ):
        self._estimator, self._writer = estimator, writer
        self._cameras = CameraChoice() if cameras is None else cameras
        self._overwrite, self._batch_size = overwrite, batch_size
        self._sizes = {"native_size": native_size, "padded_sizes": padded_sizes}
        self._options = {**options, "trajectory": "gif" in writer.kinds}

    def predict_photos(self, files, report: Report):
        """Predicts photos, those of one size together, and says a line about each."""
        for batch in self._batches(self._photo_jobs(files, report)):
            try:
                predicted = self._predict(batch)
            except UserError as error:
                report.failures += [(job.path, error) for job in batch]
                continue
            for job, prediction, own in predicted:
                self._writer.write(job.name, prediction, own)
                report.written += 1
                tqdm.write(f"{job.name}: {self._describe(job.photo, prediction, own)}")

    def _photo_jobs(self, files, report):
        for file in tqdm(files, desc="predict", disable=len(files) == 1):
            if not self._overwrite and self._writer.exist(file.name):
                report.skipped += 1
                continue
            try:
                job = self._job(file, file.name, read_photo(file.path))
            except UserError as error:
                report.failures.append((file.path, error))
            else:
                yield job

    def predict_video(self, file, report: Report):
        """Predicts each frame of a video by itself, all from the same noise.

        One that breaks off is predicted up to there, and reported.
        """
        path = self._writer.video_path(file.name)
        if not self._writer.makes_video or (path.exists() and not self._overwrite):
            path = None
        if path is None and not self._writer.paths(file.name):
            report.skipped += 1
            return
        broken, notes = [], []
        try:
            with VideoReader(file.path) as reader:
                images = tqdm(reader, desc="predict", total=reader.num_frames or None)
                jobs = self._frame_jobs(file, _until_broken(images, broken), path is None)
                frames = self._written(map(self._predict, self._batches(jobs)), notes)
                count = self._write_frames(frames, path, reader.rate)
            if broken:
                raise broken[0]
        except UserError as error:
            report.failures.append((file.path, error))
        else:
            report.written += count > 0
            report.skipped += count == 0
            tqdm.write("; ".join([f"{file.name}: {count} frames", *notes]))

    def _frame_jobs(self, file, frames, may_skip):
        for index, image in enumerate(frames):
            name = frame_name(file, index)
            if self._overwrite or not may_skip or not self._writer.exist(name):
                yield self._job(file, name, Photo(image, 0.0, 1))

    def _write_frames(self, frames, path, rate):
        """Takes all predictions, and makes the video of them if there is to be one; counts them."""
        if path is None:
            return sum(1 for _ in frames)
        path.parent.mkdir(parents=True, exist_ok=True)
        count = 0

        def write(unfinished):
            nonlocal count
            limits = None  # of all frames, so that colours do not flicker
            with VideoWriter(unfinished, rate) as writer:
                for prediction in frames:
                    limits = limits or self._writer.limits(prediction.depth)
                    writer.write(drawing.depth_picture(prediction.depth, limits, prediction.image))
                    count += 1

        write_whole(path, write)
        return count

    def _written(self, batches, notes):
        """Yields predictions after their files were written; notes what the metres hold for."""
        for job, prediction, own in itertools.chain.from_iterable(batches):
            self._writer.write(job.name, prediction, own)
            notes[:] = [_metres_hold(own)]
            yield prediction

    def _job(self, file, name, photo):
        """Raises a UserError if the photo cannot be predicted, or not as asked."""
        own = self._cameras.of_photo(photo)
        if own is None and not self._estimator.focal_length and self._needs_camera:
            raise UserError(
                "no focal length is known for its points: give --focal_length or --fov, or leave "
                f"{' and '.join(sorted(NEED_CAMERA))} out"
            )
        samples = self._batch_size * self._options.get("ensemble", 1)
        placed = self._estimator.placement(*photo.image.shape[:2], **self._sizes, samples=samples)
        return _Job(file.path, name, photo, own, placed.target)

    @property
    def _needs_camera(self):
        return bool(NEED_CAMERA & set(self._writer.kinds))

    def _batches(self, jobs):
        """Yields lists of jobs of one size, as soon as one is full, and in the end the rest."""
        waiting = {}
        for job in jobs:
            batch = waiting.setdefault(job.target, [])
            batch.append(job)
            if len(batch) == self._batch_size:
                yield waiting.pop(job.target)
        yield from waiting.values()

    def _predict(self, batch):
        """A list of (job, prediction, camera or None)."""
        focal_lengths = [job.camera and job.camera.fx for job in batch]
        predictions = self._estimator(
            [job.photo.image for job in batch],
            # Metres of a model of unknown cameras cannot be rescaled; points need theirs anyhow.
            focal_length=focal_lengths if self._estimator.focal_length else None,
            batch_size=self._batch_size,
            **self._sizes,
            **self._options,
        )
        return [
            (job, prediction, job.camera or _assumed_camera(prediction))
            for job, prediction in zip(batch, predictions, strict=True)
        ]

    def _describe(self, photo, prediction, own):
        """What a user should know of a result: size, range, camera, and what was left out."""
        depth = prediction.depth
        height, width = depth.shape
        notes = [f"{height} x {width}, {depth.min():.2f} to {depth.max():.2f} m", _metres_hold(own)]
        if own is not None and photo.focal_length_35mm and not self._cameras.is_given:
            stated = camera.from_exif(photo.focal_length_35mm, height, width).fx
            notes.append(f"its EXIF says {stated:.1f}: --camera=exif")
        if photo.num_pictures > 1:
            notes.append(f"the first of the file's {photo.num_pictures} pictures")
        if "png16" in self._writer.kinds:
            beyond = count_beyond_png(depth, self._writer.depth_scale)
            notes += [f"{beyond} pixels beyond the PNG's range"] * (beyond > 0)
        return "; ".join(notes)


def frame_name(file, index):
    """Of the outputs of a video's frame: they have a folder of their own."""
    return f"{file.name}/{index:06d}"


def _assumed_camera(prediction):
    if prediction.focal_length is None:
        return None
    return camera.centred(
        prediction.focal_length, *prediction.depth.shape, "the model's assumption"
    )


def _metres_hold(own):
    if own is None:
        return "metres hold for cameras like those of the training data (focal length not stated)"
    return f"metres hold for a focal length of {own.fx:.1f} pixels ({own.source})"


def _until_broken(frames, broken):
    """The frames; an error after the first of them ends them, and is put into the list."""
    count = 0
    try:
        for image in frames:
            yield image
            count += 1
    except UserError as error:
        if not count:
            raise
        broken.append(error)
