"""The embedded default: rendered rooms and streets, no download, minutes on two CPU cores.

python -m diffdepth_jax.main --config=configs/synthetic.py

Only the backbone is trained already, as those of other recipes are on ImageNet: it is that of
synthetic_small, which saw other scenes. --config.model.backbone_weights=none starts from nothing.
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
    config.train.num_steps = 3200
    config.train.evaluate_every = 1600
    config.train.checkpoint_every = 250
    config.train.num_threads = 1
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 160
    config.optimizer.backbone_multiplier = 0.3
    config.evaluation.batch_size = 20
    config.evaluation.baselines = True
    return config
