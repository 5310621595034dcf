"""The paper as it describes itself, on NYU Depth V2: 20 leading steps of epsilon prediction.

python -m diffdepth_jax.main --config=configs/paper.py
"""

from diffdepth_jax.configs import nyu


def get_config():
    config = nyu.get_config()
    config.diffusion.schedule = "linear"
    config.diffusion.prediction_type = "epsilon"
    config.sampler.num_steps = 20
    config.sampler.spacing = "leading"
    config.sampler.clip = 0.0
    config.loss.pixel_losses_on_every_step = True
    config.loss.random_timesteps = False
    config.loss.weights.ddim = 1.0
    config.loss.weights.reconstruction = 0.1
    config.loss.weights.l1 = 1.0
    config.loss.weights.l2 = 1.0
    return config
