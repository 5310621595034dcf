"""Reads .pt, .pth and .safetensors files without PyTorch, and runs no code from them.

An index, model.safetensors.index.json, stands for the files that it names.

PyTorch's files hold a pickle, which `reader_pickles` reads, and the tensors' bytes outside of it,
which are read on demand.
"""

import functools
import io
import json
import os
import pickle
import struct
import zipfile
from typing import Any, BinaryIO

import numpy as np
import safetensors

from diffdepth_jax.errors import UserError
from diffdepth_jax.torch_import.reader_objects import TYPES, StoredTensor, plain_keys
from diffdepth_jax.torch_import.reader_pickles import unpickle

_SAFETENSORS_DTYPES = {name: np.dtype(dtype) for _, name, dtype in TYPES}


def read_torch_file(path: str | os.PathLike[str]) -> Any:
    """Reads a file of torch.save, in either of its formats, or of safetensors.

    Returns:
      The saved dicts, lists, tuples, sets, numbers and strings. A tensor, a parameter or a numpy
      array becomes a `StoredTensor`, an argparse.Namespace the dict of its fields, a torch.Size a
      tuple, a torch.dtype or torch.device its name.

    Raises:
      UserError: the file cannot be read, or holds something else.
    """
    path = os.path.abspath(path)  # tensors are read later, perhaps from another working directory
    try:
        with open(path, "rb") as file:
            start = file.read(9)
            file.seek(0)
            if start.startswith(b"PK") and zipfile.is_zipfile(file):
                return _read_zip(file)
            # Safetensors starts with a length; its first byte may look like a pickle's.
            if start.startswith(b"{"):
                return _read_index(path)
            if start[8:] == b"{":
                return _read_safetensors(path)
            if start.startswith(pickle.PROTO):
                return _read_stream(file)
        raise ValueError("no whole file of torch.save or safetensors" if start else "it is empty")
    except UserError as error:
        raise UserError(f"{path} {error}") from error
    except Exception as error:  # unpickling damaged bytes can raise nearly anything
        told = getattr(error, "strerror", None) or str(error)
        reason = " ".join(told.split())[:200] or type(error).__name__
        raise UserError(
            f"{path} cannot be read ({reason}): check the path, or download or save the file again"
        ) from error


def _read_zip(file: BinaryIO) -> Any:
    """Reads the format since torch 1.6: PREFIX/data.pkl and PREFIX/data/KEY for each storage."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.split("/")[-1] == "data.pkl"]
        if not pickles:
            raise UserError("is a zip archive without data.pkl: give the file that torch.save made")
        prefix = pickles[0].removesuffix("data.pkl")
        if any(name.startswith((f"{prefix}constants.pkl", f"{prefix}code/")) for name in names):
            raise UserError("is a TorchScript archive: save the model's state_dict() instead")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise UserError("is a compressed archive: unpack it and pack it again with zip -0")
        byte_order = f"{prefix}byteorder"
        if byte_order in names and archive.read(byte_order) != b"little":
            raise ValueError("it is big-endian")
        file_size = os.fstat(file.fileno()).st_size
        pickled = archive.getinfo(f"{prefix}data.pkl")
        if pickled.file_size > file_size:
            raise ValueError("its pickle is longer than the file")
        data, storages = unpickle(io.BytesIO(archive.read(pickled)), file_size)
        for key, storage in storages.items():
            entry = archive.getinfo(f"{prefix}data/{key}")
            archive.open(entry).close()  # checks the entry's header
            file.seek(entry.header_offset + 26)  # the lengths of the name and of the extra field
            header_size = 30 + sum(struct.unpack("<HH", file.read(4)))
            storage.place(file, entry.header_offset + header_size, entry.file_size)
    return data


def _read_stream(file: BinaryIO) -> Any:
    """Reads the format before torch 1.6: five pickles, then for each storage its size and data."""
    read_next = functools.partial(unpickle, file, os.fstat(file.fileno()).st_size)
    magic = read_next()[0]
    if type(magic) is not int or magic != 0x1950A86A20F9469CFC6C:  # torch's
        raise ValueError("it is a pickle, but not one of torch.save")
    _protocol_version, system, (data, storages), keys = (read_next() for _ in range(4))
    if not system[0]["little_endian"]:
        raise ValueError("it is big-endian")
    if set(plain_keys(keys[0])) != set(storages):
        raise ValueError("its storages are not those of its tensors")
    for key in keys[0]:
        (numel,) = struct.unpack("<q", file.read(8))
        size = numel * storages[key].dtype.itemsize
        storages[key].place(file, file.tell(), size)
        file.seek(size, os.SEEK_CUR)
    return data


def _read_index(path: str) -> dict[str, StoredTensor]:
    """Reads the tensors of an index from the files beside it; nothing may be missing."""
    with open(path, encoding="utf-8") as file:
        places = json.load(file).get("weight_map")
    named = isinstance(places, dict) and all(isinstance(x, str) for x in places.values())
    if not named or not places:
        raise UserError("is JSON without a weight_map: give an index of safetensors")
    tensors: dict[str, StoredTensor] = {}
    for name in sorted(set(places.values())):
        if os.path.basename(name) != name:
            raise UserError(f"names {name}, which is not beside it")
        if not name.endswith(".safetensors"):
            raise UserError(f"is an index of {name}: give one of safetensors, or a whole file")
        tensors |= _read_safetensors(os.path.join(os.path.dirname(path), name))
    if missing := sorted(places.keys() - tensors.keys()):
        raise UserError(f"names {missing[0]}, which {places[missing[0]]} lacks: use whole files")
    return {name: tensors[name] for name in places}


def _read_safetensors(path: str) -> dict[str, StoredTensor]:
    file = safetensors.safe_open(path, framework="numpy", backend="pread")
    tensors = {}
    for name in file.keys():  # noqa: SIM118, it is no dict
        description = file.get_slice(name)
        dtype = _SAFETENSORS_DTYPES.get(description.get_dtype())
        if dtype is None:
            raise UserError(f"holds {name} as {description.get_dtype()}: save it as float32")
        read = functools.partial(file.get_tensor, name)
        tensors[name] = StoredTensor(description.get_shape(), dtype, read)
    return tensors
