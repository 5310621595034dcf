"""The TFDS builder `nyu_depth`, with a config for each source."""

import functools

from diffdepth_jax.data.builder import DepthBuilder, builder_configs
from diffdepth_jax.data.frames import Source
from diffdepth_jax.data.nyu_depth import hdf5, labeled, sync

# Kinect depth, 0.5 to 10 m, 480 x 640.
_source = functools.partial(
    Source,
    heights=(480, 480),
    widths=(640, 640),
    depth_scale=1000.0,
    median_depth=(0.1, 50.0),
    typical_depth=(0.5, 8.0),
)
_LABELED = {"train": (795,), "test": (654,)}

SOURCES = {
    "labeled": _source(
        "nyu_depth_v2_labeled.mat with splits.mat; depth as measured (rawDepths).",
        functools.partial(labeled.find, depth="rawDepths"),
        _LABELED,
    ),
    "labeled_filled": _source(
        "nyu_depth_v2_labeled.mat with splits.mat; depth with its holes filled (depths).",
        functools.partial(labeled.find, depth="depths"),
        _LABELED,
    ),
    "sync": _source(
        "rgb_*.jpg and sync_depth_*.png by scene, with list files.",
        sync.find,
        {"train": (24231, 36253), "test": (654,)},
        takes_lists=True,
    ),
    "hdf5": _source(
        "HDF5 frames nyudepthv2/{train,val/official}, from a folder or a tar file.",
        hdf5.find,
        {"train": (47584,), "test": (654,)},
    ),
}


class Builder(DepthBuilder):
    """Writes NYU Depth V2."""

    SOURCES = SOURCES
    BUILDER_CONFIGS = builder_configs(SOURCES)
    HOMEPAGE = "https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html"
