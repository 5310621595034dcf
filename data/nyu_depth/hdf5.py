"""NYU HDF5 frames: nyudepthv2/train/SCENE/00001.h5 and nyudepthv2/val/official/00001.h5.

The folder nyudepthv2 may be absent. If the folders of the scenes are absent too, the name of an
archive or folder tells the split, such as train-000000.tar or val-000000.tar, and nothing tells the
scene.
"""

import functools
import pathlib
import re
from collections.abc import Iterable

import numpy as np

from diffdepth_jax.data.frames import Found, Frame, Metres, Options, missing_split
from diffdepth_jax.datasets.samples import RGB
from diffdepth_jax.media.array_files import hdf5_array
from diffdepth_jax.media.camera import NYU

_PATTERNS = {"train": "train/*/*.h5", "test": "val/official/*.h5"}
_PREFIXES = {"train": "train", "test": "val"}  # of archives without folders
_ARCHIVE = re.compile(r"\.(tar|tar\.gz|tgz|zip)-\d+-\w{8}$")  # see `archives.extract_once`
_UNKNOWN_SCENES = (
    "split train: the files do not lie in folders of scenes, so that no scene is known; whether"
    " another split shares scenes with it is not checked"
)


def find(options: Options) -> Found:
    """Finds all frames, in order of scene and number; outside of archives, or else in them."""
    found = Found()
    for split in options.splits:
        paths = _in_scenes(split, [options.source]) or _in_scenes(split, options.extracted)
        flat = _flat(split, options.source.glob("*/")) or _flat(split, options.extracted)
        if paths:
            found.frames[split] = [_frame(path, split) for path in paths]
        elif flat:
            found.frames[split] = [_frame_without_scene(path) for path in flat]
            found.notes += [_UNKNOWN_SCENES] * (split == "train")
        else:
            found.problems.append(missing_split(split, options.source / _PATTERNS[split]))
    return found


def _in_scenes(split: str, roots: Iterable[pathlib.Path]) -> list[pathlib.Path]:
    folders = [folder for root in roots for folder in (root, root / "nyudepthv2")]
    return sorted(path for folder in folders for path in folder.glob(_PATTERNS[split]))


def _flat(split: str, folders: Iterable[pathlib.Path]) -> list[pathlib.Path]:
    """Files at the top of those folders whose names tell the split."""
    own = [folder for folder in folders if folder.name.startswith(_PREFIXES[split])]
    return sorted(path for folder in own for path in folder.glob("*.h5"))


def _frame(path: pathlib.Path, split: str) -> Frame:
    name = f"{path.parent.name}/{path.stem}"
    scene = path.parent.name if split == "train" else ""  # the test frames all lie in one folder
    return _of_file(path, name, scene)


def _frame_without_scene(path: pathlib.Path) -> Frame:
    """A frame with its archive's name, because the files of all archives have the same names."""
    return _of_file(path, f"{_ARCHIVE.sub('', path.parent.name)}/{path.stem}", "")


def _of_file(path: pathlib.Path, name: str, scene: str) -> Frame:
    return Frame(name, scene, str(path), str(path), functools.partial(_load, path), NYU.rows)


def _load(path: pathlib.Path) -> tuple[RGB, Metres]:
    """Image and depth of one file; ValueError if a shape or a dtype is wrong."""
    import h5py  # not at the top: only two of the sources need it

    with h5py.File(path, "r") as file:
        return checked(hdf5_array(file, "rgb")[()], hdf5_array(file, "depth")[()])


def checked(image: np.ndarray, depth: np.ndarray) -> tuple[RGB, Metres]:
    """An image [3, H, W] as [H, W, 3], and its depth [H, W]; ValueError if they are others."""
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != np.uint8:
        raise ValueError(f"rgb is {image.dtype} {image.shape}, expected uint8 (3, H, W)")
    if depth.ndim != 2 or depth.dtype.kind != "f":
        raise ValueError(f"depth is {depth.dtype} {depth.shape}, expected floats (H, W)")
    if depth.dtype != np.float32 and not np.array_equal(depth.astype(np.float32), depth):
        raise ValueError(f"depth is {depth.dtype} and does not fit float32 without loss")
    return image.transpose(1, 2, 0), depth.astype(np.float32)
