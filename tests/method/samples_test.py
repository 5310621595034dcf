"""Samples of an image in training: scored together, they take the distribution of the truth.

One picture has many possible depths. The distribution of depth is known, and the sampler has to
learn it.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffdepth_jax.method.diffusion import create_schedule
from diffdepth_jax.method.pixel_objective import total_loss
from diffdepth_jax.method.refinement import predict_depth
from tests.support import tiny

SIZE = (4, 6)
STEPS = 500
LEARNING_RATE = optax.cosine_decay_schedule(5e-3, STEPS)
SAMPLER = {"num_steps": 1, "spacing": "trailing", "global_noise": 0.9}
SCHEDULE = create_schedule("cosine", 1000, 1e-4, 0.02, "sample")
MODEL = tiny.model()
IMAGE = tiny.batch(1, *SIZE)["image"]


def learned(log_depths, weights, samples):
    """The mean log depths of 512 samples, after training on pictures of these log depths."""
    objective = tiny.objective(
        MODEL, weights=weights, samples=samples, own_noise=True, sampler=SAMPLER
    )
    objective = dataclasses.replace(objective, schedule=SCHEDULE)
    optimizer = optax.adam(LEARNING_RATE)
    variables = tiny.init_model(MODEL)
    maps = MODEL.apply(variables, IMAGE, method="backbone_maps")
    pictures = {"image": IMAGE.repeat(16, 0), "features": [x.repeat(16, 0) for x in maps]}

    def loss(params, key):
        pick, noise = jax.random.split(key)
        truth = jnp.exp(jax.random.choice(pick, log_depths, (16, 1, 1, 1)))
        depth = jnp.broadcast_to(truth, (16, *SIZE, 1))
        batch = {**pictures, "depth": depth, "mask": depth > 0}
        draws = objective.draw(jax.random.split(noise, 16), *SIZE)
        terms, _ = objective.terms({**variables, "params": params}, batch, draws, None)
        return total_loss(terms, weights)

    @jax.jit
    def step(params, state, key):
        updates, state = optimizer.update(jax.grad(loss)(params, key), state)
        return optax.apply_updates(params, updates), state

    params = variables["params"]
    state = optimizer.init(params)
    for key in jax.random.split(jax.random.key(1), STEPS):
        params, state = step(params, state, key)
    noise = jax.random.normal(jax.random.key(2), (512, *MODEL.latent_shape(*SIZE)))
    depth = predict_depth(
        MODEL, {**variables, "params": params}, IMAGE, noise, schedule=SCHEDULE, **SAMPLER
    )
    return np.log(depth).mean((1, 2, 3))


CRPS = {"crps": 1.0, "crps_pooled": 1.0}
TODAY = {"silog": 1.0, "l1": 0.1, "ddim": 10.0, "latent": 1.0, "reconstruction": 1.0}
NORMAL = jax.random.normal(jax.random.key(3), (4000,)) * 0.3 + 1


def test_samples_have_the_width_of_the_truth():
    assert learned(NORMAL, CRPS, samples=2).std() == pytest.approx(0.3, rel=0.1)


def test_samples_find_both_of_two_depths():
    """Half of them near each; none of the losses of a single sample can do it."""
    found = learned(jnp.float32([0.5, 1.5]), CRPS, samples=2)
    near, far = (np.mean(np.abs(found - depth) < 0.15) for depth in (0.5, 1.5))
    assert min(near, far) > 0.3


def test_losses_of_each_sample_by_itself_collapse_to_one_depth():
    found = learned(NORMAL, TODAY, samples=1)
    assert found.std() < 0.05
