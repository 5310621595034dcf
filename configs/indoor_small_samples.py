"""Samples around the feed-forward model of configs/indoor_small.py; backbone and neck stay.

python -m diffdepth_jax.main --config=configs/indoor_small_samples.py \
    --config.data.folder.root=DIR --config.data.folder.list_file=train.txt \
    --config.data.folder.eval_list_file=held_out.txt

It starts from runs/indoor_small. docs/models.md has its scores.
"""

from diffdepth_jax.configs import indoor_small
from diffdepth_jax.configs.frozen_samples import samples_around


def get_config():
    config = samples_around(indoor_small.get_config())
    config.sampler.start = "noise"
    config.sampler.global_noise = 0.5
    config.sampler.temperature = 1.0
    config.train.initial_weights = "runs/indoor_small"
    config.optimizer.freeze = "(backbone|neck)/.*"
    config.train.num_steps = 200
    config.train.evaluate_every = 200
    config.optimizer.warmup_steps = 20
    config.evaluation.flip_average = False  # a calibration holds for samples as they are
    config.evaluation.ensemble = 8
    return config
