"""The model of rooms that ships, `indoor_small`: EfficientNet-Lite0, fine-tuned on real photos.

python -m diffdepth_jax.main --config=configs/indoor_small.py --config.data.folder.root=DIR \
    --config.data.folder.list_file=train.txt --config.data.folder.eval_list_file=held_out.txt \
    --config.model.backbone_weights=FILE

The model that ships had 450 steps before these and 900 after; docs/models.md has the whole recipe,
its data and its scores.
"""

from diffdepth_jax.configs import folder
from diffdepth_jax.configs.feed_forward import feed_forward


def get_config():
    config = feed_forward(folder.get_config())
    config.model.backbone = "efficientnet_lite0"
    config.model.backbone_weights = "weights/efficientnet-lite0-57934424.pth"
    config.model.freeze_statistics = True
    config.model.drop_path_rate = 0.1
    config.model.decoder_width = 16
    config.model.detail_features = 0
    config.model.sharpen = 3
    for name in ("silog", "l1", "l2"):
        config.loss.weights[name] = 0.0
    config.loss.weights.crps = 1.0  # of one sample: the absolute error of log depth
    config.loss.weights.crps_pooled = 1.0
    config.frame.focal_length = 259.43  # of NYU's Kinect, 518.86 pixels at 640
    config.augmentation.crop_size = (240, 320)  # whole frames: prediction sees whole frames
    config.augmentation.zoom = 1.25
    config.train.num_steps = 1300
    config.train.evaluate_every = 650
    config.train.checkpoint_every = 100
    config.train.ema_decay = 0.99
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 30
    config.optimizer.backbone_multiplier = 0.4
    config.evaluation.protocol = "nyu_eigen"
    config.evaluation.flip_average = True
    config.evaluation.baselines = True
    return config
