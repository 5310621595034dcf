"""DiffusionDepth in JAX: monocular metric depth as latent diffusion."""

import sys
from typing import Any

if sys.version_info < (3, 11):  # noqa: UP036  a checkout runs without the installer's check
    # In words of any Python 3; a traceback would hide them.
    sys.stderr.write("error: diffdepth_jax needs Python 3.11 or newer; this is " + sys.version[:6])
    sys.exit(2)

__version__ = "0.1.0"
__all__ = ["DepthEstimator"]


def __getattr__(name: str) -> Any:
    # Imported on demand: data preparation uses the numpy parts of this package without jax.
    if name == "DepthEstimator":
        from diffdepth_jax.prediction.estimator import DepthEstimator

        return DepthEstimator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
