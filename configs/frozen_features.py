"""A feed-forward model on features of a frozen, pretrained backbone: real photos on two CPU cores.

python -m diffdepth_jax.main --config=configs/frozen_features.py --config.data.folder.root=DIR \
    --config.data.folder.image_pattern='image/*.png' \
    --config.data.folder.depth_pattern='depth/*.png' --config.model.backbone_weights=FILE

The features are computed once and kept on disk; training then runs the neck and the head alone.
docs/porting_weights.md says where weights of a DINOv2 come from. On the 795 labelled images of NYU
it took 41 minutes on two cores that had other work. On the 654 test images, with
--config.evaluation.flip_average=True, abs_rel is .208, rmse .68 m, d1 .66 (docs/results.md).
"""

from diffdepth_jax.configs import folder
from diffdepth_jax.configs.feed_forward import feed_forward


def get_config():
    config = feed_forward(folder.get_config())
    config.model.backbone = "dinov2_small"
    config.model.backbone_weights = "weights/dinov2_small.safetensors"
    config.optimizer.freeze = "backbone/.*"
    config.model.neck = "dpt"
    config.model.neck_features = 64
    config.model.decoder_width = 16
    config.model.detail_features = 0
    config.loss.weights.gradient_matching = 0.0
    config.loss.silog_lambda = 0.15
    config.frame.size = (168, 224)
    # Whole frames: a ViT stretches its positions over what it sees, and prediction sees all.
    config.augmentation.crop_size = (168, 224)
    config.augmentation.color_probability = 0.0
    config.train.cache_features = 1
    config.train.num_steps = 1200
    config.train.evaluate_every = 400
    config.train.ema_decay = 0.99
    config.optimizer.learning_rate = 1e-3
    return config
