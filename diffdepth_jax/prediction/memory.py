"""Says in a sentence when a prediction does not fit into the memory, where possible beforehand."""

import contextlib
import math
import pathlib
from collections.abc import Generator

import jax

from diffdepth_jax.configuration.groups import Model
from diffdepth_jax.errors import UserError
from diffdepth_jax.media.preprocessing import Size

# Float32 arrays of the denoiser's width and the latent's size that exist at the same time.
_LIVE_ARRAYS = 24
_MEMINFO = pathlib.Path("/proc/meminfo")


def check_fits(model: Model, size: Size, samples: int) -> None:
    """Refuses a batch whose activations would not fit into the memory, before it is compiled.

    Args:
      model: the `model` group of the configuration.
      size: (height, width) of the pictures that the network sees.
      samples: the number of samples in the batch.

    Raises:
      UserError: an estimate says that the batch needs more memory than there is.
    """
    height, width = size
    channels = max(model.denoiser_features, model.neck_features // 4)
    if model.denoiser != "attention":  # the released denoisers are as wide as the neck
        channels = model.neck_features
    need = 4 * _LIVE_ARRAYS * channels * (height / 2) * (width / 2) * samples
    have = _available_bytes()
    if need > have:
        sizes = f" (about {need / 2**30:.0f} GiB of {have / 2**30:.0f} GiB)"
        raise _too_large(size, samples, sizes)


@contextlib.contextmanager
def explained(size: Size, samples: int) -> Generator[None, None, None]:
    """Turns the device's error that its memory is used up into a UserError, see `check_fits`."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise _too_large(size, samples) from error


def _too_large(size: Size, samples: int, sizes: str = "") -> UserError:
    several = f"{samples} at a time" if samples > 1 else "it"
    return UserError(
        f"image {size[0]} x {size[1]}: predicting {several} takes more than the memory{sizes}: "
        "use the model's image size, a smaller image, or a smaller batch or ensemble"
    )


def _available_bytes() -> float:
    """Returns the device's memory if the device tells it, otherwise the system's free memory.

    Only Linux tells the free memory. Elsewhere the function returns infinity, so that nothing is
    refused.
    """
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return math.inf
    fields = dict(line.split(":") for line in lines)
    return int(fields["MemAvailable"].split()[0]) * 1024
