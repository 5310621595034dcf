"""Video files, read and written frame by frame with PyAV.

PyAV is an optional dependency, so it is imported only when a video is opened.
"""

import importlib.util
import os
from collections.abc import Iterator
from fractions import Fraction
from types import ModuleType
from typing import Any, NamedTuple, Self

import numpy as np

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import frame_times
from diffdepth_jax.media.frame_times import Clock, FrameTimes, Span
from diffdepth_jax.media.reading import RGB, FilePath, remedy

EXTENSIONS = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v"}
_CODEC = "libx264"
_PIXELS = "yuv420p"  # the format that browsers play
_USUAL_RATE = 25  # frames per second, of a file that states none
# Times in a file are rounded, so this many frames may seem to be missing at its end.
_LOST_FRAMES = 2
# Codes of ITU-T H.273, which all containers share.
_BT709, _LIMITED = 1, 1
_NO_MATRIX = {0, 2, 3}  # RGB, unspecified, reserved: no tag for a picture of luma and chroma
_HD_HEIGHT = 720


def is_available() -> bool:
    """Whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def library() -> ModuleType:
    """Returns PyAV; raises a UserError if it is not installed."""
    try:
        import av
    except ImportError as error:
        raise UserError(
            "video needs PyAV: pip install av, or pip install '.[video]' in the checkout"
        ) from error
    return av


class Frame(NamedTuple):
    """A picture of a video, and when it shows."""

    image: RGB
    span: Span


class VideoReader:
    """Iterates over the frames of a video file, turned the way the camera was held.

    All frames are scaled to the size of the first one. A context manager.

    Attributes:
      num_frames: number of frames that the file states; 0 if it states none.
      clock: the rate, and the units of the times.
    """

    num_frames: int
    clock: Clock

    def __init__(self, path: FilePath) -> None:
        """Opens the file; raises a UserError if it is no video or PyAV is not installed."""
        self._av, self._path = library(), path
        try:
            # Absolute: FFmpeg would take a name such as "concat:a.mp4" for one of its protocols.
            self._container = self._av.open(os.path.abspath(path))
        except Exception as error:  # FFmpeg's, and others on damaged headers
            raise self.unreadable(error) from error
        if not self._container.streams.video:
            self._container.close()
            raise UserError(f"video {path} has no pictures: give a video, or remove it")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.num_frames = self._stream.frames
        # Where frames come unevenly, one of the two is a guess that may be far too high.
        rates = [r for r in (self._stream.average_rate, self._stream.guessed_rate) if r]
        rate = Fraction(min(rates, default=_USUAL_RATE))
        self.clock = frame_times.clock(rate, self._stream.time_base)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yields one frame after the other; raises a UserError where the file is broken."""
        count, size = 0, {}
        times = self._times()
        try:
            for frame in self._container.decode(self._stream):
                size = size or {"width": frame.width, "height": frame.height}
                yield Frame(_pixels(frame, **size), times.span(*self._stamps(frame)))
                count += 1
        except UserError:
            raise
        except Exception as error:  # FFmpeg's, and others on damaged frames
            raise self.unreadable(error, count) from error
        if not count:
            raise self.unreadable("it has no frame")
        if count < self.num_frames and self._frames_after(times.shown) > _LOST_FRAMES:
            raise self.unreadable(f"it should have {self.num_frames}", count)

    def _times(self) -> FrameTimes:
        origin = None if self._has_decoding_order_only else self._origin()
        return FrameTimes(
            self.clock, self._stream.time_base, origin=origin, length=self._stated_length
        )

    def _origin(self) -> Fraction:
        """Returns the time stamp at which the video begins, in seconds.

        The stamps of a broadcast begin anywhere. Those of other files begin at 0, so that a first
        frame with a later stamp shows later.
        """
        broadcast = self._container.format.flags & self._av.format.Flags.ts_discont.value
        start = self._container.start_time if broadcast else 0
        return Fraction(start or 0, self._av.time_base)

    @property
    def _has_decoding_order_only(self) -> bool:
        """Whether the file states when frames are decoded, but not when they show.

        Frames are decoded a constant time before they show; PyAV's `pts` are no times then.
        """
        return self._container.format.name == "avi"

    def _stamps(self, frame: Any) -> tuple[int | None, int | None]:
        """Returns when a frame shows and for how long, in units of the file's time base."""
        if self._has_decoding_order_only:
            return frame.dts, None
        return frame.pts, frame.duration

    @property
    def _stated_length(self) -> Fraction | None:
        stated = self._stream.duration
        return None if stated is None else stated * self._stream.time_base

    def _frames_after(self, shown: Fraction) -> Fraction | int:
        """Returns how many frames are missing after those that show for this time, in seconds.

        The number of frames is no measure: the file of a video that was cut may state more frames
        than the cut leaves. So the stated length is.
        """
        length = self._stated_length
        return 0 if length is None else (length - shown) * self.clock.rate

    def unreadable(self, reason: Exception | str, count: int = 0) -> UserError:
        """Returns the UserError that gives the reason, and the number of frames read before it."""
        after = f" after {count} frames" if count else ""
        told = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        return UserError(f"video {self._path} cannot be read{after} ({told}): {remedy(reason)}")


def _pixels(frame: Any, width: int, height: int) -> RGB:
    """Returns a frame of PyAV in RGB, scaled, then turned the way the camera was held.

    The tags of the file say which luma and chroma are which colour. Without them a frame of 720
    rows or more is read as BT.709, a smaller one as BT.601, as browsers do.
    """
    untagged_hd = frame.colorspace in _NO_MATRIX and frame.height >= _HD_HEIGHT
    matrix = "ITU709" if untagged_hd else None
    image = frame.to_ndarray(format="rgb24", width=width, height=height, src_colorspace=matrix)
    return np.ascontiguousarray(np.rot90(image, frame.rotation // 90))


class VideoWriter:
    """Writes frames of one size to an MP4 file as H.264, tagged as BT.709. A context manager.

    H.264 needs even sides: the last row or column of an odd side is repeated.
    """

    def __init__(self, path: FilePath, clock: Clock) -> None:
        """Opens the file; `clock` counts the times of its frames."""
        self._av = library()
        self._stream: Any = None  # made for the first frame, which sets the size
        # Otherwise the time of the first frame is rounded down to milliseconds.
        options = {"movie_timescale": str(clock.ticks)}
        self._container = self._av.open(str(path), "w", format="mp4", options=options)
        self._clock = clock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode())
        self._container.close()

    def write(self, image: RGB, span: Span) -> None:
        """Appends a frame; `span` must begin a tick of the clock or more after the one before."""
        height, width = image.shape[:2]
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._stream is None:
            self._stream = self._add_stream(*image.shape[:2])
        frame = self._av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
            format=_PIXELS, dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        start, end = self._clock.count(span.start), self._clock.count(span.end)
        frame.pts, frame.duration, frame.time_base = start, end - start, self._time_base
        self._container.mux(self._stream.encode(frame))

    @property
    def _time_base(self) -> Fraction:
        return Fraction(1, self._clock.ticks)

    def _add_stream(self, height: int, width: int) -> Any:
        # Frames that refer to later ones (B) would lose the last frame's duration.
        stream = self._container.add_stream(_CODEC, rate=self._clock.rate, options={"bf": "0"})
        stream.height, stream.width, stream.pix_fmt = height, width, _PIXELS
        stream.color_primaries = stream.color_trc = stream.colorspace = _BT709
        stream.color_range = _LIMITED
        context = stream.codec_context
        context.time_base = self._time_base
        context.flags |= self._av.codec.context.Flags.frame_duration
        return stream
