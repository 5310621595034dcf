"""TFRecord files by index and without TensorFlow: what TFDS writes unless told otherwise.

A record is its length (8 bytes), a checksum of that (4), the data, a checksum of the data (4).
"""

import os
import struct

import numpy as np


class TFRecords:
    """Random access to the data of records, as bytes."""

    def __init__(self, parts: list[tuple[str, int, int]]):
        """Reads the length of every record and skips its data.

        Args:
          parts: (path, records to skip, records to take; -1 for all that follow).
        """
        self._paths = [path for path, _, _ in parts]
        places = []
        for number, (path, skip, take) in enumerate(parts):
            spans = _spans(path)[skip:]
            places += [(number, *span) for span in (spans if take < 0 else spans[:take])]
        self._places = np.array(places, np.int64).reshape(-1, 3)  # path, offset, length

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> bytes:
        path, offset, length = self._places[index]
        with open(self._paths[path], "rb") as file:
            file.seek(offset)
            return file.read(length)


def _spans(path):
    """(offset, length) of the data of each record of a file."""
    size, offset, spans = os.path.getsize(path), 0, []
    with open(path, "rb") as file:
        while offset < size:
            file.seek(offset)
            header = file.read(8)
            length = struct.unpack("<Q", header)[0] if len(header) == 8 else size
            if offset + length + 16 > size:
                raise ValueError(f"{path} ends within record {len(spans)}")
            spans.append((offset + 12, length))
            offset += length + 16
    return spans
