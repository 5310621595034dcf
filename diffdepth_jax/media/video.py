"""Video files, read and written frame by frame with PyAV, which is installed for them alone."""

import numpy as np

from diffdepth_jax.errors import UserError

EXTENSIONS = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"}
_CODEC = "libx264"
_LOST_FRAMES = 2  # at the end of a file: more are not for want of precision


def _library():
    try:
        import av
    except ImportError as error:
        raise UserError(
            "video needs PyAV: pip install av, or pip install '.[video]' in this folder"
        ) from error
    return av


class VideoReader:
    """The frames of a video file, uint8 [H, W, 3], turned the way the camera was held.

    Where the size changes on the way, frames are brought to that of the first.

    Attributes:
      num_frames: what the file says of itself; 0 if nothing.
      rate: frames in a second, a fraction.
    """

    def __init__(self, path):
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

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._container.close()

    def __iter__(self):
        """One frame in memory at a time; a UserError where the file breaks off."""
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

    def _frames_after(self, time):
        """How many are missing behind a time in seconds, by the duration that the file states.

        Their number alone does not tell: of a video that was cut, the file may hold more.
        """
        start, duration = self._container.start_time or 0, self._container.duration
        if time is None or duration is None:
            return 0
        return ((start + duration) / self._av.time_base - time) * self.rate - 1

    def unreadable(self, reason, count=0):
        after = f" after {count} frames" if count else ""
        reason = getattr(reason, "strerror", None) or reason
        return UserError(
            f"video {self._path} cannot be read{after} ({reason}): replace or remove it"
        )


class VideoWriter:
    """Writes uint8 [H, W, 3] of one size as H.264; a context manager.

    A side of an odd number of pixels is made even by one more of the same.
    """

    def __init__(self, path, rate):
        self._av, self._path, self._stream = _library(), path, None
        self._container = self._av.open(str(path), "w", format="mp4")
        self._rate = rate

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()

    def write(self, image):
        height, width = image.shape[:2]
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._stream is None:
            self._stream = self._container.add_stream(_CODEC, rate=self._rate)
            self._stream.height, self._stream.width = image.shape[:2]
            self._stream.pix_fmt = "yuv420p"  # what browsers play
        frame = self._av.VideoFrame.from_ndarray(image, format="rgb24")
        self._container.mux(self._stream.encode(frame))
