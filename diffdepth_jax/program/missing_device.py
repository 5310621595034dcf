"""Tells JAX's error about a device that is asked for and missing from all others."""

import os
import traceback


def sentence(error: Exception) -> str | None:
    """A sentence if JAX has no device of the kind that JAX_PLATFORMS asks for.

    JAX 0.10 says so, or for "cuda" without its plugin fails an assertion of its own.
    """
    wanted = os.environ.get("JAX_PLATFORMS")
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    if not wanted or not frame.f_code.co_filename.endswith("xla_bridge.py"):
        return None
    return (
        f"JAX_PLATFORMS={wanted} asks for a device that JAX does not find: an NVIDIA GPU needs "
        "pip install 'jax[cuda13]', a TPU 'jax[tpu]'; without JAX_PLATFORMS the CPU computes"
    )
