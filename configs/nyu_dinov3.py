"""NYU Depth V2: latent diffusion on a DINOv3.

diffdepth prepare --dataset=nyu_depth/sync --source=DIR --data_dir=datasets
python -m diffdepth_jax.main --config=configs/nyu_dinov3.py \
    --config.model.backbone_weights=dinov3_vitl16_pretrain_lvd1689m-8aa4cbdd.pth

:frozen after the name leaves the backbone as it is. See configs/nyu_dinov2.py; it has not been run
in full.
"""

from diffdepth_jax.configs import nyu
from diffdepth_jax.configs.nyu_dinov2 import on_vit


def get_config(mode="tuned"):
    config = nyu.get_config()  # 480x640 and 416x544 are whole patches of 16
    return on_vit(config, "dinov3_large", "weights/dinov3_large.safetensors", mode)
