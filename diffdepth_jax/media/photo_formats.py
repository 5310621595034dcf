"""The files that count as photos, by their extensions.

The formats are those in which cameras, telephones, scanners and datasets keep pictures. Pillow
also opens documents and programs (PDF, EPS, WMF), icons, fonts and grids of measurements: nobody
means them by the photos of a folder.
"""

import functools
import importlib

from PIL import Image

_FORMATS = {"AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"}
_NO_PHOTOS = {".pfm"}  # PPM's extension for floats: depth, most likely
HEIF_EXTENSIONS = {".heic", ".heif"}  # photos of telephones, also without the add-on: see below
HEIF_ADVICE = "HEIC needs an add-on of Pillow: pip install pillow-heif"


@functools.cache
def extensions() -> frozenset[str]:
    """Returns the extensions of photos that the installed Pillow reads, and those of HEIC.

    HEIC counts in any case: without its add-on an error names the photo and the remedy.
    """
    register_heif()
    Image.init()
    known = Image.registered_extensions()
    # MPO has no opener of its own: JPEG's opens it.
    readable = {
        extension
        for extension, name in known.items()
        if name in _FORMATS and (name in Image.OPEN or name == "MPO")
    }
    return frozenset(readable - _NO_PHOTOS | HEIF_EXTENSIONS)


@functools.cache
def register_heif() -> bool:
    """Lets Pillow open HEIC if the add-on pillow-heif is installed; returns whether it is."""
    try:
        pillow_heif = importlib.import_module("pillow_heif")
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True
