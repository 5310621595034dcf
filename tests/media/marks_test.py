"""The mark is found in what was written with it, and in nothing else."""

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.media import marks
from tests.media.video_test import write_lossless

OPTIONS = {"png": marks.PNG, "tiff": marks.TIFF, "gif": marks.GIF}


@pytest.mark.parametrize("kind", list(OPTIONS))
def test_pictures(tmp_path, kind):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    path = tmp_path / f"a.{kind}"
    Image.fromarray(pixels).save(path)
    assert not marks.is_marked(path)
    Image.fromarray(pixels).save(path, **OPTIONS[kind])
    assert marks.is_marked(path)
    np.testing.assert_array_equal(np.array(Image.open(path).convert("L")), pixels)


def test_videos(tmp_path):
    path = tmp_path / "v.mp4"
    write_lossless(path, [np.zeros((32, 32, 3), np.uint8)] * 2)
    assert not marks.is_marked(path)
    marks.mark_video(path)
    assert marks.is_marked(path)


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.gif", "a.mp4", "a.jpg", "missing.png"])
def test_damaged_files_have_none(tmp_path, name):
    if name != "missing.png":
        (tmp_path / name).write_bytes(b"x")
    assert not marks.is_marked(tmp_path / name)
