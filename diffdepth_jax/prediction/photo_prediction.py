"""Predicts photos into files. Photos that cannot be predicted are passed over."""

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import camera
from diffdepth_jax.media.reading import read_photo
from diffdepth_jax.prediction.depth_prediction import DepthPrediction
from diffdepth_jax.prediction.existing_results import ExistingResults
from diffdepth_jax.prediction.image_prediction import ImagePredictor, Job, Result, metres_hold
from diffdepth_jax.prediction.output_names import InputFile
from diffdepth_jax.prediction.outputs import count_beyond_png
from diffdepth_jax.prediction.record import fingerprint
from diffdepth_jax.prediction.report import Report, notes_on_denoising, tell
from diffdepth_jax.program import progress
from diffdepth_jax.program.background import in_background

_LARGE = 20_000_000  # pixels; to write more takes a gigabyte and more, so only one at a time


class PhotoPredictor:
    """Predicts photos, writes the results, and adds to a report what became of them."""

    def __init__(self, images: ImagePredictor, existing: ExistingResults, report: Report) -> None:
        self._images, self._existing, self._report = images, existing, report
        self._telling = threading.Lock()  # of the record and the report
        self._large = threading.Lock()

    def predict(self, files: Sequence[InputFile]) -> None:
        """Predicts photos, in batches of one size, and prints a line about each."""
        missing = [file for file in files if not self._existing.of_photo(file)]
        self._report.skipped += len(files) - len(missing)
        bar = progress.bar(missing, "predict", disable=len(files) == 1)
        with contextlib.closing(in_background(self._write, self._results(bar))) as written:
            for result, writing in written:
                self._finish(result, writing)

    def _jobs(self, files: Iterable[InputFile]) -> Iterator[Job]:
        for file in files:
            source = fingerprint(file.path)  # before it is read, and perhaps changed
            try:
                job = self._images.job(file, file.name, read_photo(file.path))
            except UserError as error:
                self._report.fail(file.path, error)
            else:
                yield job._replace(source=source)

    def _results(self, files: Iterable[InputFile]) -> Iterator[Result]:
        for batch in self._images.batches(self._jobs(files)):
            yield from self._results_of(batch)

    def _results_of(self, batch: list[Job]) -> list[Result]:
        try:
            return self._images.predict(batch)
        except UserError as error:
            for job in batch:
                self._report.fail(job.path, error)
            return []

    def _write(self, result: Result) -> None:
        """Writes a result, and records it before and after."""
        height, width = result.prediction.image.shape[:2]
        file, source = InputFile(result.job.path, result.job.name), result.job.source
        with self._telling:
            self._existing.begin(file, source)
        with self._large if height * width > _LARGE else contextlib.nullcontext():
            self._images.write(result)
        with self._telling:
            self._existing.finish(file, source)
            self._report.written += 1

    def _finish(self, result: Result, writing: Future[None]) -> None:
        job = result.job
        try:
            writing.result()
        except UserError as error:
            return self._report.fail(job.path, error)
        tell(f"{job.name}: {self._describe(result)}")

    def _describe(self, result: Result) -> str:
        """Says what a user should know of a photo's result: its size, range and camera."""
        photo, prediction = result.job.photo, result.prediction
        height, width = prediction.image.shape[:2]
        size_and_range = f"{height} x {width}, {prediction.limits}"
        notes = [size_and_range, metres_hold(prediction, result.camera)]
        notes += [prediction.holes] * bool(prediction.holes)
        is_given = self._images.cameras.is_given
        if result.camera is not None and photo.focal_length_35mm and not is_given:
            stated = camera.from_exif(photo.focal_length_35mm, height, width).fx
            notes.append(f"its EXIF says {stated:.1f}: --camera=exif")
        if isinstance(prediction, DepthPrediction) and prediction.trajectory is not None:
            notes += notes_on_denoising(prediction.trajectory, self._images.num_steps)
        if photo.num_pictures > 1:
            notes.append(f"the first of the file's {photo.num_pictures} pictures")
        return "; ".join([*notes, *self._notes_on_png(result), *photo.notes])

    def _notes_on_png(self, result: Result) -> list[str]:
        writer, prediction = self._images.writer, result.prediction
        if "png16" not in writer.kinds or not isinstance(prediction, DepthPrediction):
            return []
        beyond = count_beyond_png(prediction.marked_depth, writer.depth_scale)
        return [f"{beyond} pixels beyond the PNG's range"] * (beyond > 0)
