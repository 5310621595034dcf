"""Samples around a feed-forward model: a diffusion model that starts from its weights.

python -m diffdepth_jax.main --config=configs/frozen_samples.py --workdir=runs/samples \
    --config.train.initial_weights=runs/feed_forward --config.data.folder.root=DIR \
    --config.data.folder.image_pattern='image/*.png' \
    --config.data.folder.depth_pattern='depth/*.png'

runs/feed_forward is a run of configs/frozen_features.py on the same data. The samples of an image
are trained together by a proper scoring rule, so that their spread means something
(docs/self_diffusion.md). `--mode=calibrate` then fits intervals, see docs/uncertainty.md.
"""

from diffdepth_jax.configs import frozen_features


def samples_around(config):
    """Makes a feed-forward recipe that of samples around the model that it trained.

    Only the denoiser learns: neck and decoder that learn with it lose edges
    (docs/refinement_study.md).
    """
    config.model.kind = "diffusion"
    config.sampler.num_steps = 1
    config.sampler.start = "middle"  # one sample alone is the middle of all
    config.sampler.clip = 0.0  # the latents of a feed-forward model have no bound
    config.sampler.global_noise = 0.8  # mostly one vector of noise for the picture
    config.sampler.temperature = 0.9
    config.loss.samples = 2
    config.loss.own_noise = True
    for name in ("silog", "l1", "l2"):
        config.loss.weights[name] = 0.0
    config.loss.weights.crps = 1.0
    config.loss.weights.crps_pooled = 1.0
    config.loss.weights.ddim = 1.0
    config.optimizer.freeze = "(?!denoiser/).*"
    config.optimizer.learning_rate = 3e-4
    return config


def get_config():
    config = samples_around(frozen_features.get_config())
    config.train.initial_weights = "runs/feed_forward"
    config.train.num_steps = 600
    config.train.evaluate_every = 600
    config.optimizer.warmup_steps = 50
    config.evaluation.ensemble = 16
    return config
