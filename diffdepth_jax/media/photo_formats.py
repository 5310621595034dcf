"""The formats of pictures, and the only function that opens one.

The formats are those in which cameras, telephones, scanners and datasets keep pictures. Pillow
also opens documents and programs (PDF, EPS, WMF), icons, fonts and grids of measurements: nobody
means them by the photos of a folder. Content counts, not the name: a file of another format under
the name of a photo is refused before Pillow's reader of that format sees it.
"""

import functools
import importlib
import io
import os
import stat
from collections.abc import Sequence
from typing import BinaryIO

from PIL import Image

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP", "HEIF")
_NO_PHOTOS = {".pfm"}  # PPM's extension for floats: depth, most likely
HEIF_EXTENSIONS = {".heic", ".heif"}  # photos of telephones, also without the add-on: see below
HEIF_ADVICE = "HEIC needs an add-on of Pillow: pip install pillow-heif"


def open_picture(
    file: str | os.PathLike[str] | BinaryIO, formats: Sequence[str] = FORMATS
) -> Image.Image:
    """Opens a picture of one of the formats with Pillow; it has to be closed.

    Raises:
      OSError: the file cannot be opened, or is of none of the formats.
      Exception: Pillow raises errors of many types on damaged files.
    """
    try:
        return Image.open(file, formats=_readable(formats))
    except Image.UnidentifiedImageError as error:
        raise OSError(f"it is of none of the formats {', '.join(formats)}") from error


def _readable(formats: Sequence[str]) -> list[str]:
    """Returns those formats that the installed Pillow opens, HEIF with its add-on."""
    register_heif()
    Image.init()
    return [name for name in formats if name in Image.OPEN]


class _NoLongerThanItIs(io.BufferedReader):
    """A file of which no more bytes are asked than it has, whatever length a header states.

    Python takes the memory for the answer before it reads.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > 2**20:
            size = min(size, os.fstat(self.fileno()).st_size)
        return super().read(size)


def open_file(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Opens a file to read its bytes; raises an OSError unless it is a regular file.

    A pipe would be waited for without end. Pillow is given the open file and not the path, because
    it maps the memory of a file that it opens itself: if another program cuts the file meanwhile,
    the process would die.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("it is no regular file")
    return _NoLongerThanItIs(io.FileIO(path))


@functools.cache
def extensions() -> frozenset[str]:
    """Returns the extensions of photos that the installed Pillow reads, and those of HEIC.

    HEIC counts in any case: without its add-on an error names the photo and the remedy.
    """
    readable = {*_readable(FORMATS), "MPO"}  # MPO has no opener of its own: JPEG's opens it
    known = Image.registered_extensions().items()
    found = {extension for extension, name in known if name in readable}
    return frozenset(found - _NO_PHOTOS | HEIF_EXTENSIONS)


@functools.cache
def register_heif() -> bool:
    """Lets Pillow open HEIC if the add-on pillow-heif is installed; returns whether it is."""
    try:
        pillow_heif = importlib.import_module("pillow_heif")
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True
