"""Whatever the metadata of a picture says, its pixels are read, and what is wrong is noted."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.media.reading import as_rgb, read_photo
from tests.support import metadata_blocks
from tests.support.metadata_blocks import FOCAL_LENGTH, ORIENTATION, SIZE

TURNED = (SIZE[1], SIZE[0], 3)

# Pillow warns of damaged EXIF data.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def _read(data, tmp_path):
    path = tmp_path / "a.picture"
    path.write_bytes(data)
    return read_photo(path)


def test_a_tag_of_any_type_leaves_the_other_tags_as_they_are(tmp_path):
    """3,024 files. A wrong Orientation and a wrong EXIF folder are the tags that matter."""
    count = 0
    for tag, data in metadata_blocks.typed_tags():
        photo, count = _read(data, tmp_path), count + 1
        if tag != "Orientation":
            assert photo.image.shape == TURNED
        if tag not in ("Orientation", "ExifIFD"):
            assert (photo.focal_length_35mm, photo.notes) == (26, ())
        np.testing.assert_allclose(photo.image, 90, atol=2)
    assert count >= 2000


def test_damaged_metadata_never_costs_the_picture(tmp_path):
    """1,600 files; whatever cannot be read is noted."""
    count = noted = 0
    for data in metadata_blocks.damaged_blocks(100):
        photo, count = _read(data, tmp_path), count + 1
        assert photo.image.shape in (TURNED, (*SIZE, 3))
        np.testing.assert_allclose(photo.image, 90, atol=2)
        noted += bool(photo.notes)
    assert count == 1600 and noted > 100


@pytest.mark.parametrize(
    ("tag", "kind", "count", "data", "note"),
    [
        (ORIENTATION, 3, 1, struct.pack("<H", 9), "Orientation 9 is none of 1 to 8"),
        (ORIENTATION, 2, 2, b"6\0", "Orientation '6' is no positive number"),
        (ORIENTATION, 5, 1, struct.pack("<II", 0, 0), "Orientation 'nan' is no positive"),
    ],
)
def test_a_wrong_orientation_is_named_and_passed_over(tag, kind, count, data, note, tmp_path):
    block = metadata_blocks.exif_block([(tag, kind, count, data)])
    photo = _read(metadata_blocks.with_exif(block, "JPEG"), tmp_path)
    assert photo.image.shape == (*SIZE, 3)
    assert len(photo.notes) == 1 and note in photo.notes[0]


def test_an_unknown_orientation_is_no_fault(tmp_path):
    """0 stands for an unknown orientation; a number of another type is a number."""
    for kind, data, shape in (
        (3, struct.pack("<H", 0), (*SIZE, 3)),
        (5, struct.pack("<II", 6, 1), TURNED),
    ):
        block = metadata_blocks.exif_block([(ORIENTATION, kind, 1, data)])
        photo = _read(metadata_blocks.with_exif(block, "PNG"), tmp_path)
        assert (photo.image.shape, photo.notes) == (shape, ())


def test_python_reads_a_picture_as_the_programs_do(tmp_path):
    """`as_rgb` of a PIL image with a tag of a wrong type."""
    block = metadata_blocks.exif_block([(0x11A, 2, 6, b"72.0 \0"), (FOCAL_LENGTH, 3, 1, b"\1\0")])
    data = metadata_blocks.with_exif(block, "JPEG")
    assert as_rgb(Image.open(io.BytesIO(data))).shape == TURNED
