"""TFRecord files, the default format of TFDS, read by index and without TensorFlow.

A record is: length of the data (8 bytes), checksum of the length (4), data, checksum of the data
(4).
"""

import os
import struct

import numpy as np


class TFRecords:
    """Random access to the data of each record."""

    def __init__(self, parts: list[tuple[str, int, int]]) -> None:
        """Reads the length of every record, but not its data.

        Args:
          parts: for each file its path, how many records to skip, and how many records to take
            after these; -1 takes all.

        Raises:
          ValueError: a file ends within a record.
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


def _spans(path: str) -> list[tuple[int, int]]:
    """Returns (offset, length) in bytes of the data of each record in a file."""
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
