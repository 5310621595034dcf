"""The ground truth that monodepth2 exports: gt_depths.npz, which holds a depth map for each image.

Maps of several sizes are one array of objects, and numpy stores that as a pickle. A pickle may call
any function by its name. Here it gets harmless objects for the names that arrays of floats need,
and every other name is refused.
"""

import functools
import pathlib
import pickle
import zipfile
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

from diffdepth_jax.data import full_disk
from diffdepth_jax.data.archives import extract_once
from diffdepth_jax.errors import UserError
from diffdepth_jax.media.array_files import read_npz

_OBJECTS = "data.npy"  # the member of the .npz file that monodepth2 writes


def split_maps(path: pathlib.Path, folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes each map of an .npz file to a .npy file below `folder`, once; returns them in order.

    The .npz file holds one array [N, H, W], one array of N arrays [H, W], or N arrays [H, W]. The
    .npy files hold float32.

    Raises:
      UserError: the file cannot be read, or holds something else.
    """
    try:
        with full_disk.explained(folder, f"the maps of {path}"):
            whole = extract_once(path, folder, functools.partial(_write_maps, path))
    except UserError:
        raise
    except Exception as error:  # unpickling damaged bytes can raise nearly anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{path} cannot be read ({reason}): export it again, or write the maps with"
            " np.savez(file, *maps), each an array of floats [H, W] in metres"
        ) from error
    return sorted(whole.iterdir())


def _write_maps(path: pathlib.Path, folder: pathlib.Path) -> None:
    for number, depth in enumerate(_read_maps(path)):
        if depth.ndim != 2 or depth.dtype.kind != "f":
            raise ValueError(f"map {number + 1} is {depth.dtype} {depth.shape}, not floats (H, W)")
        np.save(folder / f"{number:06d}.npy", depth.astype(np.float32))


def _read_maps(path: pathlib.Path) -> Iterable[np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        if archive.namelist() != [_OBJECTS]:
            return [read_npz(archive, name) for name in archive.namelist()]
        with archive.open(_OBJECTS) as member:
            if _read_dtype(member).hasobject:
                return [each.values for each in _Unpickler(member).load().values]
        return read_npz(archive, _OBJECTS)


def _read_dtype(file: Any) -> np.dtype:
    """Reads the header of a .npy file; behind it the array follows."""
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)[2]
    return np.lib.format.read_array_header_2_0(file)[2]


class _Dtype:
    """A numpy.dtype of floats or objects, as numpy pickles it."""

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in ("f2", "f4", "f8", "O8"):
            raise ValueError(f"it holds values of type {code!r}, not floats")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """A numpy.ndarray as numpy pickles it: first an empty array, then its state."""

    def __init__(self, *_: Any) -> None:
        self.values: Any = ()

    def __setstate__(self, state: Any) -> None:
        _version, shape, pickled_dtype, fortran_order, data = state
        if pickled_dtype.dtype.hasobject:
            self.values = list(data)
            return
        data = data.encode("latin1") if isinstance(data, str) else data  # of Python 2
        order = "F" if fortran_order else "C"
        self.values = np.frombuffer(data, pickled_dtype.dtype).reshape(shape, order=order)


# All names that a pickle may use, with those of older numpy, and the object that it gets for each.
_KNOWN: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): "numpy.ndarray",
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("_codecs", "encode"): str.encode,
}


class _Unpickler(pickle._Unpickler):
    """Knows only these names. The unpickler in C would take memory as a memo index tells it to."""

    def __init__(self, file: Any) -> None:
        super().__init__(file, encoding="latin1")  # decodes every string of Python 2

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise ValueError(f"it names {f'{module}.{name}'[:99]!r}, which is refused")
        return _KNOWN[module, name]

    def get_extension(self, code: int) -> None:
        raise ValueError(f"it has the extension code {code}, which is refused")

    def refuse(self) -> None:
        """BYTEARRAY8, for which Python takes as much memory as it states."""
        raise ValueError("it has a bytearray, which is refused")

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        **pickle._Unpickler.dispatch,
        pickle.BYTEARRAY8[0]: refuse,
    }
