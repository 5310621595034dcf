"""Predicts videos into files, frame by frame."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.frame_times import Clock
from diffdepth_jax.media.reading import Photo
from diffdepth_jax.media.video import Frame, VideoReader
from diffdepth_jax.prediction.existing_results import ExistingResults
from diffdepth_jax.prediction.image_prediction import (
    ImagePredictor,
    Job,
    Result,
    explained,
    metres_hold,
)
from diffdepth_jax.prediction.output_names import InputFile
from diffdepth_jax.prediction.record import Fingerprint, fingerprint
from diffdepth_jax.prediction.report import Report, tell
from diffdepth_jax.program import progress
from diffdepth_jax.program.background import in_background


class VideoPredictor:
    """Predicts videos, writes the results, and adds to a report what became of them."""

    def __init__(self, images: ImagePredictor, existing: ExistingResults, report: Report) -> None:
        self._images, self._existing, self._report = images, existing, report

    def predict(self, files: Iterable[InputFile]) -> None:
        """Predicts each frame of each video by itself, all from the same noise.

        If a frame cannot be read, the frames before it are predicted nevertheless. Prints a line
        about each video.
        """
        for file in files:
            if self._existing.of_video(file):
                self._report.skipped += 1
                continue
            try:
                self._predict_video(file)
            except UserError as error:
                self._report.fail(file.path, error)

    def _predict_video(self, file: InputFile) -> None:
        source = fingerprint(file.path)
        with VideoReader(file.path) as reader:
            bar = progress.bar(reader, "predict", total=reader.num_frames or None)
            frames = _UntilBroken(bar)
            clock = None if self._existing.has_video(file) else reader.clock
            notes = list(self._written_frames(file, source, frames, clock))
        self._existing.finish(file, source, frames.count)  # also of what breaks off: it is all
        if frames.error is not None:
            raise frames.error
        if not notes:
            self._report.skipped += 1
            return
        self._report.written += 1
        tell(f"{file.name}: {len(notes)} frames; {notes[-1]}")

    def _written_frames(
        self,
        file: InputFile,
        source: Fingerprint | None,
        frames: Iterable[Frame],
        clock: Clock | None,
    ) -> Iterator[str]:
        """Predicts frames and writes the results; then yields for which camera each one holds.

        With a clock, which counts their times, a video is made of the depth of all frames.
        """
        images, video = self._images, contextlib.nullcontext()
        if clock is not None:
            video = images.writer.open_video(file.name, clock)
        jobs = self._jobs(file, frames, skip_existing=clock is None)
        results = itertools.chain.from_iterable(map(images.predict, images.batches(jobs)))
        begun = self._begun(file, source, results)
        written = contextlib.closing(in_background(images.write, begun))
        with explained(file.name), video as append, written as pairs:
            for result, writing in pairs:
                writing.result()
                if append is not None:
                    append(result.prediction, result.job.span)
                yield metres_hold(result.prediction, result.camera)

    def _begun(
        self, file: InputFile, source: Fingerprint | None, results: Iterable[Result]
    ) -> Iterator[Result]:
        """Yields the results; before the first one it records that they will be written."""
        for index, result in enumerate(results):
            if not index:
                self._existing.begin(file, source)
            yield result

    def _jobs(self, file: InputFile, frames: Iterable[Frame], skip_existing: bool) -> Iterator[Job]:
        skip_existing = skip_existing and self._existing.are_current(file)
        for index, frame in enumerate(frames):
            name = file.frame_name(index)
            if not (skip_existing and self._images.writer.exist(name)):
                yield self._images.job(file, name, Photo(frame.image))._replace(span=frame.span)


class _UntilBroken:
    """Iterates over frames, and ends quietly where they break off after the first one.

    Attributes:
      count: the number of frames so far.
      error: why the frames broke off; None if they did not.
    """

    error: UserError | None = None

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._frames, self.count = frames, 0

    def __iter__(self) -> Iterator[Frame]:
        try:
            for frame in self._frames:
                yield frame
                self.count += 1
        except UserError as error:
            if not self.count:
                raise
            self.error = error
