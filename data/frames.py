"""What the source layouts have in common: frames, found and named before any is read."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Frame:
    """One frame of a dataset: where it comes from, and how to load it in any process.

    `load()` returns (image, depth). image: the bytes of a JPEG or PNG file, or uint8 [H, W, 3].
    depth: the bytes of a 16-bit PNG, or float32 [H, W] in metres, or None where none is published.
    """

    name: str  # unique within the split
    scene: str  # the scene or drive, "" if the source does not tell
    image_path: str  # for messages
    depth_path: str
    load: Callable[[], tuple]
    intrinsics: tuple[tuple[float, ...], ...]  # 3 x 3, in pixels


def file_frame(name, scene, image_path, depth_path, intrinsics):
    """A frame of two picture files; `depth_path` is None where no depth is published."""
    load = functools.partial(_load_files, image_path, depth_path)
    return Frame(name, scene, str(image_path), str(depth_path or ""), load, intrinsics)


def _load_files(image_path, depth_path):
    depth = pathlib.Path(depth_path).read_bytes() if depth_path else None
    return pathlib.Path(image_path).read_bytes(), depth


@dataclasses.dataclass
class Found:
    """What a source holds: the frames of each split, and what is wrong or worth knowing.

    `gaps` names what a split may lack; that matters only if its number of frames is wrong.
    """

    frames: dict[str, list[Frame]] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    gaps: dict[str, list[str]] = dataclasses.field(default_factory=dict)


def missing_split(split: str, path) -> str:
    """The problem to report where nothing of a split is found at `path`."""
    return f"split {split}: {path} is missing; leave the split out with --splits=NAME,NAME"


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line says."""

    source: pathlib.Path
    data_dir: pathlib.Path
    splits: tuple[str, ...]
    depth_source: pathlib.Path | None = None  # where the depth lies, if not below `source`
    lists: dict[str, str] = dataclasses.field(default_factory=dict)  # split: list file
    any_size: bool = False
    allow_shared_scenes: bool = False
    num_workers: int = 1

    @property
    def roots(self) -> list[pathlib.Path]:
        """Folders below which files are searched."""
        return [root for root in (self.source, self.depth_source) if root is not None]


@dataclasses.dataclass(frozen=True)
class Source:
    """One form in which people have a dataset."""

    description: str
    find: Callable[[Options], Found]
    num_frames: dict[str, tuple[int, ...]]  # published numbers of each split; (): none agreed on
    heights: tuple[int, int]  # published range, pixels
    widths: tuple[int, int]
    depth_scale: float  # integer depth = metres x this
    # Metres. Beyond `median_depth` the depth of one frame is in another unit; so is that of a
    # split if the median of its frames' medians is beyond `typical_depth`.
    median_depth: tuple[float, float]
    typical_depth: tuple[float, float]


def depth_format(depth) -> str:
    """How the depth of a loaded frame is stored: the names that `records.decode_depth` knows."""
    if depth is None:
        return "none"
    return "float32" if isinstance(depth, np.ndarray) else "png"


def depth_bytes(depth) -> bytes:
    """The bytes to store for the depth of a loaded frame: as found, without loss."""
    if depth is None:
        return b""
    return depth.astype("<f4").tobytes() if isinstance(depth, np.ndarray) else depth
