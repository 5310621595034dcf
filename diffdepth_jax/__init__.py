"""DiffusionDepth in JAX: monocular metric depth as latent diffusion."""

from typing import Any

__all__ = ["DepthEstimator"]


def __getattr__(name: str) -> Any:
    # Imported on demand: data preparation uses the numpy parts of this package without jax.
    if name == "DepthEstimator":
        from diffdepth_jax.prediction.estimator import DepthEstimator

        return DepthEstimator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
