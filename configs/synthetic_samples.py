"""Samples that differ where the quick start's model is unsure: it goes on from that model.

python -m diffdepth_jax.main --config=configs/synthetic.py
python -m diffdepth_jax.main --config=configs/synthetic_samples.py

Two samples of an image are trained together by a proper scoring rule (docs/self_diffusion.md). It
takes a few minutes on two cores. docs/refinement_study.md says what the samples are worth.
"""

from diffdepth_jax.configs import synthetic
from diffdepth_jax.configs.frozen_samples import samples_around


def get_config():
    config = samples_around(synthetic.get_config())
    config.sampler.temperature = 0.6  # on photos 0.9 is better (docs/refinement_study.md)
    config.train.initial_weights = "runs/synthetic"
    config.train.num_steps = 800
    config.train.evaluate_every = 800
    config.optimizer.learning_rate = 5e-4
    config.optimizer.warmup_steps = 50
    config.evaluation.ensemble = 16
    return config
