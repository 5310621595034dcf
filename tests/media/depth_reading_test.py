"""Depth and masks come out of a file as the numbers that are in it."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import array_files
from diffdepth_jax.media.depth_reading import DepthForm, read_depth, read_mask

VALUES = np.array([[0, 1, 3333], [9999, 10000, 42]], np.uint16)


def _pgm(maximum, comment=b""):
    return b"P5\n%s3 2\n%d\n" % (comment, maximum) + VALUES.astype(">u2").tobytes()


@pytest.mark.parametrize("maximum", [10000, 32767, 65535])
@pytest.mark.parametrize("comment", [b"", b"# depth 7 8 9 in millimetres\n"])
def test_pgm_holds_the_numbers_of_the_file(maximum, comment, tmp_path):
    """Pillow stretches them to 65535: 1 m of millimetres became 6.55 m at a maximum of 10000."""
    (tmp_path / "a.pgm").write_bytes(_pgm(maximum, comment))
    depth = read_depth(tmp_path / "a.pgm", DepthForm(1000))
    np.testing.assert_array_equal(depth[..., 0], VALUES / np.float32(1000))


def test_pgm_as_text_holds_the_numbers_of_the_file(tmp_path):
    (tmp_path / "a.pgm").write_text("P2\n3 2\n10000\n0 1 3333 9999 10000 42\n")
    np.testing.assert_array_equal(read_depth(tmp_path / "a.pgm", DepthForm(1))[..., 0], VALUES)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy"])
def test_integers_are_metres_times_the_scale(name, tmp_path):
    if name.endswith("npy"):
        np.save(tmp_path / name, VALUES)
    else:
        Image.fromarray(VALUES).save(tmp_path / name)
    np.testing.assert_array_equal(read_depth(tmp_path / name, DepthForm(256))[..., 0], VALUES / 256)


def test_floats_are_metres(tmp_path):
    metres = VALUES / np.float32(7)
    Image.fromarray(metres).save(tmp_path / "a.tif")
    (tmp_path / "a.pfm").write_bytes(b"Pf\n3 2\n-1.0\n" + metres[::-1].tobytes())
    np.save(tmp_path / "a.npy", metres[..., None])
    for name in ("a.tif", "a.pfm", "a.npy"):
        np.testing.assert_array_equal(read_depth(tmp_path / name, DepthForm(1000))[..., 0], metres)


def test_the_scale_of_a_pfm_file_is_told_and_not_applied(tmp_path, caplog):
    metres = VALUES / np.float32(7)
    (tmp_path / "a.pfm").write_bytes(b"Pf\n3 2\n-0.25\n" + metres[::-1].tobytes())
    np.testing.assert_array_equal(read_depth(tmp_path / "a.pfm", DepthForm())[..., 0], metres)
    assert "a.pfm states a scale of 0.25, which is not applied" in caplog.text


def test_a_text_called_scale_in_a_png_file_is_no_scale(tmp_path, caplog):
    text = PngImagePlugin.PngInfo()
    text.add_text("scale", "millimetres")
    Image.fromarray(VALUES).save(tmp_path / "a.png", pnginfo=text)
    np.testing.assert_array_equal(read_depth(tmp_path / "a.png", DepthForm(1))[..., 0], VALUES)
    assert "scale" not in caplog.text


def test_formats_that_change_numbers_are_refused(tmp_path):
    file = io.BytesIO()
    Image.fromarray(VALUES).save(file, "JPEG2000")
    (tmp_path / "a.jp2").write_bytes(file.getvalue())
    with pytest.raises(UserError, match=r"a\.jp2 is of format JPEG2000.*expected PNG, TIFF"):
        read_depth(tmp_path / "a.jp2", DepthForm(1000))


def test_invalid_values_are_those_of_the_file(tmp_path):
    Image.fromarray(VALUES).save(tmp_path / "a.png")
    depth = read_depth(tmp_path / "a.png", DepthForm(1000, invalid_values=(10000, 42)))[..., 0]
    np.testing.assert_array_equal(depth, np.float32([[0, 0.001, 3.333], [9.999, 0, 0]]))


def test_invalid_values_of_floats_are_compared_as_the_file_holds_them(tmp_path):
    np.save(tmp_path / "a.npy", np.float32([[65.535, 2.0]]))
    depth = read_depth(tmp_path / "a.npy", DepthForm(1000, invalid_values=(65.535,)))
    assert depth[..., 0].tolist() == [[0, 2]]


@pytest.mark.parametrize(("share", "warns"), [(0.005, False), (0.1, True)])
def test_a_large_share_of_the_highest_value_is_reported(
    share, warns, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr("absl.logging._log_counter_per_token", {})
    values = np.full((100, 100), 2000, np.uint16)
    values.flat[: int(share * values.size)] = 65535
    Image.fromarray(values).save(tmp_path / "a.png")
    for _ in range(2):
        read_depth(tmp_path / "a.png", DepthForm(1000))
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == warns
    assert not warns or ("10 % of the pixels of" in texts[0] and "read as 65.5 m" in texts[0])
    caplog.clear()
    read_depth(tmp_path / "a.png", DepthForm(1000, invalid_values=(65535,)))
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a.npy", np.float32([[0, 1, np.nan], [2, 0.5, -1]])),
        ("a.npy", np.array([[[False], [True], [False]], [[True], [True], [True]]])),
        ("a.png", np.array([[0, 255, 0], [1, 7, 255]], np.uint8)),
        ("a.png", np.array([[0, 65535, 0], [1, 7, 255]], np.uint16)),
        ("a.png", np.array([[False, True, False], [True, True, True]])),
    ],
)
def test_a_mask_is_true_where_the_number_is_not_0(name, values, tmp_path):
    if name.endswith("npy"):
        np.save(tmp_path / name, values)
    else:
        Image.fromarray(values).save(tmp_path / name)
    mask = read_mask(tmp_path / name)
    assert mask.dtype == bool and mask.shape == (2, 3, 1)
    assert mask[..., 0].tolist() == [[False, True, False], [True, True, True]]


def test_a_mask_of_several_channels_is_refused(tmp_path):
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"mask file .*a\.png has shape \(2, 3, 3\)"):
        read_mask(tmp_path / "a.png")


def test_pictures_beyond_any_depth_map_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    Image.fromarray(VALUES).save(tmp_path / "a.png")
    read_depth(tmp_path / "a.png", DepthForm())
    monkeypatch.setattr(array_files, "MAX_BYTES", 40)
    with pytest.raises(UserError, match=r"a\.png cannot be read \(an array of shape \(3, 2\)"):
        read_depth(tmp_path / "a.png", DepthForm())


@pytest.mark.parametrize("error", [MemoryError(), OverflowError("size"), TypeError("a\nb")])
def test_whatever_a_decoder_raises_ends_in_one_line(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    Image.fromarray(VALUES).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(UserError, match=r"a\.png cannot be read") as caught:
        read_depth(tmp_path / "a.png", DepthForm())
    assert "\n" not in str(caught.value)
