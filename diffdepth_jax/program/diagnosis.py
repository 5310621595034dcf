"""What a bug report says of a machine: versions, devices, memory, cache, and what is missing."""

import os
import pathlib
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import diffdepth_jax
from diffdepth_jax.program import missing_device
from diffdepth_jax.program.environment import PACKAGES, describe_source, version


class Feature(NamedTuple):
    """What needs more than the requirements: the packages, any of which will do, and the remedy."""

    packages: tuple[str, ...]
    remedy: str


# {name of the extra in pyproject.toml: feature}
FEATURES = {
    "app": Feature(("gradio",), "pip install gradio"),
    "video": Feature(("av",), "pip install av"),
    "heif": Feature(("pillow-heif",), "pip install pillow-heif"),
    "exr": Feature(("OpenEXR",), "pip install OpenEXR"),
    "onnx": Feature(("onnx",), "pip install onnx"),
    "hub": Feature(("huggingface_hub",), "pip install huggingface_hub"),
    "cuda": Feature(("jax-cuda13-plugin", "jax-cuda12-plugin"), "pip install 'jax[cuda13]'"),
    "tpu": Feature(("libtpu",), "pip install 'jax[tpu]'"),
}


def report() -> Iterator[str]:
    """Yields lines; what cannot be found out is a line, too."""
    for title, describe in _SECTIONS.items():
        try:
            lines = [*describe()]
        except Exception as error:  # a report of what is broken must not break
            lines = [f"cannot be found out: {reason(error)}"]
        yield title
        yield from (f"  {line}" for line in lines)


def reason(error: Exception) -> str:
    """An error as one line."""
    text = " ".join(str(error).split())[:300]
    return missing_device.sentence(error) or f"{type(error).__name__}: {text}"


def without_home(text: str) -> str:
    """The text with ~ for the home folder, whose name is nobody's business."""
    return text.replace(str(pathlib.Path.home()), "~")


def _program() -> Iterator[str]:
    source = describe_source()
    commit = f", commit {source['commit']}" if source["commit"] else ""
    modified = ", modified" if source["modified"] else ""
    yield f"diffdepth_jax {diffdepth_jax.__version__}{commit}{modified}"
    yield without_home(f"in {pathlib.Path(diffdepth_jax.__file__).parent}")
    yield f"Python {platform.python_version()}, {platform.platform()}"


def _packages() -> Iterator[str]:
    for name in PACKAGES:
        yield f"{name} {version(name) or 'is missing: pip install ' + name}"


def _devices() -> Iterator[str]:
    # Here, so that a broken JAX is a line of this section alone.
    import jax

    yield f"backend {jax.default_backend()}, JAX_PLATFORMS {os.environ.get('JAX_PLATFORMS', '-')}"
    for device in jax.devices():
        limit = (device.memory_stats() or {}).get("bytes_limit")
        yield f"{device.device_kind}" + (f", {limit / 2**30:.1f} GiB" if limit else "")
    if jax.default_backend() == "cpu" and shutil.which("nvidia-smi"):
        yield f"an NVIDIA GPU is not used: {FEATURES['cuda'].remedy}"


def _memory() -> Iterator[str]:
    page, sysconf = os.sysconf("SC_PAGE_SIZE"), os.sysconf
    total, free = (sysconf(x) * page / 2**30 for x in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    yield f"{total:.1f} GiB, {free:.1f} GiB of them free; {os.cpu_count()} cores"


def _cache() -> Iterator[str]:
    from diffdepth_jax.program import compilation_cache

    named = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = pathlib.Path(named) if named else compilation_cache.root()
    sizes = [path.stat().st_size for path in folder.rglob("*-cache")]
    yield without_home(f"{folder}: {len(sizes)} programs, {sum(sizes) / 1e6:.0f} MB")


def _features() -> Iterator[str]:
    for name, feature in FEATURES.items():
        found = [f"{x} {version(x)}" for x in feature.packages if version(x)]
        yield f"{name}: {', '.join(found) or f'missing: {feature.remedy}'}"


_SECTIONS: Mapping[str, Callable[[], Iterator[str]]] = {
    "Program": _program,
    "Packages": _packages,
    "Devices": _devices,
    "Memory": _memory,
    "Compiled programs that are kept": _cache,
    "What is not needed by everybody": _features,
}
