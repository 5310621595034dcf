"""What the config.json beside a Hugging Face file of a Depth Anything says, and its tensors do not.

Whether it is metric and up to which depth, and which blocks of the encoder it sees: the first
version of Depth Anything sees the last four, and is otherwise the same network.
"""

import json
import os
import pathlib
from typing import Any

from diffdepth_jax.configuration.model import Model
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.backbones import dinov2


def check_hugging_face_config(path: str | os.PathLike[str], model: Model) -> None:
    """Raises a UserError if the config.json beside a file describes another Depth Anything."""
    fields = _fields(pathlib.Path(path).parent / "config.json")
    if fields.get("model_type") != "depth_anything" or model.codec != "depth_anything":
        return
    metric = fields.get("depth_estimation_type", "relative") == "metric"
    stated = float(fields.get("max_depth") or 1.0) if metric else 0.0
    _check(path, "max_depth", stated, model.max_depth)
    layers = tuple((fields.get("backbone_config") or {}).get("out_indices") or ())
    ours = model.backbone_layers or dinov2.VARIANTS[model.backbone]["layers"]
    if layers:
        _check(path, "backbone_layers", layers, tuple(ours))


def _fields(path: pathlib.Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text())
    except (OSError, ValueError):  # the weights alone decide
        return {}
    return fields if isinstance(fields, dict) else {}


def _check(path: str | os.PathLike[str], name: str, stated: Any, given: Any) -> None:
    if stated != given:
        raise UserError(
            f"{path}: the config.json beside it says {stated} where the configuration has "
            f"model.{name} {given}: set --config.model.{name}={stated}, or take the matching recipe"
        )
