"""KITTI's depth prediction benchmark in its official layout."""

import functools
import pathlib
from collections.abc import Iterator

from diffdepth_jax.data.frames import Found, Frame, Options, missing_split
from diffdepth_jax.data.kitti_depth.calibration import (
    Calibrations,
    calibrated_frames,
    read_intrinsics,
)
from diffdepth_jax.data.lists import note_jpeg, or_jpeg, resolve

_SELECTED = "val_selection_cropped"
_FOLDERS = {
    "train": ("train", "data_depth_annotated/train"),
    "val": ("val", "data_depth_annotated/val"),
    _SELECTED: (f"depth_selection/{_SELECTED}", _SELECTED),
    "test": ("depth_selection/test_depth_prediction_anonymous", "test_depth_prediction_anonymous"),
}
_DEPTH = "*/proj_depth/groundtruth/image_0[23]/[0-9]*.png"


def find(options: Options) -> Found:
    """Finds all frames with published depth, and the test images, in order of their names."""
    found, calibrations = Found(), Calibrations(options.roots)
    for split in options.splits:
        folders = [root / name for root in reversed(options.roots) for name in _FOLDERS[split]]
        folder = next((folder for folder in folders if folder.is_dir()), None)
        if folder is None:
            found.problems.append(missing_split(split, options.source / _FOLDERS[split][0]))
        elif split in ("train", "val"):
            found.frames[split] = _drives(folder, split, options.roots, calibrations, found)
            note_jpeg(split, found)
            found.gaps[split] = list(_gaps(folder))
        else:
            found.frames[split] = _selection(folder, found)
    return found


def _drives(
    folder: pathlib.Path,
    split: str,
    roots: list[pathlib.Path],
    calibrations: Calibrations,
    found: Found,
) -> list[Frame]:
    """Frames of the drives of train or val. An image lies there, or in the raw data below DATE."""
    frames = []
    for depth in sorted(folder.glob(_DEPTH)):
        drive, camera = depth.parents[3].name, depth.parent.name
        tail = pathlib.Path(drive, camera, "data", depth.name)
        candidates = [base / tail for base in (folder, *(root / split for root in roots))]
        raw = [root / name for root in roots for name in ("", "raw")]
        candidates += [base / drive[:10] / tail for base in raw]
        image = resolve(or_jpeg(candidates), f"image of {depth}", found)
        if image is not None:
            name = f"{drive}/{camera}/{image.stem}"
            calibrate = functools.partial(calibrations, image)
            frames += calibrated_frames(name, drive, image, depth, calibrate, found)
    return frames


def _gaps(folder: pathlib.Path) -> Iterator[str]:
    """Reports the frames that one camera of a drive lacks between the drive's first and last."""
    for drive in sorted(folder.glob("*/proj_depth/groundtruth")):
        cameras = {
            camera: {int(path.stem) for path in (drive / camera).glob("[0-9]*.png")}
            for camera in ("image_02", "image_03")
        }
        known = set().union(*cameras.values())
        for camera, numbers in cameras.items():
            lacking = set(range(min(known), max(known) + 1)) - numbers if known else ()
            if lacking:
                numbers = ", ".join(f"{number:010d}.png" for number in sorted(lacking))
                yield f"{drive / camera} has no {numbers}"


def _selection(folder: pathlib.Path, found: Found) -> list[Frame]:
    """Frames of image/ with intrinsics/; and with groundtruth_depth/, except in the test split."""
    frames = []
    for image in sorted((folder / "image").glob("*.png")):
        drive, depth = "", None
        if folder.name == _SELECTED:
            drive = image.name.split("_image_")[0]
            name = image.name.replace("_sync_image_", "_sync_groundtruth_depth_")
            depth = resolve([folder / "groundtruth_depth" / name], f"depth of {image}", found)
            if depth is None:
                continue
        calibrate = functools.partial(read_intrinsics, folder / "intrinsics" / f"{image.stem}.txt")
        frames += calibrated_frames(image.stem, drive, image, depth, calibrate, found)
    return frames
