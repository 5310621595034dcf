"""Arrays of .npy, .npz and HDF5 files, which are looked at before anything of them is read.

The header of a small file may state any size, and an HDF5 file may take its values from other
files. Damaged files make the libraries raise nearly any exception: callers catch all of them.
"""

import math
import zipfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    import h5py

MAX_BYTES = 2**30  # of an array; a map of 8000 x 8000 floats takes a quarter of it
_NPY_HEADERS: dict[tuple[int, int], Callable[..., Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npy(file: BinaryIO) -> np.ndarray:
    """Reads the array of an open .npy file; a ValueError if it is too large or no array of numbers.

    Damaged files raise other exceptions, too.
    """
    version = np.lib.format.read_magic(file)
    if version not in _NPY_HEADERS:
        raise ValueError(f"it has version {version} of the format, not 1.0 or 2.0")
    shape, _, dtype = _NPY_HEADERS[version](file)
    check_size(shape, dtype.itemsize)
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def npz_names(file: zipfile.ZipFile) -> list[str]:
    """The names of the arrays of an .npz file."""
    return [name.removesuffix(".npy") for name in file.namelist()]


def read_npz(file: zipfile.ZipFile, name: str) -> np.ndarray:
    """Reads one array of an .npz file, see `read_npy`."""
    member = name if name in file.namelist() else f"{name}.npy"
    with file.open(member) as opened:
        array: Any = opened
        return read_npy(array)


def check_size(shape: Sequence[int], itemsize: int) -> None:
    """Raises a ValueError unless an array of this shape is of at most `MAX_BYTES`."""
    if any(size < 0 for size in shape) or math.prod(shape) * itemsize > MAX_BYTES:
        raise ValueError(f"an array of shape {shape} has more than {MAX_BYTES >> 30} GiB")


def hdf5_names(file: "h5py.File") -> list[str]:
    """The names of the arrays at the top of an HDF5 file; what is a link to elsewhere is none."""
    import h5py  # here, because few have such files

    names = [name for name in file if _is_hard(file, name)]
    return [name for name in names if isinstance(file[name], h5py.Dataset)]


def in_hdf5(file: "h5py.File", name: str) -> bool:
    """Whether something, be it a link, has a name at the top of an HDF5 file."""
    return file.id.links.exists(name.encode())


def hdf5_array(file: "h5py.File", name: str, *, axes: int = 0) -> "h5py.Dataset":
    """The array of a name at the top of an HDF5 file, without its values.

    Args:
      file: the open file.
      name: of the array.
      axes: how many of the first axes are indexed before values are read.

    Raises:
      ValueError: it is no array of numbers or references, or of too many, or its values or the name
        lead to another file.
      KeyError: there is nothing of this name.
    """
    if not in_hdf5(file, name):
        raise KeyError(f"it has no {name}")
    if not _is_hard(file, name):
        raise ValueError(f"{name} is a link to another place or file")
    return check_hdf5(file[name], name, axes=axes)


def check_hdf5(item: Any, name: str, *, axes: int = 0) -> "h5py.Dataset":
    """The item itself if it is an array that `hdf5_array` accepts."""
    import h5py

    if not isinstance(item, h5py.Dataset):
        raise ValueError(f"{name} is a group and no array")
    if item.is_virtual or item.external:
        raise ValueError(f"{name} has its values in other files")
    if item.shape is None or len(item.shape) < axes or 0 in item.shape:
        raise ValueError(f"{name} is empty")
    if item.dtype.kind not in "biuf" and h5py.check_ref_dtype(item.dtype) is not h5py.Reference:
        raise ValueError(f"{name} has values of type {item.dtype}, not numbers")
    for shape in (item.shape[axes:], item.chunks or ()):  # a chunk is read as a whole
        check_size(shape, item.dtype.itemsize)
    return item


def _is_hard(file: "h5py.File", name: str) -> bool:
    """Whether a name stands for something in the file itself; asking opens no other file."""
    import h5py

    hard = h5py.h5l.TYPE_HARD  # ty: ignore[missing-attribute]  it is compiled
    return file.id.links.get_info(name.encode()).type == hard
