"""A feed-forward model on features of a frozen, pretrained backbone: real photos on two CPU cores.

python -m diffdepth_jax.main --config=configs/frozen_features.py --config.data.folder.root=DIR \
    --config.data.folder.image_pattern='image/*.png' \
    --config.data.folder.depth_pattern='depth/*.png' --config.model.backbone_weights=FILE

The features are computed once and kept on disk; training then runs the neck and the head alone.
docs/porting_weights.md says where weights of a DINOv2 come from.
"""

from diffdepth_jax.configs import folder
from diffdepth_jax.configs.feed_forward import feed_forward


def get_config():
    config = feed_forward(folder.get_config())
    config.model.backbone = "dinov2_small"
    config.model.backbone_weights = "weights/dinov2_small.safetensors"
    config.optimizer.freeze = "backbone/.*"
    config.frame.size = (252, 336)
    config.augmentation.crop_size = (224, 294)
    config.augmentation.color_probability = 0.0
    config.train.cache_features = 1
    return config
