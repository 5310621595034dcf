"""Checksums of a folder's files, to find files that changed after they were written.

Orbax reads a changed file without complaint: tensorstore checks its index, not the arrays, so that
one flipped bit is one wrong number.
"""

import json
import pathlib
import zlib

FILE = "checksums.json"
# Orbax writes these last, and restores the same without them.
_UNCHECKED = {FILE, "_CHECKPOINT_METADATA", "commit_success.txt"}
_BLOCK = 2**22  # bytes


def write_checksums(folder: pathlib.Path) -> None:
    """Writes size and CRC-32 of each file below a folder into a file of the folder."""
    entries = {
        str(path.relative_to(folder)): _read(path) for path in folder.rglob("*") if path.is_file()
    }
    for name in _UNCHECKED:
        entries.pop(name, None)
    (folder / FILE).write_text(json.dumps(entries, indent=1) + "\n")


def find_damage(folder: pathlib.Path) -> str | None:
    """A sentence about the first file that is missing or changed; None if there is none."""
    try:
        entries = json.loads((folder / FILE).read_bytes())
        for name, (size, checksum) in entries.items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            found = _read(folder / name)
            if found[0] != size:
                return f"{name} has {found[0]} of {size} bytes"
            if found[1] != checksum:
                return f"{name} is not what was written"
    except FileNotFoundError:
        return f"{FILE} is missing"
    except (ValueError, AttributeError, TypeError):  # JSON, but of another form
        return f"{FILE} cannot be read"
    return None


def _read(path: pathlib.Path) -> list[int]:
    """(size in bytes, CRC-32) of a file."""
    size = checksum = 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            size += len(block)
            checksum = zlib.crc32(block, checksum)
    return [size, checksum]
