"""What a program computes on, in words."""

import collections
import importlib.util
import os
import pathlib
import shutil

import jax

# Where the driver of an NVIDIA GPU shows: the kernel's, a container's, and that of Windows' Linux.
_NVIDIA = ("/proc/driver/nvidia", "/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg")
_PLUGINS = ("jax_cuda13_plugin", "jax_cuda12_plugin")


def describe_devices() -> str:
    """Returns a sentence on the devices, and on an NVIDIA GPU that they leave out."""
    if jax.default_backend() == "cpu":
        return f"CPU, {os.cpu_count()} cores{_unused_gpu()}"
    kinds = collections.Counter(device.device_kind for device in jax.devices())
    return ", ".join(f"{count} x {kind}" for kind, count in kinds.items())


def _unused_gpu() -> str:
    """Why JAX does not see a GPU of this machine, and what to do; "" if nobody wants it to."""
    if not _has_nvidia_gpu() or "cpu" in (jax.config.values["jax_platforms"] or ""):
        return ""
    if not any(importlib.util.find_spec(name) for name in _PLUGINS):
        remedy = 'the extra "cuda" is not installed: pip install "jax[cuda13]"'
    else:
        remedy = "JAX cannot use it: nvidia-smi shows its driver, which may be too old"
    return f". There is an NVIDIA GPU, but {remedy}"


def _has_nvidia_gpu() -> bool:
    return any(pathlib.Path(x).exists() for x in _NVIDIA) or bool(shutil.which("nvidia-smi"))
