"""The weights of a model directory: `model.safetensors`, one file that checks itself.

The name of an array is its path, joined by dots, such as `params.backbone.block0.fc1.kernel`. What
safetensors calls metadata says what belongs to the weights, see `Header`, and holds a checksum of
names and values.
"""

import dataclasses
import functools
import json
import os
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any, Self

import jax
import numpy as np
import safetensors
import safetensors.numpy

from diffdepth_jax.arrays import Variables
from diffdepth_jax.errors import UserError
from diffdepth_jax.whole_files import whole_file

FILE = "model.safetensors"
_Arrays = Mapping[str, np.ndarray]
_TEXTS: dict[str, Any] = {"model": dict, "step": int, "score": int | float}  # see `Header`


@dataclasses.dataclass(frozen=True)
class Header:
    """What is known of weights beside their values.

    Attributes:
      model: the fields of the configuration's `model` group that they were written for; None: not
        known.
      step: of training.
      score: of the evaluation there, lower is better.
      checked: whether the file had a checksum; it was then found to be right.
    """

    model: dict[str, Any] | None = None
    step: int | None = None
    score: float | None = None
    checked: bool = dataclasses.field(default=False, compare=False)

    def texts(self) -> dict[str, str]:
        """As safetensors keeps them."""
        return {name: json.dumps(getattr(self, name)) for name in _TEXTS if self._has(name)}

    def _has(self, name: str) -> bool:
        return getattr(self, name) is not None

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> Self:
        """The inverse of `texts`; other programs' texts are left out.

        Raises:
          ValueError: a text is not of its type.
        """
        found = {name: json.loads(texts[name]) for name in _TEXTS if name in texts}
        for name, value in found.items():
            if not isinstance(value, _TEXTS[name]) or isinstance(value, bool):
                raise ValueError(f"its {name} is {texts[name][:40]}")
        return cls(**found, checked="checksum" in texts)


def write_weights(
    directory: str | os.PathLike, variables: Variables, header: Header, *, half: bool = False
) -> None:
    """Writes the file into a directory, whole or not at all; with `half` floats as float16."""
    # Here, because Flax takes .15 s to import, and reading needs nothing of it.
    from flax.traverse_util import flatten_dict

    arrays = {
        name: _stored(np.asarray(leaf), half)
        for name, leaf in flatten_dict(variables, sep=".").items()
    }
    texts = header.texts()
    texts["checksum"] = _checksum(arrays, texts)
    with whole_file(pathlib.Path(directory) / FILE) as unfinished:
        unfinished.touch()
        mode = unfinished.stat().st_mode  # by the umask; safetensors would leave 0600
        safetensors.numpy.save_file(arrays, unfinished, texts)
        unfinished.chmod(mode)


def read_weights(directory: str | os.PathLike) -> tuple[dict[str, Any], Header]:
    """The nested variables of a directory, and their header. What is a float comes as float32.

    Raises:
      UserError: the file is damaged, holds no parameters, or one that is not finite.
    """
    path = pathlib.Path(directory) / FILE
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            texts, arrays = dict(file.metadata() or {}), file.get_tensors()
        header, checksum = Header.of(texts), texts.pop("checksum", None)
        if checksum not in (None, _checksum(arrays, texts)):  # other programs write none
            raise ValueError("its checksum differs")
        variables = _nested({name: _restored(x) for name, x in arrays.items()})
    except (safetensors.SafetensorError, ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it from a backup") from error
    check_values(path, variables)
    return variables, header


def check_values(path: pathlib.Path, variables: Variables) -> None:
    """Raises a UserError if variables of a file or folder are none, or not finite."""
    if not jax.tree.leaves(variables.get("params", {})):
        raise UserError(f"{path} holds no parameters of a model: restore it from a backup")
    for name, leaf in jax.tree.leaves_with_path(variables):
        count = np.size(leaf) - np.isfinite(leaf).sum() if _is_float(leaf) else 0
        if count:
            where = jax.tree_util.keystr(name, simple=True, separator="/")
            raise UserError(
                f"{path}: {count} of {np.size(leaf)} numbers of {where} are not finite, so that "
                "the model predicts nothing: restore it from a backup, or train it anew"
            )


def _stored(array: np.ndarray, half: bool) -> np.ndarray:
    """In the order in which safetensors takes the memory for granted."""
    dtype = np.float16 if half and _is_float(array) else array.dtype
    return np.asarray(array, dtype, order="C")


def _nested(arrays: _Arrays) -> dict[str, Any]:
    """The inverse of Flax's `flatten_dict`."""
    variables: dict[str, Any] = {}
    for name, array in arrays.items():
        *path, last = name.split(".")
        tree = functools.reduce(_below, path, variables)
        if last in tree:
            raise ValueError(f"{name} is an array and a group of arrays")
        tree[last] = array
    return variables


def _below(tree: dict[str, Any], key: str) -> dict[str, Any]:
    below = tree.setdefault(key, {})
    if not isinstance(below, dict):
        raise ValueError(f"{key} is an array and a group of arrays")
    return below


def _restored(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False) if _is_float(array) else array


def _is_float(array: np.ndarray) -> bool:
    """Also of bfloat16, whose kind is none of numpy's."""
    return jax.dtypes.issubdtype(array.dtype, np.floating)


def _checksum(arrays: _Arrays, texts: Mapping[str, str]) -> str:
    """CRC-32 of all names, types, shapes, values and texts."""
    checksum = zlib.crc32(json.dumps(sorted(texts.items())).encode())
    for name, array in sorted(arrays.items()):
        checksum = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), checksum)
        checksum = zlib.crc32(array.reshape(-1).view(np.uint8).data, checksum)
    return f"{checksum:08x}"
