"""Keeps lowered programs on disk, so that a second start traces no model.

A lowered program is what JAX compiles: StableHLO, without the parameters. `jax.export` writes and
reads it, without pickle. The files lie in `lowered`, in the directory of `compilation_cache`, where
JAX finds what was compiled of them. Where the user has named another directory nothing is kept.

The name of a file is a digest of all that tracing depends on, see `_key`. The file begins with a
digest of its name and its content. What is damaged, or lies under another name, is traced again.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import pathlib
import platform
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.export
from absl import logging
from jax.export import DisabledSafetyCheck, Exported
from jax.stages import Wrapped

from diffdepth_jax.program import compilation_cache, compiler_options
from diffdepth_jax.whole_files import whole_file

_PACKAGE = pathlib.Path(__file__).parents[1]
_LIBRARIES = ("jax", "jaxlib", "flax", "numpy")  # that take part in tracing


def kept(create: Callable[[], Wrapped], identity: str) -> Callable[..., Any]:
    """Returns a function that computes, bit for bit, what the function of `create` computes.

    Args:
      create: makes a jitted function (*arrays, **static keywords). It is called only if the
        function has to be traced.
      identity: says which function `create` makes, among all that the source of this program makes.
    """
    directory = compilation_cache.own_directory()
    return create() if directory is None else KeptFunction(create, identity, directory / "lowered")


def once(identity: str, check: Callable[[], None]) -> None:
    """Calls `check`, unless it has passed before in a program of this source; files tell of that.

    `identity` says what is checked.
    """
    directory = compilation_cache.own_directory()
    if directory is None:
        return check()
    path = directory / "checked" / f"{_key(identity, None)}-cache"
    if not path.exists():
        check()
        _keep(path, b"")


class KeptFunction:
    """A function, and its lowered program for each kind of arguments; see `kept`."""

    def __init__(
        self, create: Callable[[], Wrapped], identity: str, directory: pathlib.Path
    ) -> None:
        self._create, self._identity, self._directory = create, identity, directory
        self._programs: dict[Any, Wrapped] = {}
        self._lock = threading.Lock()

    def __call__(self, *arrays: Any, **static: Any) -> Any:
        return self.program(*arrays, **static)(*arrays)

    def program(self, *arrays: Any, **static: Any) -> Wrapped:
        """Returns the program for such arguments, a jitted function of the arrays."""
        leaves, structure = jax.tree.flatten(arrays)
        kind = structure, tuple((x.shape, x.dtype) for x in leaves), tuple(sorted(static.items()))
        with self._lock:  # the page predicts in several threads
            if kind not in self._programs:
                exported = self._read_or_trace(_key(self._identity, kind), arrays, static)
                self._programs[kind] = jax.jit(
                    _without_scipy(exported).call,
                    compiler_options=compiler_options.of_predictions(),
                )
            return self._programs[kind]

    def _read_or_trace(self, key: str, arrays: Any, static: Any) -> Exported:
        path = self._directory / f"{key}-cache"  # the ending by which old files are found
        exported = _read(path, key)
        if exported is None:
            exported = jax.export.export(self._create())(*arrays, **static)
            _write(path, key, exported)
        return exported


def _key(identity: str, kind: Any) -> str:
    """Returns a digest of all that a lowered program depends on, see `kept`."""
    device = jax.local_devices()[0]
    parts = (
        identity,
        kind,
        _source(),
        platform.python_version(),
        [importlib.metadata.version(name) for name in _LIBRARIES],
        sorted(jax.config.values.items()),
        (device.platform, device.device_kind, device.client.platform_version),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@functools.cache
def _source() -> str:
    """Returns a digest of this package's source."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(_PACKAGE)} {path.stat().st_size} ".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _digest(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).digest()


def _read(path: pathlib.Path, key: str) -> Exported | None:
    """Returns the program of a file; None if there is no such file, or it is damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, content = content[:32], content[32:]
    return jax.export.deserialize(bytearray(content)) if digest == _digest(key, content) else None


def _write(path: pathlib.Path, key: str, exported: Exported) -> None:
    """Writes a program."""
    content = bytes(exported.serialize())
    _keep(path, _digest(key, content) + content)


def _keep(path: pathlib.Path, content: bytes) -> None:
    """Writes a file; warns if it cannot be written."""
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with whole_file(path) as unfinished:
            unfinished.write_bytes(content)
    except OSError as error:
        _warn(error.strerror)


@functools.cache
def _warn(reason: str) -> None:
    """Tells the same reason once."""
    logging.warning(
        "a traced program could not be kept (%s); %s", reason, compilation_cache.INSTEAD
    )


def _without_scipy(exported: Exported) -> Exported:
    """Returns the same program for a CPU, for which JAX does not import SciPy, which takes .2 s.

    JAX does so for all programs whose platform is named cpu. Only those with LAPACK's functions
    need it.
    """
    if exported.platforms != ("cpu",) or b"lapack" in exported.mlir_module_serialized:
        return exported
    anywhere = (DisabledSafetyCheck.platform(),)
    return dataclasses.replace(exported, platforms=("any",), disabled_safety_checks=anywhere)
