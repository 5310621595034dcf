"""The values that all sources share: a frame, the frames that were found, options, a source.

Frames are found and named first, and read later.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from diffdepth_jax.datasets.samples import RGB
from diffdepth_jax.media.array_files import read_npy

Metres = Float32[np.ndarray, "height width"]
LoadedImage = bytes | RGB  # a JPEG or PNG file, or pixels
LoadedDepth = bytes | Metres | None  # a 16-bit PNG file, or values; None: no depth is published
Intrinsics = tuple[tuple[float, ...], ...]  # the rows of a 3 x 3 camera matrix, in pixels


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame of a dataset, and the function that loads it in any process."""

    name: str  # unique within the split
    scene: str  # the scene or drive, "" if the source does not tell
    image_path: str  # for messages
    depth_path: str  # for messages, "" where no depth is published
    load: Callable[[], tuple[LoadedImage, LoadedDepth]]
    intrinsics: Intrinsics


def file_frame(
    name: str,
    scene: str,
    image_path: pathlib.Path,
    depth_path: pathlib.Path | None,
    intrinsics: Intrinsics,
) -> Frame:
    """A frame of two picture files; `depth_path` is None where no depth is published.

    The depth may also be a .npy file of metres.
    """
    load = functools.partial(_load_files, image_path, depth_path)
    return Frame(name, scene, str(image_path), str(depth_path or ""), load, intrinsics)


def _load_files(
    image_path: pathlib.Path, depth_path: pathlib.Path | None
) -> tuple[bytes, LoadedDepth]:
    if depth_path is None:
        return image_path.read_bytes(), None
    if depth_path.suffix != ".npy":
        return image_path.read_bytes(), depth_path.read_bytes()
    with depth_path.open("rb") as file:
        depth = read_npy(file)
    if depth.ndim != 2 or depth.dtype.kind != "f":
        raise ValueError(f"depth is {depth.dtype} {depth.shape}, expected floats (H, W)")
    return image_path.read_bytes(), depth


@dataclasses.dataclass
class Found:
    """The result of searching a source; the functions that search and check add to it."""

    frames: dict[str, list[Frame]] = dataclasses.field(default_factory=dict)  # by split
    problems: list[str] = dataclasses.field(default_factory=list)  # any of them forbids writing
    notes: list[str] = dataclasses.field(default_factory=list)  # for the reader; nothing is wrong
    # By split, files that may be missing. They are reported if the number of frames is wrong.
    gaps: dict[str, list[str]] = dataclasses.field(default_factory=dict)


def missing_split(split: str, path: pathlib.Path) -> str:
    """The problem to report where no file of a split is found at `path`."""
    return f"split {split}: {path} is missing; leave the split out with --splits=NAME,NAME"


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of the command line."""

    source: pathlib.Path  # the raw download
    data_dir: pathlib.Path  # prepared datasets are kept below it
    splits: tuple[str, ...]  # (): all splits of the source
    depth_source: pathlib.Path | None = None  # folder of the depth, if it is not below `source`
    lists: dict[str, str] = dataclasses.field(default_factory=dict)  # list file of each split
    test_depth: pathlib.Path | None = None  # the depth maps of the test list, in one file
    any_size: bool = False
    allow_shared_scenes: bool = False
    num_workers: int = 1
    extracted: tuple[pathlib.Path, ...] = ()  # of the archives in `source` and `depth_source`

    @property
    def roots(self) -> list[pathlib.Path]:
        """The folders below which files are searched."""
        given = [root for root in (self.source, self.depth_source) if root is not None]
        return [*given, *self.extracted]


@dataclasses.dataclass(frozen=True)
class Source:
    """One form in which a dataset is published, and the values that are plausible for it."""

    description: str
    find: Callable[[Options], Found]
    num_frames: dict[str, tuple[int, ...]]  # published numbers of each split; (): none agreed on
    heights: tuple[int, int]  # least and greatest published height, pixels
    widths: tuple[int, int]
    depth_scale: float  # integer depth = metres x depth_scale
    # Limits in metres that reveal a wrong unit: of the median depth of one frame, and of the median
    # of these medians over a split.
    median_depth: tuple[float, float]
    typical_depth: tuple[float, float]
    # Names of folders in the archives of a download that no frame needs; they are not extracted.
    unread: tuple[str, ...] = ()
    takes_test_depth: bool = False  # whether `find` looks at `test_depth`
    takes_lists: bool = False  # whether `find` looks at `lists`


def depth_format(depth: LoadedDepth) -> str:
    """The name by which `records.decode_depth` knows the stored form of a frame's depth."""
    if depth is None:
        return "none"
    return "float32" if isinstance(depth, np.ndarray) else "png"


def depth_bytes(depth: LoadedDepth) -> bytes:
    """The stored form of a frame's depth, without loss."""
    if depth is None:
        return b""
    return depth.astype("<f4").tobytes() if isinstance(depth, np.ndarray) else depth
