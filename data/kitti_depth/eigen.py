"""KITTI's Eigen split: raw drives, annotated depth, and list files."""

import functools
import pathlib

from diffdepth_jax.data.frames import Found, Frame, Options
from diffdepth_jax.data.kitti_depth.calibration import Calibrations, calibrated_frames
from diffdepth_jax.data.lists import find_list, missing_list, resolve
from diffdepth_jax.media.path_lists import Pair, candidates, read_pairs

_RAW_FOLDERS = ("", "raw")
_DEPTH_FOLDERS = ("", "data_depth_annotated")


def find(options: Options) -> Found:
    """Finds the frames that the list of each split names with depth, in the order of the list."""
    found, calibrations = Found(), Calibrations(options.roots)
    for split in options.splits:
        defaults = (f"eigen_{split}_files_with_gt.txt", f"{split}.txt")
        path = find_list(options, split, defaults)
        if path is None:
            found.problems.append(missing_list(options, split, defaults))
            continue
        pairs = read_pairs(path)
        with_depth = [pair for pair in pairs if pair.depth != "None"]
        if len(with_depth) < len(pairs):
            left_out = len(pairs) - len(with_depth)
            found.notes.append(f"split {split}: {left_out} lines without depth (None) left out")
        found.frames[split] = [
            frame
            for pair in with_depth
            for frame in _frames(pair, path, options.roots, calibrations, found)
        ]
    return found


def _frames(
    pair: Pair,
    list_path: pathlib.Path,
    roots: list[pathlib.Path],
    calibrations: Calibrations,
    found: Found,
) -> list[Frame]:
    """A list of the one frame that a line names; empty if a file of the frame is missing."""
    where = f"{list_path}, line {pair.number}"
    images = candidates(pair.image, functools.partial(_image_candidates, roots))
    depths = candidates(pair.depth, functools.partial(_depth_candidates, roots))
    image = resolve(images, where, found, pair.advice)
    depth = resolve(depths, where, found, pair.advice)
    if image is None or depth is None:
        return []
    drive, camera = image.parents[2].name, image.parents[1].name
    name, calibrate = f"{drive}/{camera}/{image.stem}", functools.partial(calibrations, image)
    return calibrated_frames(name, drive, image, depth, calibrate, found)


def _image_candidates(roots: list[pathlib.Path], name: str) -> list[pathlib.Path]:
    """Paths DATE/DRIVE/... as in the raw data, and SPLIT/DRIVE/... beside the annotated depth."""
    _, _, rest = name.partition("/")
    raw = [root / folder / name for root in roots for folder in _RAW_FOLDERS]
    return raw + [root / split / rest for root in roots for split in ("train", "val")]


def _depth_candidates(roots: list[pathlib.Path], name: str) -> list[pathlib.Path]:
    """Paths with and without train/ or val/ in front: some lists name this folder, some do not."""
    bases = [root / folder for root in reversed(roots) for folder in _DEPTH_FOLDERS]
    return [base / split / name for base in bases for split in ("", "train", "val")]
