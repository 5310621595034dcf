"""Unpickles PyTorch's data within bounds, and runs no code from the file.

A pickle gets a harmless object for each of the names in `reader_objects`, and every other name is
refused. A few of its bytes may still ask for much memory or time, so that all of it is bounded:

- A pickle has at most `MAX_STEPS` opcodes. One takes up to 300 bytes beside those that it reads.
- Calls may be given a part of the pickle again and again. All their arguments together take at most
  16 bytes for each byte of the file, and 1 MiB; an item of a list or dict counts as 64 bytes.
- The tensors may show one storage again and again. All together have at most 4 bytes for each byte
  of the file, and 64 MiB.
- Keys of dicts and items of sets are text, None, floats and integers below 2**60, because values
  can be chosen so that all have one hash, and are then compared one by one. `MAX_TUPLE_KEYS` keys
  may be tuples of up to 8 of these.

A file of N bytes therefore takes no more than .6 GiB and 24 N of memory to be opened, and never
more than 330 N and 1 MiB. Opcodes nest without recursion.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar

from diffdepth_jax.errors import UserError
from diffdepth_jax.torch_import.reader_objects import (
    KNOWN,
    OLDER_NAMES,
    STORAGE_DTYPES,
    Storage,
    StoredTensor,
    is_plain_key,
    plain_keys,
)

MAX_STEPS = 2**21
MAX_TUPLE_KEYS = 1000
_CALLS, _MORE_CALLS = 16, 2**20  # bytes for each byte of the file, and beside them
_VALUES, _MORE_VALUES = 4, 2**26
_WEIGHTS: dict[type, int] = {str: 4, bytes: 1, bytearray: 1}  # bytes of an item; of others 64
_SIZED = (str, bytes, bytearray, tuple, list, dict, set, frozenset)


class _Unpickler(pickle._Unpickler):
    """Unpickles data with the objects of `KNOWN` and storages, within the bounds of this module.

    The unpickler in C offers no place for bounds. The few thousand opcodes of a checkpoint cost
    nothing in comparison with its tensors.
    """

    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, data: bytes, file_size: int) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")  # decodes every string of Python 2
        self.storages: dict[str, Storage] = {}  # by key
        self._calls = _CALLS * file_size + _MORE_CALLS
        self._values = _VALUES * file_size + _MORE_VALUES
        self._tuple_keys = MAX_TUPLE_KEYS

    def find_class(self, module: str, name: str) -> Any:
        name = f"{OLDER_NAMES.get(module, module)}.{name}"
        if name not in KNOWN:
            raise UserError(f"names {name[:99]!r}, which is refused: save a state_dict() alone")
        return KNOWN[name]

    def get_extension(self, code: int) -> None:
        raise ValueError(f"it has the extension code {code}")

    def persistent_load(self, pid: Any) -> Storage:
        if type(pid) is not tuple or not 5 <= len(pid) <= 6:
            raise ValueError("a storage is described in an unknown way")
        _kind, storage_type, key, _location, numel, *view = pid
        if type(storage_type) is not str or type(key) is not str or type(numel) is not int:
            raise ValueError("a storage is described in an unknown way")
        dtype = STORAGE_DTYPES[storage_type]
        if not 0 <= numel < 2**48:
            raise ValueError(f"storage {key[:99]} has an impossible size")
        storage = self.storages.setdefault(key, Storage(dtype, numel))
        if (dtype, numel) != (storage.dtype, storage.numel) or any(view):
            raise ValueError("a storage is described in two ways or as part of another")
        return storage

    def call(self) -> None:
        """REDUCE, and NEWOBJ, which says the same of the few names that are known."""
        arguments = self.stack.pop()
        if type(arguments) is not tuple:
            raise ValueError("a call has no tuple of arguments")
        self._charge(*arguments)
        result = self.stack[-1](*arguments)
        self._charge_values(result)
        self.stack[-1] = result

    def set_state(self) -> None:
        """BUILD, for the objects of `reader_objects` alone."""
        state = self.stack.pop()
        self._charge(state, *(state if type(state) is tuple and len(state) < 9 else ()))
        target = self.stack[-1]
        type(target).__setstate__(target, state)
        self._charge_values(target)

    def _charge(self, *arguments: Any) -> None:
        for each in arguments:
            if isinstance(each, _SIZED):
                self._calls -= 64 + len(each) * _WEIGHTS.get(type(each), 64)
        if self._calls < 0:
            raise UserError("repeats parts of itself beyond any use: save a state_dict() alone")

    def _charge_values(self, result: Any) -> None:
        if isinstance(result, StoredTensor):
            self._values -= math.prod(result.shape) * result.dtype.itemsize
        if self._values < 0:
            raise UserError("has tensors that repeat its values: save a state_dict() alone")

    def set_item(self) -> None:
        """SETITEM."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def set_items(self) -> None:
        """SETITEMS."""
        self._set(self.pop_mark())

    def new_dict(self) -> None:
        """DICT, of the oldest pickles."""
        items = self.pop_mark()
        self.append({})
        self._set(items)

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise ValueError("items are set of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._check_key(key)
            target[key] = value

    def _check_key(self, key: Any) -> None:
        if type(key) is tuple and len(key) <= 8:
            self._tuple_keys -= 1
            plain_keys(key)
        elif not is_plain_key(key):
            raise ValueError("a key is neither text nor a number")
        if self._tuple_keys < 0:
            raise UserError("has too many keys that are tuples: save a state_dict() alone")

    def add_items(self) -> None:
        """ADDITEMS."""
        items = plain_keys(self.pop_mark())
        if type(self.stack[-1]) is not set:
            raise ValueError("items are added to what is no set")
        self.stack[-1].update(items)

    def new_frozenset(self) -> None:
        """FROZENSET."""
        items = plain_keys(self.pop_mark())
        self.append(frozenset(items))

    def _instantiate(self, klass: Any, args: Any) -> None:
        """INST and OBJ, of the oldest pickles."""
        raise ValueError("it makes objects in a way that no checkpoint does")

    def call_with_names(self) -> None:
        """NEWOBJ_EX."""
        raise ValueError("it makes objects in a way that no checkpoint does")

    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        **pickle._Unpickler.dispatch,
        pickle.REDUCE[0]: call,
        pickle.NEWOBJ[0]: call,
        pickle.BUILD[0]: set_state,
        pickle.SETITEM[0]: set_item,
        pickle.SETITEMS[0]: set_items,
        pickle.DICT[0]: new_dict,
        pickle.ADDITEMS[0]: add_items,
        pickle.FROZENSET[0]: new_frozenset,
        pickle.NEWOBJ_EX[0]: call_with_names,
    }


class _NoLongerThan:
    """A file that is asked for no more bytes than it has, whatever length a damaged pickle states.

    Python takes the memory for the answer before it reads.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.tell, self.readline = file.tell, file.readline

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, self._size))


def unpickle(file: BinaryIO, file_size: int) -> tuple[Any, dict[str, Storage]]:
    """Reads the pickle at the file's position; returns its data and its storages by key.

    `file_size` is that of the whole file on disk, which bounds what the pickle may ask for.
    """
    start = file.tell()
    bounded: Any = _NoLongerThan(file, file_size)
    for step, (opcode, argument, position) in enumerate(pickletools.genops(bounded)):
        # Large memo indices are written by no program, and take huge memory in other readers.
        index: Any = argument if opcode.name.endswith("PUT") else 0
        if index > (position or 0) - start or opcode.name.startswith("EXT"):
            raise ValueError(f"its pickle has the opcode {opcode.name} {argument}")
        if step >= MAX_STEPS:
            raise UserError(f"has a pickle of over {MAX_STEPS} steps: save a state_dict() alone")
    end = file.tell()
    file.seek(start)
    unpickler = _Unpickler(file.read(end - start), file_size)
    return unpickler.load(), unpickler.storages
