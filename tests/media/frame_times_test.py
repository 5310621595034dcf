"""Frames show when the file says, as nearly as an MP4 can hold it."""

from fractions import Fraction

import av
import numpy as np
import pytest

from diffdepth_jax.media import frame_times
from diffdepth_jax.media.frame_times import Clock, FrameTimes, Span
from diffdepth_jax.media.video import VideoReader, VideoWriter

F = Fraction
ZERO, NTSC, FILM = F(0), F(30000, 1001), F(24000, 1001)


def write_stamped(path, stamps, time_base, *, last=None, rate=30, b_frames=0, codec="libx264"):
    """A video whose frames have these time stamps; `last`: duration of the last frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"bf": str(b_frames)})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.time_base = time_base
        stream.codec_context.flags |= av.codec.context.Flags.frame_duration
        for index, stamp in enumerate(stamps):
            image = np.full((48, 64, 3), 10 * index % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = stamp, time_base
            frame.duration = last if last and stamp == stamps[-1] else 0
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def shown(path):
    """When each frame of an MP4 shows, and when the last one ends, in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [frame.pts * stream.time_base for frame in container.decode(stream)]
        return times, (stream.start_time + stream.duration) * stream.time_base


def _copied(path):
    """`shown` of what the writer makes of a video."""
    copy = path.with_name("copy.mp4")
    with VideoReader(path) as reader, VideoWriter(copy, reader.clock) as writer:
        for image, span in reader:
            writer.write(image, span)
    return shown(copy)


UNEVEN = [20 * k + 600 * (k > 9) for k in range(20)]


@pytest.mark.parametrize("b_frames", [0, 3])
@pytest.mark.parametrize("start", [0, 7, 300])
def test_an_uneven_video_keeps_its_times(start, b_frames, tmp_path):
    write_stamped(tmp_path / "a.mp4", [start + s for s in UNEVEN], F(1, 600), b_frames=b_frames)
    times, end = _copied(tmp_path / "a.mp4")
    assert (times, end) == shown(tmp_path / "a.mp4")
    for time, stamp in zip([*times, end], [*UNEVEN, UNEVEN[-1] + 20], strict=True):
        assert abs(time - F(start + stamp, 600)) < F(1, 1000)  # the start in the first file


def test_the_last_frame_stays_as_long_as_it_did(tmp_path):
    write_stamped(tmp_path / "a.mp4", UNEVEN, F(1, 600), last=900)
    assert _copied(tmp_path / "a.mp4")[1] == F(UNEVEN[-1] + 900, 600)


def test_times_at_the_limits_of_an_mp4_are_kept(tmp_path):
    """The most ticks, a start after days, the longest gap and the longest last frame."""
    clock, day, hour = Clock(F(30), 480_000), F(86400), F(3600)
    starts = [3 * day, 3 * day + hour, 3 * day + hour + 1 / clock.rate]
    with VideoWriter(tmp_path / "a.mp4", clock) as writer:
        for start in starts:
            writer.write(np.zeros((48, 64, 3), np.uint8), Span(start, hour))
    assert shown(tmp_path / "a.mp4") == (starts, starts[-1] + hour)


@pytest.mark.parametrize("gap", range(14, 18))
def test_a_gap_is_not_taken_for_the_duration_of_the_last_frame(gap, tmp_path):
    """An MP4 states durations in the order of decoding, so that they are of other frames."""
    stamps = [20 * k + 600 * (k >= gap) for k in range(20)]
    write_stamped(tmp_path / "a.mp4", stamps, F(1, 600), b_frames=3)
    assert _copied(tmp_path / "a.mp4") == shown(tmp_path / "a.mp4")


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.avi", "a.webm", "a.ts"])
@pytest.mark.parametrize("rate", [F(25), F(30), NTSC, FILM])
def test_a_constant_rate_stays_exactly_constant(rate, name, tmp_path):
    codec = "libvpx" if name == "a.webm" else "libx264"
    options = {"rate": rate, "codec": codec, "b_frames": 0 if name == "a.webm" else 3}
    write_stamped(tmp_path / name, range(40), 1 / rate, **options)
    times, end = _copied(tmp_path / name)
    assert times == [k / rate for k in range(40)] and end == 40 / rate


