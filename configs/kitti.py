"""KITTI, Eigen split, with Swin-L.

diffdepth prepare --dataset=kitti_depth/eigen --source=DIR --data_dir=datasets
python -m diffdepth_jax.main --config=configs/kitti.py

Scored up to 80 m in the Garg crop of the 352x1216 crop, as most papers do;
--config.evaluation.protocol takes the others. Batch 16 at 352x704 is meant for 8 GPUs or a TPU
v3-8.
The paper reports abs_rel .050, rmse 2.016, d1 .977; this recipe has not been run in full.
"""

from diffdepth_jax.configs import nyu


def get_config():
    config = nyu.get_config()
    config.data.records.name = "kitti_depth/eigen"
    config.frame.size = (352, 1216)
    config.frame.input_crop = "kb"
    config.frame.focal_length = 721.5377
    config.frame.max_depth = 80.0
    config.augmentation.box = ()  # that of NYU is its white border
    config.augmentation.crop_size = (352, 704)
    config.augmentation.brightness = 0.1
    config.evaluation.protocol = "kitti_garg_kb"
    return config
