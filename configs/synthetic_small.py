"""The model of rendered scenes that ships: the quick start's, with many more pictures.

python -m diffdepth_jax.main --config=configs/synthetic_small.py

Its scenes are of another seed than the quick start's. It takes an hour and a half on two cores. The
model that ships had 3500 steps after these; docs/models.md has the whole recipe and its scores.
"""

from diffdepth_jax.configs import synthetic


def get_config():
    config = synthetic.get_config()
    config.seed = 1
    config.model.backbone_weights = "none"
    config.optimizer.freeze = ""
    config.data.synthetic.num_train = 200_000  # no scene twice
    config.evaluation.baselines = False  # they look at all training scenes
    config.train.batch_size = 8
    config.train.num_steps = 8000
    config.train.evaluate_every = 2000
    config.train.checkpoint_every = 500
    config.optimizer.warmup_steps = 300
    return config
