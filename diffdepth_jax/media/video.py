"""Video files, read and written frame by frame with PyAV.

PyAV is an optional dependency, so it is imported only when a video is opened.
"""

from collections.abc import Iterator
from fractions import Fraction
from types import ModuleType
from typing import Any, Self

import numpy as np

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.reading import RGB, FilePath

EXTENSIONS = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"}
_CODEC = "libx264"
# Times in a file are rounded, so this many frames may seem to be missing at its end.
_LOST_FRAMES = 2


def _library() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise UserError(
            "video needs PyAV: pip install av, or pip install '.[video]' in this folder"
        ) from error
    return av


class VideoReader:
    """Iterates over the frames of a video file, turned the way the camera was held.

    All frames are scaled to the size of the first one. A context manager.

    Attributes:
      num_frames: number of frames that the file states; 0 if it states none.
      rate: frames per second.
    """

    num_frames: int
    rate: Fraction | int

    def __init__(self, path: FilePath) -> None:
        """Opens the file; raises a UserError if it is no video or PyAV is not installed."""
        self._av, self._path = _library(), path
        try:
            self._container = self._av.open(str(path))
        except self._av.error.FFmpegError as error:
            raise self.unreadable(error) from error
        if not self._container.streams.video:
            self._container.close()
            raise UserError(f"video {path} has no pictures: give a video, or remove it")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.num_frames = self._stream.frames
        self.rate = self._stream.average_rate or self._stream.guessed_rate or 25

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[RGB]:
        """Yields one frame after the other; raises a UserError where the file is broken."""
        count, time, size = 0, None, {}
        try:
            for frame in self._container.decode(self._stream):
                size = size or {"width": frame.width, "height": frame.height}
                image = frame.to_ndarray(format="rgb24", **size)
                yield np.ascontiguousarray(np.rot90(image, frame.rotation // 90))
                count, time = count + 1, frame.time
        except self._av.error.FFmpegError as error:
            raise self.unreadable(error, count) from error
        if not count:
            raise self.unreadable("it has no frame")
        if count < self.num_frames and self._frames_after(time) > _LOST_FRAMES:
            raise self.unreadable(f"it should have {self.num_frames}", count)

    def _frames_after(self, time: float | None) -> float:
        """Returns how many frames are missing after a time in seconds, by the stated duration.

        The number of frames is no measure: the file of a video that was cut may state more frames
        than the cut leaves.
        """
        start, duration = self._container.start_time or 0, self._container.duration
        if time is None or duration is None:
            return 0
        return ((start + duration) / self._av.time_base - time) * self.rate - 1

    def unreadable(self, reason: Exception | str, count: int = 0) -> UserError:
        """Returns the UserError that gives the reason, and the number of frames read before it."""
        after = f" after {count} frames" if count else ""
        reason = getattr(reason, "strerror", None) or reason
        return UserError(
            f"video {self._path} cannot be read{after} ({reason}): replace or remove it"
        )


class VideoWriter:
    """Writes frames of one size to an MP4 file as H.264. A context manager.

    H.264 needs even sides: the last row or column of an odd side is repeated.
    """

    def __init__(self, path: FilePath, rate: Fraction | int) -> None:
        """Opens the file; `rate` is in frames per second."""
        self._av = _library()
        self._stream: Any = None  # made for the first frame, which sets the size
        self._container = self._av.open(str(path), "w", format="mp4")
        self._rate = rate

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()

    def write(self, image: RGB) -> None:
        """Appends a frame."""
        height, width = image.shape[:2]
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._stream is None:
            self._stream = self._container.add_stream(_CODEC, rate=self._rate)
            self._stream.height, self._stream.width = image.shape[:2]
            self._stream.pix_fmt = "yuv420p"  # the format that browsers play
        frame = self._av.VideoFrame.from_ndarray(image, format="rgb24")
        self._container.mux(self._stream.encode(frame))
