"""The TFDS builder `kitti_depth`, with a config for each source."""

import functools

from diffdepth_jax.data.builder import DepthBuilder, builder_configs
from diffdepth_jax.data.frames import Source
from diffdepth_jax.data.kitti_depth import depth_prediction, eigen

# Lidar depth up to about 100 m. The raw images are 370 to 376 x 1224 to 1242, the benchmark's
# selection is cropped to 352 x 1216.
_source = functools.partial(
    Source,
    heights=(352, 376),
    widths=(1216, 1242),
    depth_scale=256.0,
    median_depth=(0.5, 150.0),
    typical_depth=(3.0, 40.0),
    unread=("image_00", "image_01", "oxts", "velodyne_points", "velodyne_raw"),
)

SOURCES = {
    "eigen": _source(
        "Eigen split: raw drives, annotated depth and list files.",
        eigen.find,
        # The training lists in circulation differ in length. 45 of the 697 test images have no
        # annotated depth; the maps of --test_depth may have it for all.
        {"train": (), "test": (652, 697)},
        takes_test_depth=True,
        takes_lists=True,
    ),
    "depth_prediction": _source(
        "Depth prediction benchmark: train, val, val_selection_cropped and test.",
        depth_prediction.find,
        {"train": (85898,), "val": (6852,), "val_selection_cropped": (1000,), "test": (500,)},
    ),
}


class Builder(DepthBuilder):
    """Writes KITTI depth."""

    SOURCES = SOURCES
    BUILDER_CONFIGS = builder_configs(SOURCES)
    HOMEPAGE = "https://www.cvlibs.net/datasets/kitti/eval_depth.php?benchmark=depth_prediction"
