"""Which files count as photos, and HEIC with and without its add-on."""

import sys
import types

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import photo_formats
from diffdepth_jax.media.reading import read_photo


def test_photos_are_what_cameras_and_datasets_write():
    known = photo_formats.extensions()
    assert {".jpg", ".jfif", ".jpe", ".mpo", ".png", ".avif", ".jp2", ".ppm", ".heic"} <= known
    assert not {".pdf", ".eps", ".psd", ".ico", ".pfm", ".mpg", ".h5", ".txt"} & known


@pytest.fixture
def fresh():
    photo_formats.register_heif.cache_clear()
    yield
    photo_formats.register_heif.cache_clear()


def test_heic_without_its_add_on_says_what_to_install(tmp_path, monkeypatch, fresh):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.HEIC").write_bytes(b"ftypheic")
    with pytest.raises(UserError, match=r"a\.HEIC .*pip install pillow-heif"):
        read_photo(tmp_path / "a.HEIC")


def test_the_add_on_is_registered_once(monkeypatch, fresh):
    calls = []
    add_on = types.SimpleNamespace(register_heif_opener=lambda: calls.append(1))
    monkeypatch.setitem(sys.modules, "pillow_heif", add_on)
    assert photo_formats.register_heif() and photo_formats.register_heif() and calls == [1]


def test_heic_is_read_with_its_add_on(tmp_path):
    pytest.importorskip("pillow_heif")
    assert photo_formats.register_heif()
    Image.new("RGB", (64, 48), (200, 20, 20)).save(tmp_path / "a.heic")
    image = read_photo(tmp_path / "a.heic").image
    assert image.shape == (48, 64, 3)
    np.testing.assert_allclose(image.mean((0, 1)), (200, 20, 20), atol=5)
