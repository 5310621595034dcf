"""NYU HDF5 frames: nyudepthv2/train/SCENE/00001.h5 and nyudepthv2/val/official/00001.h5."""

import functools
import pathlib

import numpy as np

from diffdepth_jax.data.archives import extract, is_archive
from diffdepth_jax.data.frames import Found, Frame, Metres, Options, missing_split
from diffdepth_jax.datasets.samples import RGB
from diffdepth_jax.media.camera import NYU

_PATTERNS = {"train": "train/*/*.h5", "test": "val/official/*.h5"}


def find(options: Options) -> Found:
    """Finds all frames, in order of scene and number; extracts archives first."""
    found, roots = Found(), _roots(options)
    for split in options.splits:
        paths = sorted(path for root in roots for path in root.glob(_PATTERNS[split]))
        if paths:
            found.frames[split] = [_frame(path, split) for path in paths]
        else:
            found.problems.append(missing_split(split, roots[0] / _PATTERNS[split]))
    return found


def _roots(options: Options) -> list[pathlib.Path]:
    """The folders that hold train/ and val/.

    `options.source` is an archive, a folder of archives, or a folder of extracted files.
    """
    source = options.source
    archives = [source] if source.is_file() else sorted(filter(is_archive, source.iterdir()))
    folders = [extract(archive, options.data_dir / "extracted") for archive in archives]
    return [
        folder / "nyudepthv2" if (folder / "nyudepthv2").is_dir() else folder
        for folder in folders or [source]
    ]


def _frame(path: pathlib.Path, split: str) -> Frame:
    name = f"{path.parent.name}/{path.stem}"
    scene = path.parent.name if split == "train" else ""  # the test frames all lie in one folder
    return Frame(name, scene, str(path), str(path), functools.partial(_load, path), NYU.rows)


def _load(path: pathlib.Path) -> tuple[RGB, Metres]:
    """Image and depth of one file; ValueError if a shape or a dtype is wrong."""
    import h5py  # not at the top: only two of the sources need it

    with h5py.File(path, "r") as file:
        image, depth = file["rgb"][()], file["depth"][()]
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype != np.uint8:
        raise ValueError(f"rgb is {image.dtype} {image.shape}, expected uint8 (3, H, W)")
    if depth.ndim != 2 or depth.dtype.kind != "f":
        raise ValueError(f"depth is {depth.dtype} {depth.shape}, expected floats (H, W)")
    if depth.dtype != np.float32 and not np.array_equal(depth.astype(np.float32), depth):
        raise ValueError(f"depth is {depth.dtype} and does not fit float32 without loss")
    return image.transpose(1, 2, 0), depth.astype(np.float32)
