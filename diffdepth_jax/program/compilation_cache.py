"""Compiled programs are kept on disk: what a user starts a second time compiles nothing.

This is JAX's persistent compilation cache, in `diffdepth_jax/compiled` of the user's cache
directory. JAX's own variables go first: JAX_COMPILATION_CACHE_DIR names another place, which is
then left to JAX alone, and JAX_ENABLE_COMPILATION_CACHE=false switches it off. Several processes
may use it at once. JAX writes an entry in place, so that a process that is killed, or a full disk,
can leave half of one; it is compressed and fails to unpack, and the program is compiled anew.
"""

import contextlib
import hashlib
import os
import pathlib
import platform
import re
import warnings

import jax
from absl import logging

LIMIT = 4 * 2**30  # bytes; JAX's own limit needs a package more
_INSTEAD = (
    "JAX_COMPILATION_CACHE_DIR=DIR keeps compiled programs elsewhere, "
    "JAX_ENABLE_COMPILATION_CACHE=false nowhere"
)
_TROUBLE = re.compile(r"Error (reading|writing) persistent compilation cache entry for '(.*?)': ")


@contextlib.contextmanager
def kept():
    """While a program runs, also as its decorator. Whatever fails here is said in one line."""
    own = None
    if jax.config.jax_enable_compilation_cache and jax.config.jax_compilation_cache_dir is None:
        own = _prepare()
    if own is not None:
        jax.config.update("jax_compilation_cache_dir", str(own))
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    with warnings.catch_warnings():
        warnings.showwarning = _in_one_line(own, warnings.showwarning)
        yield


def _prepare():
    """The directory, with room in it; None, and a line that says why, if none can be written."""
    try:
        directory = _root() / _instructions()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # JAX runs what it finds there
        if not os.access(directory, os.W_OK):
            raise PermissionError(f"{directory} is not writable")
        _make_room(directory.parent)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home directory
        logging.warning("compiled programs are not kept (%s); %s", error, _INSTEAD)
        return None
    return directory


def _root():
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = base if base.is_absolute() else pathlib.Path.home() / ".cache"
    return base / "diffdepth_jax" / "compiled"


def _instructions():
    """Names what this CPU can execute: machines that share a home may not share programs."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = [line for line in lines if line.startswith(("flags", "Features"))]
    told = features[0] if features else platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"


def _make_room(root):
    """Deletes the oldest entries beyond the limit."""
    entries = []
    for path in root.rglob("*-cache"):
        with contextlib.suppress(FileNotFoundError):  # another process makes room
            entries.append((path.stat().st_mtime, path.stat().st_size, path))
    excess = sum(size for _, size, _ in entries) - LIMIT
    for _, size, path in sorted(entries):
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= size


def _in_one_line(own, show):
    """A `warnings.showwarning` that says JAX's first complaint of the cache, and mends our own."""
    said = False

    def showwarning(message, *place, **named):
        nonlocal said
        trouble = _TROUBLE.match(str(message))
        if trouble is None:
            return show(message, *place, **named)
        if own is not None:
            _discard(own, trouble[2])
        if not said:
            said = True
            failed = {"reading": "read and is compiled anew", "writing": "kept"}[trouble[1]]
            reason = str(message)[trouble.end() :]
            logging.warning("a compiled program could not be %s (%s); %s", failed, reason, _INSTEAD)

    return showwarning


def _discard(directory, name):
    """Of a program's entries JAX does not tell which one is damaged, and would never replace it."""
    for path in directory.glob(f"{name}-*-cache"):
        with contextlib.suppress(OSError):
            path.unlink()
