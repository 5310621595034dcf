"""The environment of a run: versions, source and devices."""

import collections
import importlib.metadata
import os
import pathlib
import platform
import subprocess
import sys
import time
from typing import Any

_SOURCE = pathlib.Path(__file__).parents[2]
# The packages of requirements.txt, and jaxlib, which compiles.
PACKAGES = (
    "absl-py",
    "array-record",
    "clu",
    "cmap",
    "flatbuffers",
    "flax",
    "grain",
    "h5py",
    "importlib_resources",
    "jax",
    "jaxlib",
    "jaxtyping",
    "ml-collections",
    "ml_dtypes",
    "numpy",
    "optax",
    "orbax-checkpoint",
    "pillow",
    "pydantic",
    "safetensors",
    "scipy",
    "tensorboardX",
    "tensorflow-datasets",
    "tqdm",
)


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(source: str | os.PathLike, *arguments: str) -> str | None:
    """The output of git on the folder `source`; None without git or outside a checkout."""
    command = ["git", "--no-optional-locks", "-C", str(source), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def describe_source(source: str | os.PathLike = _SOURCE) -> dict[str, Any]:
    """{"commit", "modified"} of the checkout at `source`; a value is None if it is not known.

    A checkout that only contains `source`, such as one with a virtual environment inside, belongs
    to another program and does not count.
    """
    top = _git(source, "rev-parse", "--show-toplevel")
    if not top or pathlib.Path(top).resolve() != pathlib.Path(source).resolve():
        return {"commit": None, "modified": None}
    changes = _git(source, "status", "--porcelain", "--untracked-files=no")
    return {
        "commit": _git(source, "rev-parse", "--verify", "HEAD"),
        "modified": None if changes is None else bool(changes),
    }


def describe_environment() -> dict[str, Any]:
    """Plain values for JSON: start time and command, versions, source, devices and processes."""
    import jax  # here, so that versions are known where JAX does not work

    return {
        "time": time.time(),
        "command": sys.orig_argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {package: version(package) for package in PACKAGES},
        **describe_source(),
        "backend": jax.default_backend(),
        "devices": dict(collections.Counter(device.device_kind for device in jax.devices())),
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
    }
