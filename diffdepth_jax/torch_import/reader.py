"""Reads .pt, .pth and .safetensors files without PyTorch, and runs no code from them.

PyTorch's files hold a pickle, and a pickle may name any function and call it. Here every name that
it may use stands for something of this module that only holds data; any other ends the reading. The
tensors' bytes lie outside the pickle and are read when asked for.
"""

import functools
import io
import math
import os
import pickle
import pickletools
import struct
import zipfile

import ml_dtypes
import numpy as np
import safetensors

from diffdepth_jax.errors import UserError

# A type's name in torch's storages and in safetensors, and the type here.
_TYPES = (
    ("Double", "F64", np.float64),
    ("Float", "F32", np.float32),
    ("Half", "F16", np.float16),
    ("BFloat16", "BF16", ml_dtypes.bfloat16),
    ("Long", "I64", np.int64),
    ("Int", "I32", np.int32),
    ("Short", "I16", np.int16),
    ("Char", "I8", np.int8),
    ("Byte", "U8", np.uint8),
    ("Bool", "BOOL", np.bool_),
)
_STORAGE_DTYPES = {f"torch.{name}Storage": np.dtype(dtype) for name, _, dtype in _TYPES}
_SAFETENSORS_DTYPES = {name: np.dtype(dtype) for _, name, dtype in _TYPES}


def read_torch_file(path):
    """Reads a file of torch.save, in either of its formats, or of safetensors.

    Returns what was saved: dicts, lists, tuples, sets, numbers, strings and, for each tensor,
    parameter or numpy array, a `StoredTensor`. An argparse.Namespace becomes the dict of its
    fields, a torch.Size a tuple; a torch.dtype and a torch.device become their names.
    """
    path = os.path.abspath(path)  # tensors are read later, perhaps from another working directory
    try:
        with open(path, "rb") as file:
            start = file.read(9)
            file.seek(0)
            if start.startswith(b"PK") and zipfile.is_zipfile(file):
                return _read_zip(file)
            # Before the stream format: safetensors starts with a length, whose first byte is any.
            if start[8:] == b"{":
                return _read_safetensors(path)
            if start.startswith(pickle.PROTO):
                return _read_stream(file)
        raise ValueError("no whole file of torch.save or safetensors" if start else "it is empty")
    except UserError as error:
        raise UserError(f"{path} {error}") from error
    except Exception as error:  # unpickling damaged bytes can raise nearly anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{path} cannot be read ({reason}): check the path, or download or save the file again"
        ) from error


class _Inert:
    """What a pickle may hold: its BUILD opcode finds this `__setstate__` and writes nothing."""

    def __setstate__(self, state):
        raise ValueError(f"its pickle sets attributes of a {type(self).__name__}")


class StoredTensor(_Inert):
    """A tensor that is still in its file; every `numpy()` reads it anew."""

    def __init__(self, shape, dtype, read):
        self.shape = tuple(shape)
        self.dtype = dtype
        self._read = read

    def numpy(self) -> np.ndarray:
        """The values, in an array that is the caller's own."""
        return self._read()

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.numpy(), dtype)

    def __repr__(self):
        return f"StoredTensor({self.shape}, {self.dtype})"


class _Storage(_Inert):
    """A flat array in a file, which tensors view; `place` says where."""

    def __init__(self, dtype, numel):
        self.dtype = dtype
        self.numel = numel

    def place(self, file, position, size):
        """Takes the storage to be the `size` bytes at `position` of the file."""
        size = min(size, os.fstat(file.fileno()).st_size - position)
        if size < self.numel * self.dtype.itemsize:
            raise ValueError(f"a storage has {size} bytes for {self.numel} {self.dtype}")
        self._path, self._position = file.name, position

    def read(self, offset, span, shape, strides):
        """A tensor's values, which lie in the `span` elements from `offset` on."""
        itemsize = self.dtype.itemsize
        start = self._position + offset * itemsize
        values = np.fromfile(self._path, self.dtype, span, offset=start)
        if len(values) < span:
            raise UserError(f"{self._path} became shorter while it was read: restore it")
        strides = [stride * itemsize for stride in strides]
        return np.asarray(np.lib.stride_tricks.as_strided(values, shape, strides), order="C")


def _rebuild_tensor(storage, offset, shape, strides, _requires_grad, _hooks, metadata=None):
    if (
        len(shape) > 64  # the most that numpy and torch can have
        or any(type(n) is not int or not 0 <= n < 2**48 for n in (offset, *shape, *strides))
        or math.prod(max(n, 1) for n in shape) > max(storage.numel, 2**24)  # if expanded
        or metadata  # says that the values are to be negated or conjugated
    ):
        raise ValueError("the layout of a tensor is none that this reader knows")
    steps = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    span = 0 if 0 in shape else 1 + steps
    if offset + span > storage.numel:
        raise ValueError(f"a tensor of shape {shape} reaches beyond its storage")
    read = functools.partial(storage.read, offset, span, shape, strides)
    return StoredTensor(shape, storage.dtype, read)


class _OrderedDict(dict):
    """A collections.OrderedDict or Counter, without the attributes that torch gives it."""

    def __setstate__(self, state):
        pass


class _Namespace(dict):
    """An argparse.Namespace as the dict of its fields."""

    def __setstate__(self, state):
        self.update(state)


