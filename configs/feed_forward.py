"""The baseline without diffusion: the same backbone, neck and decoder, trained on rendered scenes.

python -m diffdepth_jax.main --config=configs/feed_forward.py

`feed_forward` does the same to any other configuration.
"""

from diffdepth_jax.configs import synthetic


def feed_forward(config):
    """Makes the model of a configuration feed-forward, and leaves the pixel losses alone."""
    config.model.kind = "feed_forward"
    config.sampler.num_steps = 1
    config.sampler.global_noise = 0.0
    config.evaluation.ensemble = 1
    config.loss.samples = 1
    config.loss.own_noise = False
    config.loss.gradient_steps = 0
    for name in ("ddim", "latent", "reconstruction"):
        config.loss.weights[name] = 0.0
    return config


def get_config():
    return feed_forward(synthetic.get_config())
