"""Lists of files with times, as in the TUM RGB-D benchmark (Sturm et al., IROS 2012)."""

import bisect
from collections.abc import Iterator
from typing import NamedTuple

from diffdepth_jax.errors import UserError
from diffdepth_jax.media import path_lists
from diffdepth_jax.media.reading import FilePath

MAX_DIFFERENCE = 0.02  # seconds between a picture and its depth; the benchmark's own limit


class Timed(NamedTuple):
    """A file and its time in seconds."""

    time: float
    name: str


def read_times(path: FilePath) -> list[Timed]:
    """Reads lines "time file".

    Raises:
      UserError: the file cannot be read, or a line is another one.
    """
    found = []
    for number, text in path_lists.read_lines(path):
        time, *name = text.split(maxsplit=1)
        if not path_lists.is_number(time) or not name:
            raise UserError(f"list file {path}, line {number}: expected 'time file'")
        found.append(Timed(float(time), name[0].strip().replace("\\", "/")))
    return found


def associate(images: list[Timed], depths: list[Timed]) -> list[tuple[str, str]]:
    """Pairs the files whose times are nearest, each once and at most MAX_DIFFERENCE apart.

    The nearest pair of all goes first, as in the benchmark's `associate.py`. Pairs come in the
    order of the images; images without a partner are left out.
    """
    differences = sorted(_near(images, depths))
    partners: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in differences:
        if i not in partners and j not in taken:
            partners[i] = j
            taken.add(j)
    return [(images[i].name, depths[j].name) for i, j in sorted(partners.items())]


def _near(images: list[Timed], depths: list[Timed]) -> Iterator[tuple[float, int, int]]:
    """Yields (seconds apart, index of the image, index of the depth) of all that may be pairs."""
    order = sorted(range(len(depths)), key=lambda j: depths[j].time)
    times = [depths[j].time for j in order]
    for i, image in enumerate(images):
        first = bisect.bisect_left(times, image.time - MAX_DIFFERENCE)
        last = bisect.bisect_right(times, image.time + MAX_DIFFERENCE)
        yield from ((abs(image.time - depths[j].time), i, j) for j in order[first:last])
