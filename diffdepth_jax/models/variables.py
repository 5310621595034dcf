"""A model's variables: random ones, and their shapes."""

import jax
import jax.numpy as jnp


def init_variables(model, key, height=32, width=32):
    """Random float32 variables; their shapes do not depend on the size of the image."""
    image = jnp.zeros((1, height, width, 3))
    depth = jnp.ones((1, height, width, 1))
    return jax.jit(model.init)(key, image, depth, depth > 0)


def abstract_variables(model):
    """Shapes and types of `init_variables`, nothing computed."""
    return jax.eval_shape(lambda: init_variables(model, jax.random.key(0)))
