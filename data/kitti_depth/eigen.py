"""KITTI's Eigen split: raw drives, annotated depth, and list files of BTS or monodepth2.

A line of monodepth2's lists is "DATE/DRIVE FRAME l" or r, for the left and the right camera.
"""

import functools
import pathlib

from diffdepth_jax.data.frames import Found, Frame, Options
from diffdepth_jax.data.kitti_depth.calibration import Calibrations, calibrated_frames
from diffdepth_jax.data.kitti_depth.depth_maps import split_maps
from diffdepth_jax.data.lists import find_list, missing_list, note_jpeg, or_jpeg, resolve
from diffdepth_jax.errors import UserError
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
        pairs = _pairs_with_depth(path, split, options, found)
        found.frames[split] = [
            frame
            for pair in pairs
            for frame in _frames(pair, path, options.roots, calibrations, found)
        ]
        note_jpeg(split, found)
    return found


def _pairs_with_depth(path: pathlib.Path, split: str, options: Options, found: Found) -> list[Pair]:
    pairs = [_with_files(pair, options.roots) for pair in read_pairs(path)]
    if split == "test" and options.test_depth:
        pairs = _with_maps(pairs, path, options.test_depth, options.data_dir)
    with_depth = [pair for pair in pairs if pair.depth != "None"]
    if len(with_depth) < len(pairs):
        left_out = len(pairs) - len(with_depth)
        found.notes.append(f"split {split}: {left_out} lines without depth left out")
    return with_depth


def _with_files(pair: Pair, roots: list[pathlib.Path]) -> Pair:
    """Puts the names of the files into a pair of monodepth2's lists, and leaves others alone.

    The depth is None where its folder has no such frame: these lists were made for training without
    ground truth, and the annotated depth lacks the first and the last frames of each drive.
    """
    if pair.rest[:1] not in (("l",), ("r",)) or not pair.depth.isdecimal():
        return pair
    camera = "image_02" if pair.rest[0] == "l" else "image_03"
    name, drive = f"{int(pair.depth):010d}.png", pathlib.PurePosixPath(pair.image).name
    depth = f"{drive}/proj_depth/groundtruth/{camera}/{name}"
    paths = _depth_candidates(roots, depth)
    known = any(path.is_file() for path in paths)
    depth = "None" if not known and any(path.parent.is_dir() for path in paths) else depth
    return Pair(pair.number, f"{pair.image}/{camera}/data/{name}", depth, ())


def _with_maps(
    pairs: list[Pair], list_path: pathlib.Path, file: pathlib.Path, data_dir: pathlib.Path
) -> list[Pair]:
    """Puts the depth maps of a file, in its order, in the place of the listed depth."""
    maps = split_maps(file, data_dir / "extracted")
    if len(maps) != len(pairs):
        raise UserError(
            f"{file} holds {len(maps)} depth maps, but {list_path} has {len(pairs)} lines: give the"
            " list from which the maps were made"
        )
    return [
        pair._replace(depth=str(path.absolute())) for pair, path in zip(pairs, maps, strict=True)
    ]


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
    image = resolve(or_jpeg(images), where, found, pair.advice)
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
