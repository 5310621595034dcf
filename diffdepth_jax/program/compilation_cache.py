"""Keeps compiled programs on disk, so that a second start compiles nothing.

This is JAX's persistent compilation cache, in `diffdepth_jax/compiled` of the user's cache
directory. JAX's environment variables take precedence: JAX_COMPILATION_CACHE_DIR names another
directory, in which this module changes nothing, and JAX_ENABLE_COMPILATION_CACHE=false switches
the cache off. Several processes may use the cache at once. A killed process or a full disk can
leave half of an entry. Such an entry fails to unpack, and its program is compiled again. What
others could have written is not executed: the directory must belong to the user alone.
"""

import contextlib
import hashlib
import os
import pathlib
import platform
import re
import stat
import warnings
from collections.abc import Callable, Generator
from typing import Any

import jax
from absl import logging

LIMIT = 4 * 2**30  # bytes; JAX could set a limit too, but needs another package for it
INSTEAD = (
    "JAX_COMPILATION_CACHE_DIR=DIR keeps compiled programs elsewhere, "
    "JAX_ENABLE_COMPILATION_CACHE=false nowhere"
)
_TROUBLE = re.compile(r"Error (reading|writing) persistent compilation cache entry for '(.*?)': ")


@contextlib.contextmanager
def kept() -> Generator[None, None, None]:
    """Keeps the programs that are compiled in this context; also a decorator.

    Failures of the cache end no program: a warning of one line tells of them.
    """
    directory, settings = None, jax.config.values
    if settings["jax_enable_compilation_cache"] and settings["jax_compilation_cache_dir"] is None:
        directory = _prepare()
    if directory is not None:
        jax.config.update("jax_compilation_cache_dir", str(directory))
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    with warnings.catch_warnings():
        # `warnings` documents that programs may replace this function.
        warnings.showwarning = _in_one_line(directory, warnings.showwarning)  # ty: ignore[invalid-assignment]
        yield


def _prepare() -> pathlib.Path | None:
    """Returns the directory, with room in it; warns and returns None if it cannot be written."""
    try:
        directory = root() / _instructions()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # private, as JAX runs its files
        if not os.access(directory, os.W_OK):
            raise PermissionError(f"{directory} is not writable")
        _check_private(directory)
        _make_room(directory.parent)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home directory
        logging.warning("compiled programs are not kept (%s); %s", error, INSTEAD)
        return None
    return directory


def _check_private(directory: pathlib.Path) -> None:
    """Raises a PermissionError if another user than this one may write there."""
    found = directory.stat()
    if found.st_uid != os.geteuid():
        raise PermissionError(f"{directory} belongs to another user: delete it")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"others may write to {directory}: chmod 700 it, or delete it")


def own_directory() -> pathlib.Path | None:
    """Returns the directory that `kept` has chosen; None: there is none, or the user named one."""
    chosen = jax.config.values["jax_compilation_cache_dir"]
    if chosen is None:
        return None
    directory = pathlib.Path(chosen)
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: no home directory
        if directory.parent == root():
            _check_private(directory)
            return directory
    return None


def root() -> pathlib.Path:
    """The folder of what is kept for CPUs of all kinds, in the user's cache directory."""
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = base if base.is_absolute() else pathlib.Path.home() / ".cache"
    return base / "diffdepth_jax" / "compiled"


def _instructions() -> str:
    """Returns a name for this CPU's instruction set.

    Machines with different CPUs may share a home directory, but must not share programs.
    """
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = [line for line in lines if line.startswith(("flags", "Features"))]
    told = features[0] if features else platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def _make_room(root: pathlib.Path) -> None:
    """Deletes the oldest entries until the rest is within LIMIT."""
    entries = []
    for path in root.rglob("*-cache"):
        with contextlib.suppress(FileNotFoundError):  # another process deleted it
            entries.append((path.stat().st_mtime, path.stat().st_size, path))
    excess = sum(size for _, size, _ in entries) - LIMIT
    for _, size, path in sorted(entries):
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= size


def _in_one_line(directory: pathlib.Path | None, show: Callable[..., None]) -> Callable[..., None]:
    """Returns a `warnings.showwarning` that logs JAX's first warning about the cache in one line.

    It also discards the entries of the program that the warning names, if `directory` is given.
    Other warnings go to `show`.
    """
    logged = False

    def showwarning(message: Warning | str, *place: Any, **named: Any) -> None:
        nonlocal logged
        trouble = _TROUBLE.match(str(message))
        if trouble is None:
            return show(message, *place, **named)
        if directory is not None:
            _discard(directory, trouble[2])
        if not logged:
            logged = True
            failed = {"reading": "read and is compiled anew", "writing": "kept"}[trouble[1]]
            reason = str(message)[trouble.end() :]
            logging.warning("a compiled program could not be %s (%s); %s", failed, reason, INSTEAD)

    return showwarning


def _discard(directory: pathlib.Path, name: str) -> None:
    """Deletes all entries of a program, one of which is damaged.

    JAX would never replace the damaged entry, and does not tell which one it is.
    """
    for path in directory.glob(f"{name}-*-cache"):
        with contextlib.suppress(OSError):
            path.unlink()