def test_an_uneven_avi_is_read_by_the_order_of_decoding(tmp_path):
    """An AVI holds no other times, and leaves out what it does not show again."""
    write_stamped(tmp_path / "a.avi", UNEVEN, F(1, 600), b_frames=3)
    assert _copied(tmp_path / "a.avi") == ([F(s, 600) for s in UNEVEN], F(UNEVEN[-1] + 20, 600))


@pytest.mark.parametrize("denominator", [1_000_000, 1_000_000_000, 2**31 - 1])
def test_a_time_base_finer_than_an_mp4_can_count_is_rounded(denominator, tmp_path):
    stamps = [k * denominator // 30 for k in range(6)]
    write_stamped(tmp_path / "a.mp4", stamps, F(1, denominator))
    for time, stamp in zip(_copied(tmp_path / "a.mp4")[0], stamps, strict=True):
        assert abs(time - F(stamp, denominator)) <= F(1, 90_000)


def test_a_cut_video_with_a_long_last_frame_is_whole(tmp_path):
    """The first frames are before the beginning, so that fewer are decoded than stated."""
    write_stamped(tmp_path / "a.mp4", [k - 100 for k in UNEVEN], F(1, 600), last=900)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert len(list(reader)) < reader.num_frames == 20


def _starts(stamps, rate=10, unit=1000, origin: F | None = ZERO):
    """Stamps are in 1/unit seconds."""
    clock = frame_times.clock(F(rate), F(1, unit))
    times = FrameTimes(clock, F(1, unit), origin=origin, length=None)
    return [times.span(stamp, 100).start for stamp in stamps]


TICK = F(1, 90_000)


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([0, 100, None, 300, None], [0, 0.1, 0.2, 0.3, 0.4]),
        ([None, None, None], [0, 0.1, 0.2]),
        ([-200, -100, 0], [0, 0.1, 0.2]),
        ([50, 150, 270], [0.05, 0.15, 0.27]),
        ([0, 100, 100, 200], [0, 0.1, F(1, 10) + TICK, 0.2]),
        ([0, 100, 300, 200, 400], [0, 0.1, 0.3, F(3, 10) + TICK, 0.4]),
        ([9800, 9900, 0, 100], [9.8, 9.9, 10, 10.1]),  # two recordings, joined
        ([0, 100, 36_000_000, 36_000_100], [0, 0.1, 0.2, 0.3]),
        ([0, 100, 600_000, 600_100], [0, 0.1, 600, 600.1]),
    ],
)
def test_stamps_that_are_missing_or_no_times_give_increasing_times(stamps, expected):
    exact = [F(t) if isinstance(t, F) else F(str(t)) for t in expected]
    assert _starts(stamps) == exact


def test_a_duration_that_an_mp4_cannot_hold_is_cut():
    clock = frame_times.clock(F(10), F(1, 1000))
    times = FrameTimes(clock, F(1, 1000), origin=ZERO, length=None)
    assert times.span(0, 10**10) == Span(ZERO, F(3600))


def test_stamps_are_counted_from_the_origin_or_from_the_first():
    assert _starts([1450, 1550], origin=F(14, 10)) == [F(5, 100), F(15, 100)]
    assert _starts([1450, 1550], origin=None) == [0, F(1, 10)]


def test_rounded_stamps_become_even_and_others_stay():
    stamps = [0, 33, 67, 100, 133, 150, 200]
    even = [F(k, 30) for k in range(5)]
    assert _starts(stamps, rate=30) == [*even, F(150, 1000), F(6, 30)]
    coarse = _starts([0, 1, 3], rate=12, unit=30)
    assert coarse == [0, F(1, 30), F(3, 30)]


@pytest.mark.parametrize(
    ("rate", "time_base", "ticks"),
    [
        (F(30), F(1, 600), 90_000),
        (FILM, F(1, 1000), 96_000),
        (FILM, F(1, 90_000), 360_000),
        (F(153601, 5120), F(1, 15360), 92_160),
        (FILM, F(1, 10**6), 96_000),
        (F(153601, 5120), F(1, 10**6), 153_601),
        (F(10**6 + 1, 10**6), F(1, 10**7), 90_000),
    ],
)
def test_ticks_hold_the_stamps_and_the_rate_where_they_can(rate, time_base, ticks):
    assert frame_times.clock(rate, time_base) == (rate, ticks)
