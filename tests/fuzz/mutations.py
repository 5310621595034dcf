"""Damages files at random, as their bytes or as what they mean: JSON, numbers in text, members."""

import copy
import gzip
import io
import json
import re
import struct
import tarfile
import zipfile
import zlib
from typing import Any

import numpy as np

_BYTES = (0, 1, 0x7F, 0x80, 0xFE, 0xFF)
_NUMBERS = (b"0", b"-1", b"65536", b"4294967296", b"99999999999999999999", b"1e999", b"nan", b"")
_JSON: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2, 10**9, 10**30, -1.5, 1e300, float("nan"), float("inf")),
    *("", "x", "3", "../..", "\ud800", [], [1], [1, 2], [[1]], {}, {"a": 1}),
)
_PNG = b"\x89PNG\r\n\x1a\n"


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """A damaged copy; of containers with checksums, mostly one that is damaged further inside."""
    inside = rng.random() < 0.8
    if inside and data.startswith(b"PK\x03\x04"):
        return _in_zip(data, rng)
    if inside and data.startswith(b"\x1f\x8b"):
        return gzip.compress(mutate(gzip.decompress(data), rng), 1)
    if inside and data.startswith(_PNG):
        return _with_png_checksums(_bytes(data, rng))
    if inside and data[257:262] == b"ustar":
        return _with_tar_checksums(_bytes(data, rng))
    if inside and data[:1] == b"{":
        return _in_json(data, rng)
    if inside and data[8:9] == b"{":  # safetensors
        return _in_safetensors(data, rng)
    return _bytes(data, rng)


def _bytes(data: bytes, rng: np.random.Generator) -> bytes:
    for _ in range(rng.integers(1, 5)):
        data = _CHANGES[rng.integers(len(_CHANGES))](data, rng)
    return data


def _place(data: bytes, rng: np.random.Generator) -> int:
    """Often near the beginning, where headers are."""
    last = min(len(data), 512) if rng.random() < 0.5 else len(data)
    return int(rng.integers(last + 1))


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    at = _place(data, rng)
    if at == len(data):
        return data[:-1]
    return data[:at] + bytes([data[at] ^ 1 << rng.integers(8)]) + data[at + 1 :]


def _set(data: bytes, rng: np.random.Generator) -> bytes:
    at, size = _place(data, rng), int(rng.choice([1, 2, 4, 8]))
    return data[:at] + bytes([rng.choice(_BYTES)]) * size + data[at + size :]


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: _place(data, rng)]


def _remove(data: bytes, rng: np.random.Generator) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + int(rng.integers(1, 64)) :]


def _repeat(data: bytes, rng: np.random.Generator) -> bytes:
    at, size = _place(data, rng), int(rng.integers(1, 256))
    return data[: at + size] + data[at : at + size] * int(rng.integers(1, 9)) + data[at + size :]


def _move(data: bytes, rng: np.random.Generator) -> bytes:
    at, to, size = _place(data, rng), _place(data, rng), int(rng.integers(1, 64))
    return data[:to] + data[at : at + size] + data[to + size :]


def _number(data: bytes, rng: np.random.Generator) -> bytes:
    """Another number where a number is written as text."""
    found = list(re.finditer(rb"\d+", data[:5000]))
    if not found:
        return _set(data, rng)
    chosen = found[rng.integers(len(found))]
    return data[: chosen.start()] + _NUMBERS[rng.integers(len(_NUMBERS))] + data[chosen.end() :]


_CHANGES = (_flip, _flip, _set, _set, _cut, _remove, _repeat, _move, _number)


def _in_zip(data: bytes, rng: np.random.Generator) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {entry: archive.read(entry) for entry in archive.infolist()}
    chosen = list(members)[rng.integers(len(members))]
    if any(entry.filename.endswith("data.pkl") for entry in members) and rng.random() < 0.8:
        chosen = next(entry for entry in members if entry.filename.endswith("data.pkl"))
    members[chosen] = _bytes(members[chosen], rng)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for entry, content in members.items():
            archive.writestr(entry.filename, content, entry.compress_type)
    return file.getvalue()


def _with_png_checksums(data: bytes) -> bytes:
    repaired, at = data[:8], 8
    while at + 12 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        body = data[at + 4 : at + 8 + size]
        repaired += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + size
    return repaired + data[at:]


def _with_tar_checksums(data: bytes) -> bytes:
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    for index, block in enumerate(blocks):
        if block[257:262] == b"ustar" and len(block) == 512:
            checksum = tarfile.calc_chksums(block)[0]  # ty: ignore[unresolved-attribute]
            blocks[index] = block[:148] + b"%06o\0 " % checksum + block[156:]
    return b"".join(blocks)


def _in_json(data: bytes, rng: np.random.Generator) -> bytes:
    try:
        fields = json.loads(data)
    except ValueError:
        return _bytes(data, rng)
    for _ in range(rng.integers(1, 4)):
        _change_leaf(fields, rng)
    return json.dumps(fields).encode()


def _change_leaf(fields: Any, rng: np.random.Generator) -> None:
    """Changes, removes or adds one value somewhere in nested dicts."""
    names = list(fields)
    name = names[rng.integers(len(names))] if names else "a"
    value = fields.get(name)
    if isinstance(value, dict) and value and rng.random() < 0.9:
        return _change_leaf(value, rng)
    if rng.random() < 0.1:
        fields.pop(name, None)
    elif rng.random() < 0.1:
        fields["another"] = copy.deepcopy(value)
    else:
        fields[name] = copy.deepcopy(_JSON[rng.integers(len(_JSON))])


def _in_safetensors(data: bytes, rng: np.random.Generator) -> bytes:
    (size,) = struct.unpack("<Q", data[:8])
    header, values = data[8 : 8 + size], data[8 + size :]
    if rng.random() < 0.3:
        return data[: 8 + size] + _bytes(values, rng)
    header = _in_json(header, rng) if rng.random() < 0.6 else _bytes(header, rng)
    header = header.replace(b'"checksum"', b'"unchecked"')  # or nothing else would be reached
    return struct.pack("<Q", len(header)) + header + values
