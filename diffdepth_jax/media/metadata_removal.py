"""Takes the metadata out of JPEG and PNG files that Pillow refuses because of it."""

import struct
from collections.abc import Iterator

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_NEEDED = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_JPEG_START, _JPEG_SCAN = b"\xff\xd8", 0xDA
_ADOBE, _ADOBE_LENGTH = 0xEE, 14  # this segment says how JPEG stores colours
# Segments of applications and comments; 0xE0 is the JFIF header.
_JPEG_METADATA = {*range(0xE1, 0xF0), 0xFE}


def without_metadata(data: bytes) -> bytes:
    """Returns a JPEG or PNG file without EXIF, XMP, colour profiles and texts; its pixels are kept.

    Other files, and files whose structure is damaged, come back unchanged.
    """
    try:
        if data.startswith(_PNG_SIGNATURE):
            return _PNG_SIGNATURE + b"".join(_png_chunks(data))
        if data.startswith(_JPEG_START):
            return _JPEG_START + b"".join(_jpeg_segments(data))
    except (struct.error, IndexError):  # the file ends in the middle of a header
        pass
    return data


def _png_chunks(data: bytes) -> Iterator[bytes]:
    """Yields the chunks that make the picture (PNG specification, section 5.3)."""
    position = len(_PNG_SIGNATURE)
    while position < len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length  # length, name, contents, checksum
        if name in _PNG_NEEDED:
            yield data[position:end]
        position = end


def _jpeg_segments(data: bytes) -> Iterator[bytes]:
    """Yields the segments that make the picture (ITU-T T.81, annex B)."""
    position = len(_JPEG_START)
    while data[position + 1] != _JPEG_SCAN:
        marker, length = struct.unpack_from(">xBH", data, position)
        end = position + 2 + length
        whole_adobe = marker == _ADOBE and length >= _ADOBE_LENGTH
        if marker not in _JPEG_METADATA or whole_adobe:
            yield data[position:end]
        position = end
    yield data[position:]
