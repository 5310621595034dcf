"""Which files count as photos, and HEIC with and without its add-on."""

import ast
import functools
import os
import sys
import types

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.datasets.records import decode_depth, decode_image
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import photo_formats
from diffdepth_jax.media.depth_reading import read_values
from diffdepth_jax.media.reading import as_rgb, read_photo, read_picture
from tests.support.paths import ROOT


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


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n%%EOF\n"


@pytest.mark.parametrize(
    "read", [read_photo, read_picture, as_rgb, functools.partial(read_values, "depth file")]
)
def test_a_document_under_the_name_of_a_picture_is_refused(tmp_path, read):
    """Pillow would start Ghostscript for it."""
    (tmp_path / "a.png").write_bytes(EPS)
    with pytest.raises(
        UserError, match=r"a\.png cannot be read \(it is of none of the formats AVIF"
    ):
        read(tmp_path / "a.png")


def test_records_of_other_formats_are_refused(tmp_path):
    with pytest.raises(ValueError, match="none of the formats JPEG, PNG"):
        decode_image(EPS)
    with pytest.raises(ValueError, match="none of the formats PNG"):
        decode_depth(EPS, "png", 1000, (4, 4))


def test_one_function_opens_all_pictures():
    """With formats; what else calls Pillow's function would open any."""
    calls = {
        str(path.relative_to(ROOT)): ast.unparse(node)
        for folder in ("diffdepth_jax", "data")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Image.open")
    }
    assert calls == {
        "diffdepth_jax/media/photo_formats.py": "Image.open(file, formats=_readable(formats))"
    }


def test_a_file_is_asked_for_no_more_than_it_has(tmp_path):
    """Python takes the memory for what a damaged header states before it reads."""
    (tmp_path / "a.jp2").write_bytes(b"0123456789")
    with photo_formats.open_file(tmp_path / "a.jp2") as file:
        assert file.read(4) == b"0123"
        assert file.read(2**50) == b"456789"
        assert file.read(2**50) == b""
        file.seek(0)
        assert file.read() == b"0123456789"


def test_a_pipe_is_no_file(tmp_path):
    """It would be waited for without end."""
    os.mkfifo(tmp_path / "a.png")
    for read in (read_photo, functools.partial(read_values, "depth file")):
        with pytest.raises(UserError, match=r"a\.png cannot be read \(it is no regular file\)"):
            read(tmp_path / "a.png")
