"""Small JPEG, PNG and WebP files whose metadata is generated: right, wrong in kind, or damaged."""

import io
import itertools
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

SIZE = (6, 9)  # height and width of the stored pixels
ORIENTATION, FOCAL_LENGTH = 0x112, 0xA405
_EXIF_FOLDER = 0x8769
# Number and size in bytes of EXIF's types, and two that do not exist.
_TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8, 11: 4, 12: 8, 0: 1, 99: 1}
_TAGS = {
    "Orientation": ORIENTATION,
    "XResolution": 0x11A,
    "ResolutionUnit": 0x128,
    "Make": 0x10F,
    "DateTime": 0x132,
    "YCbCrPositioning": 0x213,
    "ImageWidth": 0x100,
    "Compression": 0x103,
    "StripOffsets": 0x111,
    "JPEGInterchangeFormat": 0x201,
    "ExifIFD": _EXIF_FOLDER,
    "GPSInfo": 0x8825,
    "MakerNote": 0x927C,
    "FocalLength": 0x920A,
}
_XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>'
    b'<rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def pixels() -> np.ndarray:
    """Pixels of the files, [6, 9, 3]."""
    return np.full((*SIZE, 3), 90, np.uint8)


def exif_block(entries: list[tuple[int, int, int, bytes]]) -> bytes:
    """An EXIF block with these (tag, type, count, data), beside Orientation 6 and 26 mm."""
    if ORIENTATION not in [tag for tag, *_ in entries]:
        entries = [*entries, (ORIENTATION, 3, 1, struct.pack("<H", 6))]
    camera = [(FOCAL_LENGTH, 3, 1, struct.pack("<H", 26))]
    if _EXIF_FOLDER in [tag for tag, *_ in entries]:
        return b"II*\0" + struct.pack("<I", 8) + _folder(entries, 8)
    link = (_EXIF_FOLDER, 4, 1, b"\0\0\0\0")
    start = 8 + len(_folder([*entries, link], 8))
    entries = [*entries, (*link[:3], struct.pack("<I", start))]
    return b"II*\0" + struct.pack("<I", 8) + _folder(entries, 8) + _folder(camera, start)


def _folder(entries: list[tuple[int, int, int, bytes]], start: int) -> bytes:
    """An image file directory that begins at `start`; data of over 4 bytes stands behind it."""
    behind, data = start + 2 + 12 * len(entries) + 4, b""
    fields = struct.pack("<H", len(entries))
    for tag, kind, count, value in sorted(entries):
        inline = len(value) <= 4
        place = value.ljust(4, b"\0") if inline else struct.pack("<I", behind + len(data))
        data += b"" if inline else value
        fields += struct.pack("<HHI", tag, kind, count) + place
    return fields + bytes(4) + data


def with_exif(block: bytes, form: str) -> bytes:
    """A picture file of a form, "JPEG", "PNG" or "WEBP", with this EXIF block."""
    if form == "JPEG":
        return _jpeg(0xE1, b"Exif\0\0" + block)
    return _saved(form, exif=b"Exif\0\0" + block)


def typed_tags() -> Iterator[tuple[str, bytes]]:
    """(tag, file) for one tag at a time of each type and count, of zeros and of random bytes."""
    rng = np.random.default_rng(0)
    for (name, tag), (kind, size), count, form in itertools.product(
        _TAGS.items(), _TYPES.items(), (0, 1, 2), ("JPEG", "PNG", "WEBP")
    ):
        for data in (bytes(size * count), rng.bytes(size * count)):
            yield name, with_exif(exif_block([(tag, kind, count, data)]), form)


def damaged_blocks(rounds: int) -> Iterator[bytes]:
    """Files whose EXIF, XMP, colour profile and other metadata is damaged at random."""
    rng = np.random.default_rng(1)
    exif = exif_block([])
    for _ in range(rounds):
        profile, noise = rng.bytes(rng.integers(200)), rng.bytes(rng.integers(30))
        yield _jpeg(0xE1, b"Exif\0\0" + _damaged(exif, rng))
        yield _jpeg(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _damaged(_XMP, rng))
        yield _jpeg(0xE2, b"ICC_PROFILE\0\1\1" + profile)
        yield _jpeg(0xE2, b"MPF\0" + _damaged(exif, rng))
        yield _jpeg(0xED, b"Photoshop 3.0\x008BIM" + noise)
        yield _png(b"eXIf", _damaged(exif, rng))
        yield _png(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + _damaged(_XMP, rng))
        yield _png(b"iCCP", b"a\0\0" + zlib.compress(profile)[: rng.integers(1, 60)])
        for name in (b"zTXt", b"pHYs", b"gAMA", b"cHRM", b"sRGB", b"tIME", b"acTL"):
            yield _png(name, noise)
        yield _saved("WEBP", exif=b"Exif\0\0" + _damaged(exif, rng), icc_profile=profile)


def _damaged(block: bytes, rng: np.random.Generator) -> bytes:
    """Changes up to three bytes of a block, and cuts off its end in every third case."""
    changed = bytearray(block)
    for position in rng.integers(len(block), size=rng.integers(1, 4)):
        changed[position] = rng.integers(256)
    return bytes(changed[: rng.integers(len(block)) if rng.random() < 1 / 3 else None])


def _saved(form: str, **metadata: bytes) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels()).save(file, form, **metadata)
    return file.getvalue()


def _jpeg(marker: int, contents: bytes) -> bytes:
    """A JPEG file with an additional segment."""
    data = _saved("JPEG")
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(contents) + 2) + contents + data[2:]


def _png(name: bytes, contents: bytes) -> bytes:
    """A PNG file with an additional chunk behind its header."""
    data, end_of_header = _saved("PNG"), 33
    checksum = struct.pack(">I", zlib.crc32(name + contents))
    chunk = struct.pack(">I", len(contents)) + name + contents + checksum
    return data[:end_of_header] + chunk + data[end_of_header:]
