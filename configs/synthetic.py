"""The embedded default: rendered rooms and streets, no download, minutes on two CPU cores.

python -m diffdepth_jax.main --config=configs/synthetic.py

What encodes the image is trained already, as the backbones of other recipes are on ImageNet, and
stays as it is: backbone and details of synthetic_small, which saw other scenes. To start from
nothing add --config.model.backbone_weights=none --config.optimizer.freeze=
"""

from diffdepth_jax.configs import default


def get_config():
    config = default.get_config()
    config.data.source = "synthetic"
    config.model.backbone = "swin_micro"
    config.model.backbone_weights = "synthetic_small"
    config.model.window_size = 4
    config.model.drop_path_rate = 0.0
    config.model.neck_features = 64
    config.model.denoiser_features = 32
    config.model.detail_features = 12
    config.model.sharpen = 1
    config.sampler.num_steps = 1
    config.sampler.clip = 0.0  # no loss ties the latents to encoded ones, which have a bound
    config.sampler.remat = False
    config.loss.pixel_losses_on_every_step = False
    config.loss.random_timesteps = False
    config.loss.silog_lambda = 0.3
    for name in ("silog", "l1", "l2", "latent", "reconstruction"):
        config.loss.weights[name] = 0.0
    config.loss.weights.ddim = 1.0
    config.loss.weights.crps = 1.0  # of one sample: the absolute error of log depth
    config.loss.weights.crps_pooled = 1.0
    config.loss.weights.gradient_matching = 0.5
    config.frame.size = (64, 96)
    config.frame.focal_length = 86.4
    config.frame.max_depth = 80.0
    config.augmentation.crop_size = (64, 96)
    config.augmentation.color_probability = 0.0  # brightness tells distance here
    config.train.batch_size = 4
    config.train.num_steps = 3000
    config.train.evaluate_every = 1500
    config.train.checkpoint_every = 250
    config.train.num_threads = 1
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 150
    config.optimizer.freeze = "(backbone|detail)/.*"
    config.optimizer.backbone_multiplier = 1.0  # of one that is not frozen
    config.evaluation.batch_size = 20
    config.evaluation.baselines = True
    return config
