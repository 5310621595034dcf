"""Checks the frames that were found, before anything is written.

The numbers of frames are the published ones, every file decodes, and sizes and units are plausible.
"""

import collections
import dataclasses
import functools
import io
import itertools
import statistics
from collections.abc import Iterable, Iterator

import numpy as np

from diffdepth_jax.data.frames import (
    Found,
    Frame,
    LoadedDepth,
    LoadedImage,
    Metres,
    Options,
    Source,
    depth_bytes,
    depth_format,
)
from diffdepth_jax.data.parallel import ordered_map
from diffdepth_jax.datasets.records import decode_depth, decode_image
from diffdepth_jax.datasets.samples import RGB
from diffdepth_jax.media.orientation import AS_STORED
from diffdepth_jax.media.photo_formats import open_picture
from diffdepth_jax.media.photo_metadata import read_metadata
from diffdepth_jax.program import progress


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The result of checking one frame."""

    problem: str = ""  # "": nothing is wrong
    median: float | None = None  # of the valid depth, metres
    num_bytes: int = 0  # estimated size of its record
    has_other_size: bool = False  # than the published one


def check(found: Found, source: Source, options: Options) -> int:
    """Adds problems and notes to `found`; returns the bytes that the records will take."""
    found.problems += _wrong_counts(found, source, options)
    _note_repetition(found)
    if not options.allow_shared_scenes:
        found.problems += _shared_scenes(found.frames)
    frames = [frame for split in found.frames.values() for frame in split]
    check_one = functools.partial(check_frame, source=source, any_size=options.any_size)
    results = ordered_map(check_one, frames, options.num_workers)
    verdicts = list(progress.bar(results, "check", total=len(frames), unit="frame", smoothing=0))
    found.problems += [verdict.problem for verdict in verdicts if verdict.problem]
    if others := sum(verdict.has_other_size for verdict in verdicts):
        found.notes.append(
            f"frames of another size than the published one: {others}; they get its camera "
            "matrices, so that frame.canonical_focal_length would be wrong for them"
        )
    remaining = iter(verdicts)
    for split, members in found.frames.items():
        medians = [verdict.median for verdict in itertools.islice(remaining, len(members))]
        found.problems += _untypical_depth(split, medians, source)
    return sum(verdict.num_bytes for verdict in verdicts)


def _wrong_counts(found: Found, source: Source, options: Options) -> Iterator[str]:
    """Problems of splits whose number of frames is not a published one."""
    for split, frames in found.frames.items():
        count, published = len(frames), source.num_frames[split]
        if not count or (published and count not in published and not options.any_size):
            expected = " or ".join(map(str, published)) or "thousands"
            yield (
                f"split {split}: {count} usable frames, but {expected} are published: complete the"
                " split, accept another number above 0 with --any_size, or leave the split out with"
                " --splits"
            )
            yield from (f"split {split}: {gap}" for gap in found.gaps.get(split, ()))


def _note_repetition(found: Found) -> None:
    """Reports frames that are listed more than once.

    In training they weigh double, which is no error; in the other splits they spoil a score.
    """
    for split, frames in found.frames.items():
        counts = collections.Counter(frame.name for frame in frames)
        repeated = [name for name, count in counts.items() if count > 1]
        if repeated and split == "train":
            found.notes.append(f"split train: {len(repeated)} frames are listed more than once")
        elif repeated:
            names = ", ".join(repeated)
            found.problems.append(f"split {split}: frames are listed more than once: {names}")


def _shared_scenes(frames: dict[str, list[Frame]]) -> Iterator[str]:
    """Problems of scenes that train shares with another split.

    The other splits may share scenes with each other, as the validation splits of KITTI do.
    """
    scenes = {split: {frame.scene for frame in members} - {""} for split, members in frames.items()}
    for split in sorted(scenes.keys() - {"train"}):
        for scene in sorted(scenes.get("train", set()) & scenes[split]):
            yield (
                f"splits train and {split} share {scene}, so that {split} would score a scene seen"
                " in training; take it out of one split, or accept it with --allow_shared_scenes"
            )


def check_frame(frame: Frame, source: Source, any_size: bool) -> Verdict:
    """Loads and decodes a frame with the functions that read its record later."""
    path = frame.image_path
    try:
        image, depth = frame.load()
        pixels = image if isinstance(image, np.ndarray) else decode_image(image)
        path = frame.depth_path or frame.image_path
        height, width, _ = pixels.shape
        metres = _in_metres(depth, source.depth_scale, (height, width))
    except Exception as error:  # decoders raise nearly anything about damaged files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return Verdict(f"{path}: cannot be read ({reason}); fetch or extract it again")
    problem = _turned_by_exif(frame, image) or _wrong_size(frame, pixels, metres, source, any_size)
    median = None
    if depth is not None and not problem:
        problem, median = _wrong_depth(frame, metres, source)
    # Pixels are stored as PNG, which takes about half of their bytes.
    num_bytes = image.nbytes // 2 if isinstance(image, np.ndarray) else len(image)
    other = not _has_published_size((height, width), source)
    return Verdict(problem, median, num_bytes + len(depth_bytes(depth)), other)


def _turned_by_exif(frame: Frame, image: LoadedImage) -> str:
    """The problem with an image file that EXIF turns, or "": records hold pixels as stored."""
    if isinstance(image, np.ndarray):
        return ""
    with open_picture(io.BytesIO(image)) as file:
        orientation = read_metadata(file).orientation
    if orientation == AS_STORED:
        return ""
    return (
        f"{frame.image_path}: its EXIF Orientation is {orientation}, so that viewers turn it; no "
        "published frame has that: fetch it again, or take the tag out if the depth map lies like "
        "the stored pixels"
    )


def _in_metres(depth: LoadedDepth, scale: float, size: tuple[int, int]) -> Metres:
    """The depth of a loaded frame as values; zeros where no depth is published."""
    if isinstance(depth, np.ndarray):
        return depth
    return decode_depth(depth_bytes(depth), depth_format(depth), scale, size)


def _wrong_size(frame: Frame, pixels: RGB, metres: Metres, source: Source, any_size: bool) -> str:
    """The problem with the sizes of image and depth, or ""."""
    (height, width), depth_size = pixels.shape[:2], metres.shape
    if depth_size != (height, width):
        return (
            f"{frame.image_path}: {height} x {width}, but its depth {frame.depth_path} is"
            f" {depth_size[0]} x {depth_size[1]} (height x width); both must have one size"
        )
    if any_size or _has_published_size((height, width), source):
        return ""
    return (
        f"{frame.image_path}: {height} x {width}, but the published size is"
        f" {_span(source.heights)} x {_span(source.widths)} (height x width); use the original, or"
        " accept this size with --any_size"
    )


def _has_published_size(size: tuple[int, int], source: Source) -> bool:
    return _within(size[0], source.heights) and _within(size[1], source.widths)


def _wrong_depth(frame: Frame, metres: Metres, source: Source) -> tuple[str, float | None]:
    """The problem with the depth of a frame, or ""; and the median of its valid depth."""
    valid = metres[np.isfinite(metres) & (metres > 0)]
    if not valid.size:
        return f"{frame.depth_path}: no valid depth (all 0 or not finite); remove the frame", None
    median = float(np.median(valid))
    if _within(median, source.median_depth):
        return "", median
    return f"{frame.depth_path}: {_unit_guess(median, source.median_depth)}", None


def _untypical_depth(split: str, medians: Iterable[float | None], source: Source) -> Iterator[str]:
    """The problem of a split whose depth as a whole is in another unit, if it is."""
    known = [median for median in medians if median is not None]
    if known and not _within(statistics.median(known), source.typical_depth):
        yield f"split {split}: {_unit_guess(statistics.median(known), source.typical_depth)}"


def _unit_guess(median: float, limits: tuple[float, float]) -> str:
    guess = "millimetres taken for metres" if median > limits[1] else "metres taken for millimetres"
    return (
        f"median depth {median:.4g} m, expected {_span(limits)}: looks like {guess}, or another"
        " scale; export the depth again in the unit that data/README.md states"
    )


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _span(limits: tuple[float, float]) -> str:
    return f"{limits[0]:g}" if limits[0] == limits[1] else f"{limits[0]:g} to {limits[1]:g}"
