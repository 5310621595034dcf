"""Photos of every kind that cameras and programs write, and what only looks like one."""

import os
import struct

import numpy as np
import pytest
from PIL import ExifTags, Image

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.reading import as_rgb, read_photo, unreadable


def _picture(height=6, width=9, seed=0):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("L", "a.png"),
        ("1", "a.png"),
        ("LA", "a.png"),
        ("P", "a.png"),
        ("RGBA", "a.png"),
        ("CMYK", "a.jpg"),
        ("CMYK", "a.tif"),
        ("L", "a.jpg"),
        ("P", "a.gif"),
        ("RGB", "a.webp"),
    ],
)
def test_any_eight_bit_picture_is_rgb(mode, name, tmp_path):
    converted = _picture().convert(mode)
    converted.save(tmp_path / name)
    image = read_photo(tmp_path / name).image
    assert image.shape == (6, 9, 3) and image.dtype == np.uint8
    if name.endswith((".png", ".tif", ".gif")):
        np.testing.assert_array_equal(image, np.array(converted.convert("RGB")))
    np.testing.assert_array_equal(as_rgb(Image.open(tmp_path / name)), image)


def test_sixteen_bits_are_refused(tmp_path):
    Image.fromarray(np.full((6, 9), 40_000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(
        UserError, match=r"a\.png has more than 8 bits per channel \(mode I;16\): convert it"
    ):
        read_photo(tmp_path / "a.png")
    with pytest.raises(UserError, match="mode I;16: convert it to 8 bits"):
        as_rgb(Image.open(tmp_path / "a.png"))


def test_a_url_is_refused_as_it_was_given():
    with pytest.raises(UserError, match=r"image https://example\.com/a\.jpg is a URL: down"):
        as_rgb("https://example.com/a.jpg")


def test_an_animation_says_how_many_pictures_it_has(tmp_path):
    frames = [_picture(seed=k).convert("P") for k in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    photo = read_photo(tmp_path / "a.gif")
    assert photo.num_pictures == 3
    np.testing.assert_array_equal(photo.image, np.array(frames[0].convert("RGB")))


def test_exif_turns_the_photo_and_tells_the_focal_length(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    picture = _picture()
    picture.save(tmp_path / "a.png", exif=exif)
    photo = read_photo(tmp_path / "a.png")
    np.testing.assert_array_equal(photo.image, np.rot90(np.array(picture), -1))
    assert (photo.focal_length_35mm, photo.num_pictures) == (26.0, 1)
    picture.save(tmp_path / "b.png")
    assert read_photo(tmp_path / "b.png").focal_length_35mm == 0


@pytest.mark.parametrize(
    "content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0\0\x10JFIF"]
)
def test_what_is_no_image_is_named(content, tmp_path):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.jpg cannot be read"):
        read_photo(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (PermissionError(13, "Permission denied", "a"), "(Permission denied); make it readable"),
        (FileNotFoundError(2, "No such file", "a"), "(No such file); check its path"),
        (ValueError("odd\nbytes"), "(odd bytes); replace or remove it"),
    ],
)
def test_the_remedy_fits_the_reason(error, end):
    assert f"image a.jpg cannot be read {end}" in str(unreadable("image", "a.jpg", error))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of damaged EXIF
def test_damaged_files_are_named_or_read(tmp_path):
    """Every byte of the head changed in turn, EXIF included; and a file cut off."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 26
    _picture().save(tmp_path / "a.jpg", exif=exif)
    content = (tmp_path / "a.jpg").read_bytes()
    variants = [content[: len(content) * part // 10] for part in range(10)]
    for position in range(250):
        changed = bytearray(content)
        changed[position] ^= 0xFF
        variants.append(bytes(changed))
    read = 0
    for variant in variants:
        (tmp_path / "b.jpg").write_bytes(variant)
        try:
            read += read_photo(tmp_path / "b.jpg").image.shape in ((9, 6, 3), (6, 9, 3))
        except UserError as error:
            assert "b.jpg" in str(error) and "\n" not in str(error)
    assert 0 < read < len(variants)


@pytest.mark.parametrize("factor", [1.5, 3])  # Pillow warns of the first, refuses the second
def test_a_bomb_is_refused_before_it_is_unpacked(factor, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(54 / factor))
    _picture().save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png.*(megapixels: make|decompression bomb)"):
        read_photo(tmp_path / "a.png")


def test_grey_arrays_become_three_equal_channels():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    expected = np.stack([grey] * 3, axis=-1)
    for given in (grey, grey[..., None], expected):
        np.testing.assert_array_equal(as_rgb(given), expected)


def test_sixteen_bits_of_arrays_are_0_to_65535():
    levels = np.arange(256, dtype=np.uint16).reshape(8, 32)
    full = 257 * levels
    for given in (full, full[..., None], np.stack([full] * 3, axis=-1)):
        np.testing.assert_array_equal(as_rgb(given)[..., 1], levels)
    with pytest.raises(UserError, match="uint16 whose highest level is 4080: white is 65535"):
        as_rgb(16 * levels)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8), True],
)
def test_arrays_that_are_no_image_are_refused(image):
    with pytest.raises(
        UserError, match=r"must be RGB \[H, W, 3\] or grey \[H, W\], uint8 or uint16"
    ):
        as_rgb(image)


@pytest.mark.parametrize(
    ("kind", "compression"), [("TIFF", None), ("TIFF", "tiff_lzw"), ("MPO", None)]
)
def test_damage_after_the_first_page_costs_the_first_nothing(tmp_path, kind, compression):
    """Each byte of the second page's head in turn, so that it states any size, type and place."""
    pages = [_picture(seed=k) for k in range(2)]
    path = tmp_path / f"a.{kind.lower()}"
    pages[0].save(path, kind, save_all=True, append_images=pages[1:], compression=compression)
    whole, first = path.read_bytes(), read_photo(path).image
    start = whole.rindex(b"\xff\xd8") if kind == "MPO" else struct.unpack("<I", whole[4:8])[0]
    if kind == "TIFF":
        count = struct.unpack_from("<H", whole, start)[0]
        start = struct.unpack_from("<I", whole, start + 2 + 12 * count)[0]
    for position in range(start, min(start + 150, len(whole))):
        for value in (0, 255, whole[position] ^ 8):
            path.write_bytes(whole[:position] + bytes([value]) + whole[position + 1 :])
            np.testing.assert_array_equal(read_photo(path).image, first, str((position, value)))


@pytest.mark.parametrize(
    "error", [struct.error("x"), KeyError("x"), RecursionError(), MemoryError()]
)
def test_any_error_of_the_decoder_names_the_file(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    _picture().save(tmp_path / "a.bmp")
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(UserError, match=r"a\.bmp cannot be read"):
        read_photo(tmp_path / "a.bmp")


def test_a_file_that_is_cut_while_it_is_read_ends_nothing(tmp_path, monkeypatch):
    """Pillow maps the memory of a file that it opens itself: the process would die (SIGBUS)."""
    path, picture, convert = tmp_path / "a.bmp", _picture(400, 600), Image.Image.convert
    picture.save(path)

    def cut_and_convert(opened, mode):
        opened.load()
        os.truncate(path, 2000)
        return convert(opened, mode)

    monkeypatch.setattr(Image.Image, "convert", cut_and_convert)
    np.testing.assert_array_equal(read_photo(path).image, np.array(picture))
    with pytest.raises(UserError, match=r"a\.bmp cannot be read"):
        read_photo(path)
