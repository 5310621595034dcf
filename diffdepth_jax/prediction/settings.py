"""What results depend on beside their input, as the record of an output folder keeps it."""

from collections.abc import Mapping
from typing import Any

from diffdepth_jax.prediction.camera_choice import CameraChoice
from diffdepth_jax.prediction.options import Options
from diffdepth_jax.prediction.output_kinds import NEED_CAMERA, NEED_TRAJECTORY
from diffdepth_jax.prediction.outputs import OutputWriter

_COLORED = {"color", "side_by_side", "video"}
# {flag: the kinds of output that depend on it}, of flags that not all kinds depend on.
_KINDS_OF = {
    "depth_scale": {"png16"},
    "color_range": _COLORED,
    "colormap": _COLORED | NEED_TRAJECTORY,
    "interval": {"interval"},
    "mesh": NEED_CAMERA,
    "max_points": NEED_CAMERA,
    "max_triangles": NEED_CAMERA,
}


def settings(
    identities: Mapping[str, str],
    num_steps: int,
    writer: OutputWriter,
    cameras: CameraChoice,
    options: Options,
) -> dict[str, str]:
    """Returns the values of the flags on which a writer's kinds of output depend, as texts.

    Args:
      identities: of the files of the model, see `DepthEstimator.identities`.
      num_steps: that the depth takes.
      writer, cameras, options: of the run.
    """
    values: dict[str, Any] = {
        **{f"checkpoint{file}": text for file, text in identities.items()},
        "camera": cameras.name or "model",
        "focal_length": cameras.focal_length,
        "fov": cameras.fov,
        "size": "native" if options.native_size else "model",
        "num_steps": num_steps,
        "seed": options.seed,
        "ensemble": options.ensemble,
        "interval": options.interval,
        "depth_scale": writer.depth_scale,
        "color_range": writer.color_range,
        "colormap": writer.colormap,
        "mesh": writer.surface,
        "max_points": writer.max_points,
        "max_triangles": writer.max_triangles,
    }
    kinds = set(writer.kinds)
    return {
        name: str(value)
        for name, value in values.items()
        if name not in _KINDS_OF or _KINDS_OF[name] & kinds
    }
