"""Fields that older versions called otherwise or did not have: their directories are understood.

A field that gets another name has its line in `RENAMED`, and a new field has its line in `ADDED`.
Nothing else is needed to use a model of an older version and to resume its runs.
"""

import copy
import json
import re
from collections.abc import Sequence
from typing import Any

from diffdepth_jax.errors import UserError

# Old dotted name -> new dotted name. Of groups, the fields are listed one by one.
RENAMED = {
    **{f"data.{name}": f"data.synthetic.{name}" for name in ("num_train", "num_eval")},
    **{f"data.{name}": f"data.synthetic.{name}" for name in ("height", "width")},
    **{
        f"data.{name}": f"data.folder.{name}"
        for name in (
            "root",
            "image_pattern",
            "depth_pattern",
            "list_file",
            "eval_list_file",
            "depth_scale",
            "holdout_every",
        )
    },
    **{
        f"data.{name}": f"data.records.{name}"
        for name in ("name", "data_dir", "train_split", "eval_split")
    },
    **{
        f"inference.{name}": f"frame.{name}"
        for name in ("size", "input_crop", "focal_length", "min_depth", "max_depth")
    },
    "loss.every_step": "loss.pixel_losses_on_every_step",
    "loss.metric_fraction": "loss.l1_l2_until",
    "loss.weights.literal_pixel": "loss.weights.pixel_as_printed",
    "augmentation.keep_valid": "augmentation.valid_pixel_fraction",
    "train.num_panels": "evaluation.num_panels",
}
# New dotted name -> the value with which everything is as it was before the field.
ADDED: dict[str, Any] = {
    "augmentation.box": (),
    "data.folder.depth_list_file": "",
    "data.folder.depth_orientation": "stored",
    "data.folder.depth_root": "",
    "data.folder.eight_bit_offset": 0.0,
    "data.folder.eight_bit_scale": 0.0,
    "data.folder.eval_depth_list_file": "",
    "data.folder.focal_length": 0.0,
    "data.folder.invalid_values": (),
    "data.folder.mask_pattern": "",
    "data.folder.preset": "",
    "data.folder.resize_depth": False,
    "data.missing_depth": "unknown",
    "data.mixture": {},
    "data.synthetic.eval_focal_range": (1.0, 1.0),
    "data.synthetic.focal_range": (1.0, 1.0),
    "data.synthetic.kind": "mixed",
    "evaluation.alignment": "",
    "evaluation.by_scene": False,
    "evaluation.distances": (),
    "frame.canonical_focal_length": 0.0,
    "loss.own_noise": False,
    "loss.samples": 1,
    "loss.weights.crps": 0.0,
    "loss.weights.crps_pooled": 0.0,
    "loss.weights.gradient_matching": 0.0,
    "loss.weights.laplace": 0.0,
    "loss.weights.scale_shift_invariant": 0.0,
    "loss.weights.validity": 0.0,
    "model.backbone_layers": (),
    "model.detail_features": 0,
    "model.freeze_statistics": False,
    "model.kind": "diffusion",
    "model.laplace_scale": False,
    "model.max_depth": 0.0,
    "model.position_interpolation": "size",
    "model.sharpen": 0,
    "model.validity": False,
    "model.window_shift": "always",
    "sampler.global_noise": 0.0,
    "sampler.temperature": 1.0,
    "train.cache_features": 0,
    "train.features_dir": "",
}

_MOST_PARTS = 100  # of a mixture


def refuse_old_names(arguments: Sequence[str]) -> None:
    """Raises a UserError that gives the new name of a renamed field among the flags."""
    for argument in arguments:
        field = argument.lstrip("-").partition("=")[0].removeprefix("config.")
        if argument.startswith("-") and field in RENAMED:
            raise UserError(
                f"--config.{field} has another name now: give --config.{RENAMED[field]}"
            )


def with_new_names(fields: dict[str, Any]) -> dict[str, Any]:
    """The nested fields of a run or model directory, as today's version names them.

    A directory of today's form comes back equal. A ValueError names what should be a group.
    """
    renamed = _renamed(fields)
    for name, value in added_to(fields).items():
        _put(renamed, name, value)
    return renamed


def added_to(fields: dict[str, Any]) -> dict[str, Any]:
    """{dotted name: value} of the fields that a directory's nested fields are too old to have."""
    renamed = _renamed(fields)
    added = {
        each: value
        for name, value in ADDED.items()
        for each in (name, *in_parts(name, renamed))
        if not _has(renamed, each)
    }
    return json.loads(json.dumps(added))  # as a file holds it, with lists for tuples


def in_parts(name: str, fields: dict[str, Any]) -> list[str]:
    """The dotted names that a field of the group `data` has in the parts of a mixture.

    `fields` are the nested fields of a directory.
    """
    group, _, field = name.partition(".")
    if group != "data" or field == "mixture" or not _has(fields, "data.mixture"):
        return []
    parts = fields["data"]["mixture"]
    if not isinstance(parts, dict) or len(parts) > _MOST_PARTS:
        raise ValueError(f"mixture is no group of up to {_MOST_PARTS} parts")
    return [f"data.mixture.{part}.{field}" for part in parts]


def in_all_data(name: str) -> str:
    """The dotted name of the same field outside of a mixture's part; others stay."""
    return re.sub(r"^data\.mixture\.\w+\.", "data.", name)


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    renamed = copy.deepcopy(fields)
    for old, new in RENAMED.items():
        if _has(renamed, old):
            _put(renamed, new, _take(renamed, old))
        _has(renamed, new)  # raises a ValueError about what should be a group
    return {name: group for name, group in renamed.items() if group != {}}


def _has(fields: dict[str, Any], name: str) -> bool:
    *groups, field = name.split(".")
    for group in groups:
        fields = fields.get(group, {})
        if not isinstance(fields, dict):
            raise ValueError(f"{group} is no group of fields")
    return field in fields


def _take(fields: dict[str, Any], name: str) -> Any:
    *groups, field = name.split(".")
    for group in groups:
        fields = fields[group]
    return fields.pop(field)


def _put(fields: dict[str, Any], name: str, value: Any) -> None:
    *groups, field = name.split(".")
    for group in groups:
        fields = fields.setdefault(group, {})
    fields[field] = value
