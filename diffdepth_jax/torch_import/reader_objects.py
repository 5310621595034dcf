"""What a pickle of PyTorch gets for the names in it: harmless objects that run no code of a file.

A pickle may call any function by its name. `KNOWN` lists all names that are understood.
"""

import functools
import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

from diffdepth_jax.errors import UserError

# (name of a type in torch's storages, its name in safetensors, the numpy type)
TYPES = (
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
STORAGE_DTYPES = {f"torch.{name}Storage": np.dtype(dtype) for name, _, dtype in TYPES}


class _Inert:
    """An object whose attributes a pickle cannot set: the opcode BUILD calls `__setstate__`.

    Slots keep it small: a pickle may hold very many.
    """

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise ValueError(f"its pickle sets attributes of a {type(self).__name__}")


class StoredTensor(_Inert):
    """A tensor that is still in its file; every call of `numpy()` reads it again."""

    __slots__ = ("_read", "dtype", "shape")

    def __init__(
        self, shape: Sequence[int], dtype: np.dtype, read: Callable[[], np.ndarray]
    ) -> None:
        self.shape = tuple(shape)
        self.dtype = dtype
        self._read = read

    def numpy(self) -> np.ndarray:
        """Returns the values in a new array, which the caller may change."""
        return self._read()

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.numpy(), dtype)

    def __repr__(self) -> str:
        return f"StoredTensor({self.shape}, {self.dtype})"


class Storage(_Inert):
    """A flat array in a file; tensors are views of it. `place` tells where it lies."""

    __slots__ = ("_path", "_position", "dtype", "numel")

    def __init__(self, dtype: np.dtype, numel: int) -> None:
        self.dtype = dtype
        self.numel = numel

    def place(self, file: BinaryIO, position: int, size: int) -> None:
        """Sets the place: `size` bytes from `position` of the file on."""
        size = min(size, os.fstat(file.fileno()).st_size - position)
        if size < self.numel * self.dtype.itemsize:
            raise ValueError(f"a storage has {size} bytes for {self.numel} {self.dtype}")
        self._path, self._position = file.name, position

    def read(
        self, offset: int, span: int, shape: Sequence[int], strides: Sequence[int]
    ) -> np.ndarray:
        """Returns the values of a tensor that lies in the `span` elements from `offset` on."""
        itemsize = self.dtype.itemsize
        start = self._position + offset * itemsize
        values = np.fromfile(self._path, self.dtype, span, offset=start)
        if len(values) < span:
            raise UserError(f"{self._path} became shorter while it was read: restore it")
        strides = [stride * itemsize for stride in strides]
        return np.asarray(np.lib.stride_tricks.as_strided(values, shape, strides), order="C")


def _rebuild_tensor(
    storage: Storage,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    _requires_grad: bool,
    _hooks: Any,
    metadata: Any = None,
) -> StoredTensor:
    if (
        type(shape) is not tuple
        or type(strides) is not tuple
        or max(len(shape), len(strides)) > 64  # numpy and torch allow no more
        or any(type(n) is not int or not 0 <= n < 2**48 for n in (offset, *shape, *strides))
        or math.prod(max(n, 1) for n in shape) > max(storage.numel, 2**24)  # views may repeat
        or metadata  # asks to negate or conjugate the values
    ):
        raise ValueError("the layout of a tensor is none that this reader knows")
    steps = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    span = 0 if 0 in shape else 1 + steps
    if offset + span > storage.numel:
        raise ValueError(f"a tensor of shape {shape} reaches beyond its storage")
    read = functools.partial(storage.read, offset, span, shape, strides)
    return StoredTensor(shape, storage.dtype, read)


def is_plain_key(key: Any) -> bool:
    """Whether a key is hashed quickly, and has the hash of few other keys.

    Integers may be of any size, and those that differ by a multiple of 2**61 - 1 have one hash.
    """
    return type(key) in _PLAIN_KEYS or (type(key) is int and abs(key) < 2**60)


_PLAIN_KEYS = (str, bytes, bool, float, type(None))


def plain_keys(items: Iterable[Any]) -> list[Any]:
    """The items as a list; a ValueError unless all are plain."""
    items = list(items)
    if not all(map(is_plain_key, items)):
        raise ValueError("a key or an item of a set is neither text nor a number")
    return items


class _OrderedDict(dict):
    """A collections.OrderedDict or Counter; drops the attributes that torch gives it."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


def _ordered_dict(items: Any = ()) -> _OrderedDict:
    if not isinstance(items, dict):  # whose keys are known
        items = [(key, value) for key, value in items]
        plain_keys(key for key, _ in items)
    return _OrderedDict(items)


class _Namespace(dict):
    """An argparse.Namespace as the dict of its fields."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise ValueError("the state of a Namespace is no dict")
        self.update(state)


class _PickledDtype(_Inert):
    """A numpy.dtype of numbers or text, as numpy pickles it."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *_: Any) -> None:
        if type(code) is not str or len(code) > 16 or np.dtype(code).kind not in "biufcSU":
            raise ValueError("it holds a numpy array of neither numbers nor text")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _PickledArray(StoredTensor):
    """A numpy.ndarray as numpy pickles it: first an empty array, then its state."""

    __slots__ = ()

    def __init__(self, *_: Any) -> None:
        super().__init__((0,), np.dtype(np.int8), lambda: np.zeros(0, np.int8))

    def __setstate__(self, state: Any) -> None:
        _version, shape, pickled_dtype, fortran_order, data = state
        values = np.frombuffer(data, pickled_dtype.dtype)
        values = values.reshape(shape, order="F" if fortran_order else "C")
        super().__init__(values.shape, values.dtype, values.copy)


class _Function(_Inert):
    """A function of this module. BUILD could write the attributes of a bare function."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)


# All names that a pickle may use, and the object that it gets for each.
KNOWN: dict[str, Any] = {
    "torch._utils._rebuild_tensor_v2": _Function(_rebuild_tensor),
    "torch._utils._rebuild_parameter": _Function(lambda data, _requires_grad, _hooks: data),
    "torch.Size": _Function(lambda sizes: tuple(sizes)),
    "torch.device": _Function(lambda kind, *index: ":".join([kind, *(f"{i:d}" for i in index)])),
    "collections.OrderedDict": _Function(_ordered_dict),
    "collections.Counter": _Function(_ordered_dict),
    "argparse.Namespace": _Function(lambda: _Namespace()),
    "builtins.set": _Function(lambda items: set(plain_keys(items))),
    "builtins.frozenset": _Function(lambda items: frozenset(plain_keys(items))),
    "builtins.bytes": _Function(lambda: b""),  # empty bytes; other bytes use the next name
    "_codecs.encode": _Function(lambda text, _latin1: text.encode("latin1")),
    "numpy.dtype": _Function(_PickledDtype),
    "numpy.ndarray": "numpy.ndarray",
    "numpy._core.multiarray._reconstruct": _Function(_PickledArray),
    "numpy._core.multiarray.scalar": _Function(
        lambda pickled_dtype, data: np.frombuffer(data, pickled_dtype.dtype)[0].item()
    ),
    **{name: name for name in STORAGE_DTYPES},
    **{f"torch.{dtype}": f"torch.{dtype}" for dtype in STORAGE_DTYPES.values()},
}
OLDER_NAMES = {"__builtin__": "builtins", "numpy.core.multiarray": "numpy._core.multiarray"}
