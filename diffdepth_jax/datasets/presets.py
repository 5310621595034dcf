"""How the folders of known data sets are laid out: what `data.folder.preset` stands for."""

import dataclasses
from typing import Any

from absl import logging

from diffdepth_jax.configs import default
from diffdepth_jax.configuration.data import Folder
from diffdepth_jax.errors import UserError

# Fields of `data.folder`; docs/own_data.md has a line on each.
PRESETS: dict[str, dict[str, Any]] = {
    "7scenes": {
        "image_pattern": "**/frame-*.color.png",
        "depth_pattern": "**/frame-*.depth.png",
        "invalid_values": (65535.0,),
    },
    "densedepth": {
        "list_file": "data/nyu2_train.csv",
        "eval_list_file": "data/nyu2_test.csv",
        "eight_bit_scale": 25.5,
    },
    "diode": {
        "image_pattern": "**/*.png",
        "depth_pattern": "**/*_depth.npy",
        "mask_pattern": "**/*_depth_mask.npy",
    },
    "kitti_bts": {
        "list_file": "eigen_train_files_with_gt.txt",
        "eval_list_file": "eigen_test_files_with_gt.txt",
        "depth_root": "data_depth_annotated/*",
        "depth_scale": 256.0,
    },
    "scannet": {
        "image_pattern": "**/color/*.jpg",
        "depth_pattern": "**/depth/*.png",
        "resize_depth": True,
    },
    "tum": {"list_file": "rgb.txt", "depth_list_file": "depth.txt", "depth_scale": 5000.0},
    "vkitti2": {
        "image_pattern": "*/*/frames/rgb/*/rgb_*.jpg",
        "depth_pattern": "*/*/frames/depth/*/depth_*.png",
        "depth_scale": 100.0,
        "invalid_values": (65535.0,),
    },
}


def resolved(fields: Folder) -> Folder:
    """The fields with those of their preset, which are told; one that is not the default's stays.

    Raises:
      UserError: there is no such preset.
    """
    if not fields.preset:
        return fields
    if fields.preset not in PRESETS:
        names = ", ".join(PRESETS)
        raise UserError(f"data.folder.preset {fields.preset!r}: must be one of {names}, or ''")
    defaults = default.get_config().data.folder
    changes = {
        name: value
        for name, value in PRESETS[fields.preset].items()
        if getattr(fields, name) == defaults[name]
    }
    told = ", ".join(f"{name}={value!r}" for name, value in changes.items())
    logging.info("data.folder.preset %s: %s", fields.preset, told)
    return dataclasses.replace(fields, **changes)
