"""NYU's labelled file, nyu_depth_v2_labeled.mat, with splits.mat.

The file has MATLAB's version 7.3, which is HDF5. h5py shows the axes in reverse order: images are
[N, 3, W, H], depths and rawDepths [N, W, H].
"""

import functools
import pathlib
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from diffdepth_jax.data.frames import Found, Frame, Metres, Options
from diffdepth_jax.data.lists import resolve
from diffdepth_jax.data.nyu_depth.hdf5 import checked
from diffdepth_jax.data.nyu_depth.matlab import read_numbers
from diffdepth_jax.datasets.samples import RGB
from diffdepth_jax.errors import UserError
from diffdepth_jax.media.array_files import check_hdf5, hdf5_array
from diffdepth_jax.media.camera import NYU

if TYPE_CHECKING:
    import h5py

FILE, SPLITS_FILE = "nyu_depth_v2_labeled.mat", "splits.mat"
_ADVICE = "; data/README.md says where to get it"
_LONGEST_TEXT = 1000  # letters of a scene's name
_LARGEST_SPLITS = 2**20  # bytes; the published file has 2.6 KB
_INDICES = {"train": "trainNdxs", "test": "testNdxs"}


def find(options: Options, *, depth: str) -> Found:
    """Finds the frames of each split in the order of splits.mat.

    Args:
      options: the options of the command line.
      depth: name of the depth in the file: "depths" (holes filled) or "rawDepths" (as measured).

    Raises:
      UserError: a file is damaged, or the two files do not belong together.
    """
    found, source = Found(), options.source
    is_the_file = source.suffix == ".mat"
    folders = [source.parent if is_the_file else source, *options.extracted]
    files = [source] if is_the_file else [folder / FILE for folder in folders]
    path = resolve(files, "labelled file", found, _ADVICE)
    splits_path = resolve([folder / SPLITS_FILE for folder in folders], "splits", found, _ADVICE)
    if path is None or splits_path is None:
        return found
    scenes, types = _read_scenes(path, depth)
    splits = _read_splits(splits_path, len(scenes))
    for split in options.splits:
        found.frames[split] = [
            _frame(path, index, scenes[index], types[index], depth) for index in splits[split]
        ]
    return found


def _frame(path: pathlib.Path, index: int, scene: str, scene_type: str, depth: str) -> Frame:
    # The lists of `sync` name the same frame so: its scene type and its index from 0.
    name, place = f"{scene_type}/rgb_{index:05d}", f"{path}, frame {index + 1}"
    load = functools.partial(_load, path, index, depth)
    return Frame(name, scene, f"{place} of images", f"{place} of {depth}", load, NYU.rows)


def _load(path: pathlib.Path, index: int, depth: str) -> tuple[RGB, Metres]:
    import h5py  # not at the top: only two of the sources need it

    with h5py.File(path, "r") as file:
        images, depths = (hdf5_array(file, name, axes=1) for name in ("images", depth))
        return checked(images[index].transpose(0, 2, 1), depths[index].T)


def _read_scenes(path: pathlib.Path, depth: str) -> tuple[list[str], list[str]]:
    """Scene and scene type of each frame; checks that the file holds as many of each as frames."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            shapes = [hdf5_array(file, name, axes=1).shape for name in ("images", depth)]
            scenes = _read_cells(file, "scenes")
            types = _read_cells(file, "sceneTypes") if "sceneTypes" in file else scenes
    except Exception as error:  # the library raises nearly anything about damaged files
        raise UserError(f"{path} cannot be read ({error}); fetch it again") from error
    counts = {shapes[0][0], shapes[1][0], len(scenes), len(types)}
    if len(counts) != 1 or shapes[0][2:] != shapes[1][1:]:
        raise UserError(
            f"{path}: images {shapes[0]}, {depth} {shapes[1]}, {len(scenes)} scenes and"
            f" {len(types)} scene types do not belong together; fetch it again"
        )
    return scenes, types


def _read_cells(file: "h5py.File", name: str) -> list[str]:
    """Texts of a MATLAB cell array, which holds references to arrays of UTF-16 code units."""
    cells = hdf5_array(file, name)[()].reshape(-1)
    texts = [check_hdf5(file[cell], f"a text of {name}") for cell in cells]
    if any(text.size > _LONGEST_TEXT for text in texts):
        raise ValueError(f"a text of {name} has more than {_LONGEST_TEXT} letters")
    return ["".join(chr(unit) for unit in text[()].reshape(-1)) for text in texts]


def _read_splits(path: pathlib.Path, num_frames: int) -> dict[str, list[int]]:
    """Indices, from 0, of the frames of each split."""
    try:
        if path.stat().st_size > _LARGEST_SPLITS:
            raise ValueError("it is much larger than the published file")
        arrays = read_numbers(path.read_bytes(), _INDICES.values())
        splits = {split: _indices(arrays.get(name), name) for split, name in _INDICES.items()}
    except (OSError, ValueError, struct.error, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}); fetch it again") from error
    shared = set(splits["train"]) & set(splits["test"])
    beyond = [
        index + 1 for index in splits["train"] + splits["test"] if not 0 <= index < num_frames
    ]
    if shared or beyond:
        raise UserError(
            f"{path}: {len(shared)} frames are in both splits and {len(beyond)} not among the"
            f" {num_frames} of {FILE}; fetch both files again"
        )
    return splits


def _indices(array: np.ndarray | None, name: str) -> list[int]:
    """The numbers of an array of MATLAB, which counts from 1, as indices from 0."""
    if array is None or not array.size:
        raise ValueError(f"{name} is no array of numbers")
    if not np.array_equal(array, np.rint(array)):
        raise ValueError(f"{name} has numbers that are no integers")
    return [int(index) - 1 for index in array.reshape(-1)]
