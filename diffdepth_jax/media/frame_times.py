"""When each frame of a video shows: from the time stamps of a file to times an MP4 can hold."""

import math
from fractions import Fraction
from typing import NamedTuple

_MAX_TICKS = 480_000  # per second: then _MAX_GAP fits into the 31 bits of a frame's duration
_FINE_TICKS = 90_000  # per second: times are rounded to 6 microseconds
_MAX_GAP, _MAX_BACK = Fraction(3600), 1  # seconds, forward and back, from a frame to the next
_FINE_PART = 8  # time stamps this many times finer than a frame's duration are called fine


class Span(NamedTuple):
    """When a frame shows, in seconds.

    Attributes:
      start: from the beginning of the video.
      duration: only that of the last frame matters: the others show until the next one.
    """

    start: Fraction
    duration: Fraction

    @property
    def end(self) -> Fraction:
        """When the frame is over."""
        return self.start + self.duration


class Clock(NamedTuple):
    """How the times of a video are counted.

    Attributes:
      rate: frames per second; where it varies, about the mean.
      ticks: units per second that hold the times of all frames.
    """

    rate: Fraction
    ticks: int

    def count(self, seconds: Fraction) -> int:
        """Returns the number of ticks, rounded always in the same direction.

        Halves that go to even numbers would make a constant rate uneven.
        """
        return math.floor(seconds * self.ticks + Fraction(1, 2))


def clock(rate: Fraction, time_base: Fraction) -> Clock:
    """Returns a clock whose ticks hold each frame of the rate and each multiple of `time_base`.

    Where that needs more ticks than an MP4 can count, the ticks hold one of the two, the time base
    if they can; the other is rounded.
    """
    stamps, frames = time_base.denominator, rate.numerator
    for needed in (math.lcm(stamps, frames), stamps, frames):
        ticks = needed * math.ceil(_FINE_TICKS / needed)
        if ticks <= _MAX_TICKS:
            return Clock(rate, ticks)
    return Clock(rate, _FINE_TICKS)


class FrameTimes:
    """Gives each frame of a file its time; times begin at 0 or later, and increase.

    A time stamp that differs from an even rate by no more than its rounding becomes even.

    Attributes:
      shown: seconds from the start of the first frame to the end of the latest.
    """

    shown: Fraction = Fraction(0)

    def __init__(
        self,
        clock: Clock,
        time_base: Fraction,
        *,
        origin: Fraction | None,
        length: Fraction | None,
    ) -> None:
        """Takes the clock, and the seconds that a unit of the file's time stamps lasts.

        `origin` is the time in the file at which the video begins, in seconds; None stands for its
        first frame. `length` is that of the video, where the file states it.
        """
        self._clock, self._time_base, self._length = clock, time_base, length
        self._shift = None if origin is None else -origin
        self._period, self._tick = min(1 / clock.rate, _MAX_GAP), Fraction(1, clock.ticks)
        self._rounding = time_base if time_base * _FINE_PART < self._period else Fraction(0)
        self._first: Fraction | None = None
        self._previous = Fraction(0)

    def span(self, stamp: int | None, stated: int | None) -> Span:
        """Returns when the next frame shows.

        `stamp` and `stated`, the frame's duration, are in units of the time base. A frame without
        a stamp follows the one before it at the video's rate.
        """
        start = self._start(stamp)
        if self._first is None:
            self._first = self._previous = start
        else:
            self._previous = max(self._even(start), self._previous + self._tick)
        end = self._even(self._end(start, stated))
        duration = min(max(end - self._previous, self._tick), _MAX_GAP)
        self.shown = self._previous + duration - self._first
        return Span(self._previous, duration)

    def _start(self, stamp: int | None) -> Fraction:
        """Returns the time that a stamp means.

        Where stamps jump, as where two recordings were joined, the video goes on at its rate.
        """
        following = Fraction(0) if self._first is None else self._previous + self._period
        if stamp is None:
            return following
        time = stamp * self._time_base
        if self._shift is None:
            self._shift = following - time
        start = time + self._shift
        if self._first is None:
            jumps = start < 0
        else:
            jumps = not -_MAX_BACK <= start - self._previous <= _MAX_GAP
        if jumps:
            self._shift, start = following - time, following
        return start

    def _end(self, start: Fraction, stated: int | None) -> Fraction:
        """Returns when a frame ends, at the latest at the stated end of the video.

        A file with frames that refer to later ones may state the duration of another frame.
        """
        assert self._first is not None
        end = start + (stated * self._time_base if stated else self._period)
        if self._length is None or start >= self._first + self._length:
            return end
        return min(end, self._first + self._length)

    def _even(self, time: Fraction) -> Fraction:
        assert self._first is not None
        even = self._first + round((time - self._first) * self._clock.rate) / self._clock.rate
        return even if abs(even - time) <= self._rounding else time
