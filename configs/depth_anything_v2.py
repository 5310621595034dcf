"""Depth Anything V2: for conversion, evaluation, and fine-tuning on a folder of RGB-D data.

python -m diffdepth_jax.convert --config=configs/depth_anything_v2.py:small_indoor \
    --checkpoint=depth_anything_v2_metric_hypersim_vits.pth --output=models/small_indoor
python -m diffdepth_jax.main --config=configs/depth_anything_v2.py:small_indoor \
    --config.train.initial_weights=models/small_indoor --config.data.folder.root=DIR

After the colon stands the size, small, base or large, and for the metric models `_indoor` (20 m)
or `_outdoor` (80 m); without it the model is relative. Its scores are aligned to the ground truth.

Fine-tuning of a metric model follows the authors' metric_depth/train.py: a rate of 5e-6, ten times
that outside of the encoder, falling as a polynomial, a decay of .01, flips alone, and the silog
loss with .5 (ours is without the square root). There a batch has 32 images, and 120 epochs are
run. It has not been run in full here.
"""

from diffdepth_jax.configs import default
from diffdepth_jax.configs.feed_forward import feed_forward

MAX_DEPTHS = {"": 0.0, "indoor": 20.0, "outdoor": 80.0}  # metres; 0: relative


def relative(config):
    """Makes a Depth Anything relative: its losses and its scores are blind to scale and shift."""
    config.model.max_depth = 0.0
    for name in config.loss.weights:
        config.loss.weights[name] = 0.0
    config.loss.weights.scale_shift_invariant = 1.0
    config.evaluation.alignment = "scale_shift_disparity"
    return config


def get_config(variant="small"):
    size, _, scenes = variant.partition("_")
    config = feed_forward(default.get_config())
    config.model.backbone = f"dinov2_{size}"
    config.model.neck = "depth_anything"
    config.model.codec = "depth_anything"
    config.model.drop_path_rate = 0.0
    config.model.max_depth = MAX_DEPTHS[scenes]
    config.frame.size = (518, 686)
    config.frame.max_depth = config.model.max_depth or 10.0
    config.augmentation.crop_size = (518, 518)
    config.augmentation.color_probability = 0.0
    config.loss.silog_lambda = 0.5
    config.loss.weights.l1 = config.loss.weights.l2 = 0.0
    config.train.batch_size = 8
    config.optimizer.learning_rate = 5e-5
    config.optimizer.backbone_multiplier = 0.1
    config.optimizer.schedule = "polynomial"
    config.optimizer.weight_decay = 0.01
    config.optimizer.warmup_steps = 0
    config.optimizer.end_fraction = 0.0
    config.evaluation.batch_size = 1
    return config if config.model.max_depth else relative(config)
