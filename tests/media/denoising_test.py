"""Animations: the photo beside each step, at its size, the last step for longer."""

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.media import color_maps, denoising, drawing, marks
from diffdepth_jax.media.scale import text_size
from tests.media.color_maps_test import is_black

ABOVE = 2 * text_size(480, 640)  # pixels of the line above a picture


@pytest.fixture
def scene():
    """A photo of 480 x 640 and a trajectory of 60 x 80 at the start and after each of two steps."""
    rng = np.random.default_rng(0)
    last = np.linspace(2, 8, 60 * 80, dtype=np.float32).reshape(60, 80)
    trajectory = np.stack([rng.uniform(1, 50, (60, 80)).astype(np.float32), 1.1 * last, last])
    return np.full((480, 640, 3), 90, np.uint8), trajectory


def test_each_step_is_beside_the_photo_at_its_size_in_one_scale(scene, texts):
    photo, trajectory = scene
    frames = list(denoising.pictures(photo, trajectory, colormap="inferno"))
    assert len(frames) == 3 and len({frame.shape for frame in frames}) == 1
    limits = drawing.depth_limits(trajectory[-1])
    for frame, metres in zip(frames, trajectory, strict=True):
        depth = drawing.resize_map(metres, (480, 640))
        expected = drawing.depth_picture(depth, limits, photo, colormap="inferno")
        np.testing.assert_array_equal(frame[ABOVE:], expected)
        np.testing.assert_array_equal(frame[ABOVE:, :640], photo)
    titles = [text for text in texts if text == "noise" or "step" in text]
    assert titles == ["noise", "step 1 of 2", "step 2 of 2"]


def test_large_photos_are_reduced_and_the_sky_is_black(scene):
    _, trajectory = scene
    valid = np.ones((1500, 2000), bool)
    valid[:750] = False
    frame = next(denoising.pictures(np.zeros((1500, 2000, 3), np.uint8), trajectory, valid))
    depth = frame[-960:, 1286 : 2 * 1280]
    assert is_black(depth)[:478].all() and not is_black(depth)[482:].any()


def test_a_gif_keeps_its_colours_and_holds_the_last_step(scene, tmp_path):
    photo, trajectory = scene
    denoising.write_gif(tmp_path / "a.gif", denoising.pictures(photo, trajectory))
    assert marks.is_marked(tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as animation:
        assert animation.n_frames == 3 and animation.info["loop"] == 0
        shown = []
        for frame in range(3):
            animation.seek(frame)
            shown.append(np.array(animation.convert("RGB")).astype(int))
            assert animation.info["duration"] == (2000 if frame == 2 else 300)
    np.testing.assert_array_equal(shown[0][60:500, :640], shown[2][60:500, :640])
    expected = color_maps.colorize_depth(
        drawing.resize_map(trajectory[-1], (480, 640)), *drawing.depth_limits(trajectory[-1])
    )
    assert np.abs(shown[2][ABOVE:, 646:1286] - expected).mean() < 5


def test_an_mp4_shows_each_step_for_as_long_as_the_gif(scene, tmp_path):
    av = pytest.importorskip("av")
    photo, trajectory = scene
    denoising.write_mp4(tmp_path / "a.mp4", denoising.pictures(photo, trajectory))
    assert marks.is_marked(tmp_path / "a.mp4")
    with av.open(tmp_path / "a.mp4") as container:
        stream = container.streams.video[0]
        assert [round(float(frame.time), 3) for frame in container.decode(stream)] == [0, 0.3, 0.6]
        assert float(stream.duration * stream.time_base) == pytest.approx(2.6)
