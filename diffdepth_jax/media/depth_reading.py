"""Reads depth maps, and masks of their valid pixels, from files of any program."""

import dataclasses
import math
import pathlib
import re
import zipfile
from collections.abc import Sequence

import numpy as np
from absl import logging
from jaxtyping import Bool, Float32

from diffdepth_jax.errors import UserError
from diffdepth_jax.media.array_files import (
    check_size,
    hdf5_array,
    hdf5_names,
    in_hdf5,
    npz_names,
    read_npy,
    read_npz,
)
from diffdepth_jax.media.photo_formats import open_file, open_picture
from diffdepth_jax.media.reading import FilePath, unreadable

_EXPECTED = "one channel of metres (floats), or of metres times depth_scale (16-bit integers)"
# Pillow stretches or shifts the values of other formats, such as JPEG 2000.
_PICTURE_FORMATS = ("PNG", "TIFF", "PPM")  # PPM stands for PGM and PFM, too
_PILLOWS_MAX = 65535  # to which Pillow stretches the values of a PGM file
# A larger share of pixels at an integer's highest value are hardly saturated ones.
_MANY = 0.01


@dataclasses.dataclass(frozen=True)
class DepthForm:
    """How depth files hold metres. Floats are metres; nan, inf and what is not positive is invalid.

    Attributes:
      scale: integers of more than 8 bits are metres times this; None: they are refused.
      invalid_values: further values in the files that mean that nothing was measured.
      eight_bit_scale, eight_bit_offset: an integer of 8 bits stands for (integer + offset) / scale
        metres. A scale of 0: they are refused, because most such files are only pictures.
    """

    scale: float | None = 1000.0
    invalid_values: Sequence[float] = ()
    eight_bit_scale: float = 0.0
    eight_bit_offset: float = 0.0

    def __post_init__(self) -> None:
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0):
            raise UserError(
                f"depth_scale {self.scale}: must be positive; 1000 for files in millimetres"
            )

    def metres(self, integers: np.ndarray) -> np.ndarray:
        """Brings the integers of a file to float32 metres; `scale` is not None."""
        values = integers.astype(np.float32)
        if integers.dtype.itemsize == 1:
            return (values + np.float32(self.eight_bit_offset)) / np.float32(self.eight_bit_scale)
        return values / np.float32(self.scale)


def read_depth(
    path: FilePath, form: DepthForm, name: str = "depth"
) -> Float32[np.ndarray, "height width 1"]:
    """Reads depth in metres [H, W, 1] from a PNG, TIFF, PGM, PFM, .npy, .npz or HDF5 file.

    An archive, .npz or HDF5, holds one array, or one of this name among others. Depth is 0 where
    the file holds one of the form's `invalid_values`; 0, nan and inf stay as they are. Where many
    pixels hold the highest integer, a warning says once that it may mean that nothing was measured.

    Raises:
      UserError: the file cannot be read, or holds no depth in metres.
    """
    values = read_values("depth file", path, name)
    if values.dtype.itemsize < 2 and values.dtype.kind in "ui" and not form.eight_bit_scale:
        raise UserError(
            f"depth file {path} has 8 bits, most likely a picture scaled for viewing and not"
            f" metric depth; expected {_EXPECTED}: export it again from the source, or, if you"
            " know its scale, set data.folder.eight_bit_scale"
        )
    if values.dtype.kind not in "fiu":
        raise UserError(f"depth file {path} has dtype {values.dtype}; expected {_EXPECTED}")
    is_float = values.dtype.kind == "f"
    if form.scale is None and not is_float:
        raise UserError(
            f"{path} holds integers: give --predictions_scale, 256 for metres x 256 (KITTI), 1000 "
            "for millimetres"
        )
    depth = values.astype(np.float32) if is_float else form.metres(values)
    depth[np.isin(values, _in_type_of(values, form.invalid_values))] = 0
    _warn_of_highest(path, values, depth)
    return depth


def _in_type_of(values: np.ndarray, numbers: Sequence[float]) -> np.ndarray:
    """Numbers as a file of floats holds them: 65.535 is none of float32."""
    return np.asarray(numbers, values.dtype if values.dtype.kind == "f" else None)


