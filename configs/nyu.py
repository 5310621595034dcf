"""NYU Depth V2 with Swin-L, from the `sync` folders and their list files.

python -m diffdepth_jax.main --config=configs/nyu.py --config.data.root=DIR

Meant for 8 GPUs or a TPU v3-8. The paper reports abs_rel .085, rmse .295, d1 .939.
"""

from ml_collections import ConfigDict

from configs import default


def get_config():
    config = default.get_config()
    config.data = ConfigDict(
        {
            "source": "folder",
            "root": "data/nyu_depth/sync",
            "image_pattern": "*/rgb_*.jpg",
            "depth_pattern": "*/sync_depth_*.png",
            "list_file": "train.txt",
            "eval_list_file": "test.txt",
            "depth_scale": 1000.0,
            "holdout_every": 0,
        }
    )
    config.model.backbone = "swin_large"
    config.model.dtype = "bfloat16"
    config.inference.focal_length = 518.8579
    config.evaluation.crop = "nyu_eigen"
    return config
