"""The mark in pictures and videos that this program writes, by which it tells them from photos.

Without it a second run on a folder would take the results of the first for photos. PNG and TIFF
files have the mark as their "Software", GIF files as a comment, and MP4 files in a last box of the
type `free`, which players skip (ISO 14496-12).
"""

import pathlib
import struct
from typing import Any

from PIL import ExifTags
from PIL.PngImagePlugin import PngInfo

from diffdepth_jax.media.photo_formats import open_picture
from diffdepth_jax.media.reading import FilePath

_MARK = "diffdepth_jax"
_MP4_BOX = struct.pack(">I4s", 8 + len(_MARK), b"free") + _MARK.encode()
_PNG_INFO = PngInfo()
_PNG_INFO.add_text("Software", _MARK)

# Options of Pillow's `Image.save` with which this program writes its pictures, the mark among them.
# zlib's level 4 takes a third of the time of level 6, the default, for a depth map of 16 bits; the
# file is a tenth larger.
PNG: dict[str, Any] = {"pnginfo": _PNG_INFO, "compress_level": 4}
TIFF: dict[str, Any] = {"tiffinfo": {ExifTags.Base.Software.value: _MARK}}
GIF: dict[str, Any] = {"comment": _MARK}
_PICTURES = (".png", ".tiff", ".gif")
_VIDEO = ".mp4"


def mark_video(path: FilePath) -> None:
    """Marks an MP4 file that is complete."""
    with open(path, "ab") as file:
        file.write(_MP4_BOX)


def can_be_marked(path: pathlib.Path) -> bool:
    """Whether files of this name are marked if this program writes them."""
    return path.suffix.lower() in (*_PICTURES, _VIDEO)


def is_marked(path: pathlib.Path) -> bool:
    """Whether this program wrote the file; False if it cannot be read."""
    try:
        if path.suffix.lower() == _VIDEO:
            return _last_bytes(path) == _MP4_BOX
        return path.suffix.lower() in _PICTURES and _MARK in _software(path)
    except Exception:  # a damaged file is reported when it is read as a photo
        return False


def _last_bytes(path: pathlib.Path) -> bytes:
    with open(path, "rb") as file:
        file.seek(-len(_MP4_BOX), 2)
        return file.read()


def _software(path: pathlib.Path) -> list[str]:
    with open_picture(path) as picture:
        comment = picture.info.get("comment", b"")
        return [
            picture.info.get("Software", ""),
            picture.getexif().get(ExifTags.Base.Software, ""),
            comment.decode(errors="replace") if isinstance(comment, bytes) else comment,
        ]
