"""Videos come back as they were written, turned, or with a sentence."""

import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from diffdepth_jax.errors import UserError
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


def _frames(count=20, height=32, width=48):
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (count, height, width, 3), np.uint8))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_frames_are_read_in_order(name, tmp_path):
    frames = _frames()
    write_lossless(tmp_path / name, frames)
    with VideoReader(tmp_path / name) as reader:
        assert reader.rate == 10 and reader.num_frames in (0, 20)
        np.testing.assert_array_equal(list(reader), frames)


@pytest.mark.parametrize(("degrees", "turns"), [(0, 0), (90, 1), (180, 2), (-90, 3)])
def test_frames_are_turned_the_way_the_camera_was_held(degrees, turns, tmp_path):
    frames = _frames(3)
    write_lossless(tmp_path / "a.mp4", frames, rotation=degrees)
    with VideoReader(tmp_path / "a.mp4") as reader:
        np.testing.assert_array_equal(list(reader), [np.rot90(f, turns) for f in frames])


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
        shapes = [image.shape for image in reader]
    assert len(shapes) >= 5 and set(shapes) == {(32, 48, 3)}


def test_a_smooth_picture_survives_writing_and_sides_become_even(tmp_path):
    ramp = np.linspace(0, 255, 47).astype(np.uint8)
    image = np.broadcast_to(ramp[None, :, None], (33, 47, 3))
    with VideoWriter(tmp_path / "a.mp4", Fraction(30000, 1001)) as writer:
        for _ in range(5):
            writer.write(image)
    with VideoReader(tmp_path / "a.mp4") as reader:
        frames = list(reader)
        assert reader.rate == Fraction(30000, 1001)
    assert len(frames) == 5 and frames[0].shape == (34, 48, 3)
    assert np.abs(frames[0][:33, :47].astype(int) - image).max() < 12


def test_a_video_cut_off_gives_its_frames_and_a_sentence(tmp_path):
    frames = _frames()
    write_lossless(tmp_path / "a.mp4", frames, movflags="faststart")
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: len(content) // 2])
    read = []
    with VideoReader(tmp_path / "a.mp4") as reader, pytest.raises(UserError) as caught:
        for image in reader:
            read.append(image)
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
