"""What a picture's file says beside its pixels: how the camera was held, and its focal length.

Programs of all kinds write this metadata, and some of it is wrong. A wrong piece is passed over and
noted; it never keeps the pixels from being read.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, TypeVar

from PIL import ExifTags, Image

from diffdepth_jax.media.orientation import AS_STORED, TURNS

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What a file says of its picture.

    Attributes:
      orientation: EXIF's Orientation, 1 to 8; 1 if there is none. Pillow takes it from XMP where
        EXIF has none.
      focal_length_35mm: EXIF's FocalLengthIn35mmFilm in millimetres; 0 if there is none.
      num_pictures: the number of pictures in the file.
      notes: a sentence about each piece that was passed over.
    """

    orientation: int = AS_STORED
    focal_length_35mm: float = 0.0
    num_pictures: int = 1
    notes: tuple[str, ...] = ()


def read_metadata(file: Image.Image) -> Metadata:
    """Reads the metadata of an opened file; raises nothing, whatever they hold."""
    notes: list[str] = []
    exif = _attempt(lambda: dict(file.getexif()), {}, "EXIF data", notes)
    camera = _attempt(lambda: file.getexif().get_ifd(ExifTags.IFD.Exif), {}, "EXIF camera", notes)
    orientation = _number(exif, ExifTags.Base.Orientation, notes) or AS_STORED
    if orientation not in TURNS:
        notes.append(f"EXIF's Orientation {orientation:g} is none of 1 to 8: passed over")
        orientation = AS_STORED
    return Metadata(
        int(orientation),
        _number(camera, ExifTags.Base.FocalLengthIn35mmFilm, notes),
        _attempt(lambda: _num_pictures(file), 1, "number of pictures", notes),
        tuple(notes),
    )


def _attempt(read: Callable[[], _T], otherwise: _T, what: str, notes: list[str]) -> _T:
    """Returns what `read` returns; if it fails, notes why and returns `otherwise`."""
    try:
        return read()
    except Exception as error:  # Pillow raises errors of many types on damaged metadata
        reason = " ".join(str(error).split()) or type(error).__name__
        notes.append(f"{what} cannot be read ({reason}): passed over")
        return otherwise


def _number(tags: Mapping[int, Any], tag: ExifTags.Base, notes: list[str]) -> float:
    """Returns the positive number of a tag; 0 if the tag is missing, 0 or not such a number."""
    value = tags.get(tag, 0)
    if isinstance(value, Real) and (value == 0 or 0 < float(value) < math.inf):
        return float(value)
    notes.append(f"EXIF's {tag.name} {str(value)[:40]!r} is no positive number: passed over")
    return 0.0


def _num_pictures(file: Image.Image) -> int:
    # In an MPO file a camera puts previews behind the photo.
    return 1 if file.format == "MPO" else getattr(file, "n_frames", 1)