def read_mask(path: FilePath) -> Bool[np.ndarray, "height width 1"]:
    """Reads a mask [H, W, 1] from a .npy file or picture; 0 and nan are False, the rest is True.

    Raises:
      UserError: the file cannot be read, or has several channels.
    """
    values = read_values("mask file", path)
    return (values != 0) & (values == values)


def read_values(kind: str, path: FilePath, name: str = "depth") -> np.ndarray:
    """Reads the numbers of a file as [H, W, 1], in the type of the file.

    `name` is that of the array in an archive.

    Raises:
      UserError: `kind`, such as "depth file", cannot be read, or has several channels.
    """
    reader = _READERS.get(pathlib.Path(path).suffix.lower(), _read_picture)
    try:
        values = reader(path, name)
    except UserError:
        raise
    except Exception as error:  # decoders raise nearly anything about damaged files
        raise unreadable(kind, path, error) from error
    if values.ndim not in (2, 3) or values.shape[2:] not in ((), (1,)):
        raise UserError(f"{kind} {path} has shape {values.shape}; expected [H, W] or [H, W, 1]")
    return values.reshape(*values.shape[:2], 1)


def _read_array(path: FilePath, name: str) -> np.ndarray:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return read_npz(archive, _name_among(npz_names(archive), name, path))
    with open(path, "rb") as file:
        return read_npy(file)


def _read_hdf5(path: FilePath, name: str) -> np.ndarray:
    import h5py  # here, because few have such files

    with h5py.File(path, "r") as file:
        names = hdf5_names(file)
        if not in_hdf5(file, name):
            name = _name_among(names, name, path)
        return np.asarray(hdf5_array(file, name))


def _name_among(names: Sequence[str], name: str, path: FilePath) -> str:
    """Which array is meant: the one of this name, or as depth the only one that there is."""
    if name in names:
        return name
    if name != "depth" or len(names) != 1:
        found, only = ", ".join(list(names)[:5]) or "nothing", "one array, or " * (name == "depth")
        raise UserError(f"{path} holds {found}: expected {only}one named {name}")
    return names[0]


def _read_picture(path: FilePath, name: str) -> np.ndarray:
    with open_file(path) as file, open_picture(file) as picture:
        if picture.format not in _PICTURE_FORMATS:
            raise UserError(
                f"{path} is of format {picture.format}, in which values are not kept as they are; "
                "expected PNG, TIFF, PGM, PFM, .npy, .npz or HDF5"
            )
        check_size(picture.size, 8)  # bytes that the values take on their way to metres
        values = np.array(picture)
        if picture.format == "PPM" and picture.mode == "F":
            _warn_of_scale(path, picture.info["scale"])
        if picture.format == "PPM" and picture.mode == "I":
            return np.rint(values * (_pgm_maximum(path) / _PILLOWS_MAX)).astype(np.int32)
        return values


def _warn_of_scale(path: FilePath, scale: float) -> None:
    """Of a PFM file: programs disagree on what its scale means, and most pass over it."""
    if scale != 1:
        text = "%s states a scale of %g, which is not applied: its numbers are taken as they are"
        logging.log_first_n(logging.WARNING, text, 1, path, scale)


def _pgm_maximum(path: FilePath) -> int:
    """Returns the highest value that a PGM file's header states: "P5 WIDTH HEIGHT MAXIMUM"."""
    with open(path, "rb") as file:
        header = re.sub(rb"#[^\r\n]*", b"", file.read(1000))
    return int(header.split(maxsplit=4)[3])


_READERS = {".npy": _read_array, ".npz": _read_array, ".h5": _read_hdf5, ".hdf5": _read_hdf5}


def _warn_of_highest(path: FilePath, values: np.ndarray, depth: np.ndarray) -> None:
    if values.dtype.kind == "f":
        return
    highest = min(np.iinfo(values.dtype).max, _PILLOWS_MAX)
    share = np.mean((values == highest) & (depth > 0))
    if share > _MANY:
        logging.log_first_n(
            logging.WARNING,
            "%.0f %% of the pixels of %s hold the highest value %d, which is read as %.1f m; if it "
            "means that nothing was measured there, set data.folder.invalid_values to (%d,)",
            1,
            100 * share,
            path,
            highest,
            depth.max(),
            highest,
        )