class _PickledDtype(_Inert):
    """A numpy.dtype of numbers or text, as numpy pickles it."""

    def __init__(self, code, *_):
        if type(code) is not str or np.dtype(code).kind not in "biufcSU":
            raise ValueError("it holds a numpy array of neither numbers nor text")
        self.dtype = np.dtype(code)

    def __setstate__(self, state):
        self.dtype = self.dtype.newbyteorder(state[1])


class _PickledArray(StoredTensor):
    """A numpy.ndarray as numpy pickles it: an empty one, which then gets its state."""

    def __init__(self, *_):
        super().__init__((0,), np.dtype(np.int8), lambda: np.zeros(0, np.int8))

    def __setstate__(self, state):
        _version, shape, pickled_dtype, fortran_order, data = state
        values = np.frombuffer(data, pickled_dtype.dtype)
        values = values.reshape(shape, order="F" if fortran_order else "C")
        super().__init__(values.shape, values.dtype, values.copy)


class _Function(_Inert):
    """A function of ours; unlike a bare one it has no attributes that BUILD could write."""

    def __init__(self, function):
        self._function = function

    def __call__(self, *arguments):
        return self._function(*arguments)


# All that a pickle may name, and what it gets.
_KNOWN = {
    "torch._utils._rebuild_tensor_v2": _Function(_rebuild_tensor),
    "torch._utils._rebuild_parameter": _Function(lambda data, _requires_grad, _hooks: data),
    "torch.Size": _Function(lambda sizes: tuple(sizes)),
    "torch.device": _Function(lambda kind, *index: ":".join([kind, *(f"{i:d}" for i in index)])),
    "collections.OrderedDict": _OrderedDict,
    "collections.Counter": _OrderedDict,
    "argparse.Namespace": _Namespace,
    "builtins.set": _Function(lambda items: set(items)),
    "builtins.frozenset": _Function(lambda items: frozenset(items)),
    "builtins.bytes": _Function(lambda: b""),  # the empty ones; all others are
    "_codecs.encode": _Function(lambda text, _latin1: text.encode("latin1")),
    "numpy.dtype": _Function(_PickledDtype),
    "numpy.ndarray": "numpy.ndarray",
    "numpy._core.multiarray._reconstruct": _Function(_PickledArray),
    "numpy._core.multiarray.scalar": _Function(
        lambda pickled_dtype, data: np.frombuffer(data, pickled_dtype.dtype)[0].item()
    ),
    **{name: name for name in _STORAGE_DTYPES},
    **{f"torch.{dtype}": f"torch.{dtype}" for dtype in _STORAGE_DTYPES.values()},
}
_OLDER_NAMES = {"__builtin__": "builtins", "numpy.core.multiarray": "numpy._core.multiarray"}


class _Unpickler(pickle.Unpickler):
    """Makes what `_KNOWN` says, and storages, and refuses every other name."""

    def __init__(self, data):
        super().__init__(io.BytesIO(data), encoding="latin1")  # Python 2's strings never fail in it
        self.storages = {}  # by key

    def find_class(self, module, name):
        name = f"{_OLDER_NAMES.get(module, module)}.{name}"
        if name not in _KNOWN:
            raise UserError(f"names {name[:99]!r}, which is refused: save a state_dict() alone")
        return _KNOWN[name]

    def persistent_load(self, pid):
        _kind, storage_type, key, _location, numel, *view = pid
        dtype = _STORAGE_DTYPES[storage_type]
        storage = self.storages.setdefault(key, _Storage(dtype, numel))
        if type(numel) is not int or (dtype, numel) != (storage.dtype, storage.numel) or any(view):
            raise ValueError("a storage is described in two ways or as part of another")
        return storage


def _unpickle(file):
    """The data of the pickle that starts here, and the storages that it views, by key."""
    start = file.tell()
    for opcode, argument, position in pickletools.genops(file):
        # A memo index takes memory up to it; an extension code might not pass by find_class.
        index = argument if opcode.name.endswith("PUT") else 0
        if index > position - start or opcode.name.startswith("EXT"):
            raise ValueError(f"its pickle has the opcode {opcode.name} {argument}")
    end = file.tell()
    file.seek(start)
    unpickler = _Unpickler(file.read(end - start))
    return unpickler.load(), unpickler.storages


def _read_zip(file):
    """The format since torch 1.6: PREFIX/data.pkl and, for each storage, PREFIX/data/KEY."""
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
        data, storages = _unpickle(io.BytesIO(archive.read(f"{prefix}data.pkl")))
        for key, storage in storages.items():
            entry = archive.getinfo(f"{prefix}data/{key}")
            archive.open(entry).close()  # checks the entry's header
            file.seek(entry.header_offset + 26)  # the lengths of the name and of the extra field
            header_size = 30 + sum(struct.unpack("<HH", file.read(4)))
            storage.place(file, entry.header_offset + header_size, entry.file_size)
    return data


def _read_stream(file):
    """The format before torch 1.6: five pickles, then each storage behind its element count."""
    if _unpickle(file)[0] != 0x1950A86A20F9469CFC6C:  # what torch writes first
        raise ValueError("it is a pickle, but not one of torch.save")
    _protocol_version, system, (data, storages), keys = (_unpickle(file) for _ in range(4))
    if not system[0]["little_endian"]:
        raise ValueError("it is big-endian")
    if set(keys[0]) != set(storages):
        raise ValueError("its storages are not those of its tensors")
    for key in keys[0]:
        (numel,) = struct.unpack("<q", file.read(8))
        size = numel * storages[key].dtype.itemsize
        storages[key].place(file, file.tell(), size)
        file.seek(size, os.SEEK_CUR)
    return data


def _read_safetensors(path):
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
