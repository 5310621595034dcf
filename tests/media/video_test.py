"""Videos come back as they were written, turned, or with a sentence."""

import os
import sys
import types
from fractions import Fraction

import av
import numpy as np
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import video
from diffdepth_jax.media.frame_times import Clock, Span
from diffdepth_jax.media.video import VideoReader, VideoWriter


def write_lossless(path, frames, rate=10, rotation=0, **options):
    """Frames uint8 [H, W, 3], as they are; the file says how the camera was turned."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264rgb", rate=rate, options={"qp": "0"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "rgb24"
        stream.set_display_rotation(rotation)
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def _images(reader):
    return [frame.image for frame in reader]


def _write(path, images):
    """Ten frames a second."""
    with VideoWriter(path, Clock(Fraction(10), 90_000)) as writer:
        for index, image in enumerate(images):
            writer.write(image, Span(Fraction(index, 10), Fraction(1, 10)))


def _frames(count=20, height=32, width=48):
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (count, height, width, 3), np.uint8))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_frames_are_read_in_order(name, tmp_path):
    frames = _frames()
    write_lossless(tmp_path / name, frames)
    with VideoReader(tmp_path / name) as reader:
        assert reader.clock.rate == 10 and reader.num_frames in (0, 20)
        np.testing.assert_array_equal(_images(reader), frames)


@pytest.mark.parametrize(("degrees", "turns"), [(0, 0), (90, 1), (180, 2), (-90, 3)])
def test_frames_are_turned_the_way_the_camera_was_held(degrees, turns, tmp_path):
    frames = _frames(3)
    write_lossless(tmp_path / "a.mp4", frames, rotation=degrees)
    with VideoReader(tmp_path / "a.mp4") as reader:
        np.testing.assert_array_equal(_images(reader), [np.rot90(f, turns) for f in frames])


def test_frames_have_one_size_where_the_file_changes_its(tmp_path):
    """Two streams, one behind the other, as from a camera that was turned."""
    for name, size in (("a.ts", (32, 48)), ("b.ts", (48, 32))):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("libx264", rate=10)
            stream.height, stream.width = size
            for image in _frames(3, *size):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    both = b"".join((tmp_path / name).read_bytes() for name in ("a.ts", "b.ts"))
    (tmp_path / "c.ts").write_bytes(both)
    with VideoReader(tmp_path / "c.ts") as reader:
        shapes = [image.shape for image in _images(reader)]
    assert len(shapes) >= 5 and set(shapes) == {(32, 48, 3)}


def test_a_smooth_picture_survives_writing_and_sides_become_even(tmp_path):
    ramp = np.linspace(0, 255, 47).astype(np.uint8)
    image = np.broadcast_to(ramp[None, :, None], (33, 47, 3))
    _write(tmp_path / "a.mp4", [image] * 5)
    with VideoReader(tmp_path / "a.mp4") as reader:
        frames = _images(reader)
    assert len(frames) == 5 and frames[0].shape == (34, 48, 3)
    assert np.abs(frames[0][:33, :47].astype(int) - image).max() < 12


# Parts of red, green and blue in luma, by ITU-R BT.601 and BT.709.
LUMA = {"BT.601": (0.299, 0.587, 0.114), "BT.709": (0.2126, 0.7152, 0.0722)}
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255,) * 3}


def _luma_and_chroma(color, standard, *, full=False):
    red, _, blue = LUMA[standard]
    luma = np.dot(LUMA[standard], color) / 255
    chroma = (color[2] / 255 - luma) / (2 - 2 * blue), (color[0] / 255 - luma) / (2 - 2 * red)
    if full:
        return [255 * luma, *(128 + 255 * part for part in chroma)]
    return [16 + 219 * luma, *(128 + 224 * part for part in chroma)]


def _plain(path, planes, size=(48, 64), **tags):
    """A video of a single colour, given as luma and chroma."""
    height, width = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"qp": "1"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for name, value in tags.items():
            setattr(stream, name, value)
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane, value in zip(frame.planes, planes, strict=True):
            plane.update(bytes([round(min(value, 255))]) * plane.buffer_size)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _center(path):
    with VideoReader(path) as reader:
        image = _images(reader)[0]
    return image[image.shape[0] // 2, image.shape[1] // 2].astype(int)


@pytest.mark.parametrize("name", COLOURS)
def test_what_is_written_has_the_colours_that_its_tags_say(name, tmp_path):
    color = COLOURS[name]
    _write(tmp_path / "a.mp4", [np.full((48, 64, 3), color, np.uint8)] * 3)
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert context.color_primaries == context.color_trc == context.colorspace == 1  # BT.709
        assert context.color_range == 1  # limited
        frame = next(container.decode(video=0))
        middles = [
            np.frombuffer(p, np.uint8)[p.height // 2 * p.line_size + 9] for p in frame.planes
        ]
    np.testing.assert_allclose(middles, _luma_and_chroma(color, "BT.709"), atol=2)
    assert b"colrnclx" in (tmp_path / "a.mp4").read_bytes()  # where players look first
    np.testing.assert_allclose(_center(tmp_path / "a.mp4"), color, atol=4)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("standard", "code"), [("BT.601", 6), ("BT.709", 1)])
def test_colours_are_read_as_the_tags_say(standard, code, full, tmp_path):
    for color in COLOURS.values():
        planes = _luma_and_chroma(color, standard, full=full)
        tags = {"colorspace": code, "color_range": 2 if full else 1}
        for size in ((48, 64), (720, 64)):
            _plain(tmp_path / "a.mp4", planes, size, **tags)
            np.testing.assert_allclose(_center(tmp_path / "a.mp4"), color, atol=4)


@pytest.mark.parametrize(("height", "standard"), [(704, "BT.601"), (720, "BT.709")])
def test_colours_without_tags_are_read_by_the_height(height, standard, tmp_path):
    for color in COLOURS.values():
        _plain(tmp_path / "a.mp4", _luma_and_chroma(color, standard), (height, 64))
        np.testing.assert_allclose(_center(tmp_path / "a.mp4"), color, atol=4)


def test_a_tall_picture_of_rgb_has_no_matrix(tmp_path):
    frames = _frames(1, 720, 64)
    write_lossless(tmp_path / "a.mp4", frames)
    with VideoReader(tmp_path / "a.mp4") as reader:
        np.testing.assert_array_equal(_images(reader), frames)


def test_a_video_cut_off_gives_its_frames_and_a_sentence(tmp_path):
    frames = _frames()
    write_lossless(tmp_path / "a.mp4", frames, movflags="faststart")
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: len(content) // 2])
    read = []
    with VideoReader(tmp_path / "a.mp4") as reader, pytest.raises(UserError) as caught:
        for frame in reader:
            read.append(frame.image)
    assert 0 < len(read) < 20
    np.testing.assert_array_equal(read, frames[: len(read)])
    assert f"a.mp4 cannot be read after {len(read)} frames" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a video", b"\0\0\0\x18ftypmp42"])
def test_what_is_no_video_is_named(content, tmp_path):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(UserError, match=r"video .*a\.mp4 cannot be read"):
        VideoReader(tmp_path / "a.mp4")


def test_a_file_of_sound_alone_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(UserError, match="has no pictures"):
        VideoReader(tmp_path / "a.mp4")


def test_without_the_library_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match="pip install av"):
        VideoReader(tmp_path / "a.mp4")


def test_a_name_is_no_address_of_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_lossless(tmp_path / "v.mp4", [np.zeros((32, 32, 3), np.uint8)] * 2)
    os.rename("v.mp4", "file:w.mp4")
    with VideoReader("file:w.mp4") as reader:
        assert len(list(reader)) == 2


@pytest.mark.parametrize(
    "error", [ValueError("x"), ZeroDivisionError(), OverflowError(), TypeError()]
)
def test_any_error_of_the_decoder_names_the_video(tmp_path, monkeypatch, error):
    path = tmp_path / "v.mp4"
    write_lossless(path, [np.zeros((32, 32, 3), np.uint8)] * 2)

    def fail(*_, **__):
        raise error

    with VideoReader(path) as reader, monkeypatch.context() as patch:
        patch.setattr(video, "_pixels", fail)
        with pytest.raises(UserError, match=r"v\.mp4 cannot be read"):
            list(reader)
    monkeypatch.setattr(video, "library", lambda: types.SimpleNamespace(open=fail))
    with pytest.raises(UserError, match=r"v\.mp4 cannot be read"):
        VideoReader(path)
