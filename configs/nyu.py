"""NYU Depth V2 with Swin-L.

diffdepth prepare --dataset=nyu_depth/sync --source=DIR --data_dir=datasets
python -m diffdepth_jax.main --config=configs/nyu.py

--config.data.records.name takes any prepared form of NYU (data/README.md), and nyu_depth_v2 as TFDS
itself prepares it, whose test split is called validation. Batch 16 at 416x544 is meant for 8 GPUs
or a TPU v3-8. The paper reports abs_rel .085, rmse .295, d1 .939; this recipe has not been run in
full.
"""

from diffdepth_jax.configs import default

SWIN_LARGE = "weights/swin_large_patch4_window7_224_22k.pth"


def get_config():
    config = default.get_config()
    config.data.source = "records"
    config.data.records.name = "nyu_depth/sync"
    config.model.backbone = "swin_large"
    config.model.backbone_weights = SWIN_LARGE
    config.model.dtype = "bfloat16"
    config.frame.focal_length = 518.8579
    config.augmentation.box = (45, 472, 43, 608)  # without the white border, as BTS has it
    config.evaluation.protocol = "nyu_eigen"
    config.train.max_unreadable = 10
    return config
