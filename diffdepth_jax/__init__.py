"""DiffusionDepth in JAX: monocular metric depth as latent diffusion."""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if sys.version_info < (3, 11):  # noqa: UP036  a checkout runs without the installer's check
    # In words of any Python 3.6; a traceback would hide them.
    this = sys.version.split()[0]
    sys.stderr.write(f"error: diffdepth_jax needs Python 3.11 or newer; this is {this}\n")
    sys.exit(2)

if TYPE_CHECKING:
    from diffdepth_jax.errors import UserError
    from diffdepth_jax.prediction.depth_prediction import DepthPrediction
    from diffdepth_jax.prediction.estimator import DepthEstimator
    from diffdepth_jax.prediction.pipeline import pipeline

__version__ = "0.1.0"
__all__ = ["DepthEstimator", "DepthPrediction", "UserError", "pipeline"]

_MODULES = {
    "DepthEstimator": "prediction.estimator",
    "DepthPrediction": "prediction.depth_prediction",
    "UserError": "errors",
    "pipeline": "prediction.pipeline",
}


def __getattr__(name: str) -> Any:
    # Imported on demand: data preparation uses the numpy parts of this package without jax.
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
