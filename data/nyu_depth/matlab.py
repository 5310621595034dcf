"""Arrays of numbers in MATLAB's files of level 5 (version 5 to 7.2), read without trust.

The format is that of "MAT-File Format" by MathWorks. `scipy.io` reads more of it, but takes memory
as a damaged file says, and may end the whole process.
"""

import math
import struct
import zlib
from collections.abc import Collection, Iterator

import numpy as np

_MATRIX, _COMPRESSED = 14, 15
_TYPES = dict(enumerate(("i1", "u1", "i2", "u2", "i4", "u4", "f4"), start=1))
_TYPES |= {9: "f8", 12: "i8", 13: "u8"}
_NUMBERS = range(6, 16)  # classes of arrays: double, single and integers
_LARGEST = 2**20  # bytes of a decompressed element


def read_numbers(data: bytes, names: Collection[str]) -> dict[str, np.ndarray]:
    """The arrays of these names in a file, as far as they are arrays of real numbers.

    Raises:
      ValueError: the file is damaged, or of another level.
      struct.error, zlib.error: it is damaged.
    """
    orders = {b"IM": "<", b"MI": ">"}
    if len(data) < 128 or data[126:128] not in orders:
        raise ValueError("it is no MATLAB file of level 5: save it with -v7")
    order = orders[data[126:128]]
    matrices = (body for kind, body in _elements(data[128:], order) if kind == _MATRIX)
    found = (_numbers(body, order) for body in matrices)
    return {name: values for name, values in found if name in names and values is not None}


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """The (type, bytes) of each element, decompressed."""
    at = 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        start, follows = at + 8, at + 8 + -(-size // 8) * 8
        if kind >> 16:  # a small element: type and size share four bytes, and four values follow
            kind, size = kind & 0xFFFF, kind >> 16
            start, follows = at + 4, at + 8
        if start + size > min(len(data), follows):
            raise ValueError("an element ends beyond its place")
        body = data[start : start + size]
        if kind == _COMPRESSED:
            yield from _elements(_decompressed(body), order)
            follows = start + size
        else:
            yield kind, body
        at = follows


def _decompressed(data: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    body = decompressor.decompress(data, _LARGEST)
    if decompressor.unconsumed_tail:
        raise ValueError(f"an element has more than {_LARGEST >> 20} MiB")
    return body


def _numbers(body: bytes, order: str) -> tuple[str, np.ndarray | None]:
    """The name of an array and its values; None for what is no array of real numbers."""
    (_, flags), (_, sizes), (_, name), *parts = _elements(body, order)
    (bits,) = struct.unpack_from(f"{order}I", flags)
    text = name.decode("latin1")
    if bits & 0xFF not in _NUMBERS or bits & 0x800 or not parts:  # 0x800: complex
        return text, None
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    kind, values = parts[0]
    if kind not in _TYPES:
        raise ValueError(f"{text} has values of unknown type {kind}")
    array = np.frombuffer(values, order + _TYPES[kind])
    if any(size < 0 for size in shape) or math.prod(shape) != len(array):
        raise ValueError(f"{text} has {len(array)} values for a shape of {shape}")
    return text, array.reshape(shape, order="F")
