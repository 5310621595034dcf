"""KITTI, Eigen split: latent diffusion on a DINOv2, or on the encoder of a Depth Anything V2.

diffdepth prepare --dataset=kitti_depth/eigen --source=DIR --data_dir=datasets
python -m diffdepth_jax.main --config=configs/kitti_dinov2.py \
    --config.model.backbone_weights=FILE

See configs/nyu_dinov2.py; it has not been run in full.
"""

from diffdepth_jax.configs import kitti
from diffdepth_jax.configs.nyu_dinov2 import on_vit


def get_config(mode="tuned"):
    config = kitti.get_config()
    # 350 and 700 are whole patches; frames of 352x1216 are padded to 364x1218.
    config.augmentation.crop_size = (350, 700)
    return on_vit(config, "dinov2_large", "weights/dinov2_large.safetensors", mode)
