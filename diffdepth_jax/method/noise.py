"""The noise that the sampler starts from, and adds."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from diffdepth_jax.arrays import Array, ImageKeys, Size

Noise = Float[Array, "batch *shape"]


def normal_per_image(keys: ImageKeys, shape: tuple[Size, ...]) -> Float[Array, " batch *shape"]:
    """Unit Gaussian [B, *shape]; an image's noise depends on its key, not on its place."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(keys)


def with_global_part(noise: Noise, share: float) -> Noise:
    """Noise [B, ..., C] of which a share of the variance is the same in all cells of a channel.

    Unit Gaussian noise stays unit Gaussian in each cell; a share of 0 changes nothing. The mean of
    independent noise over its cells is stretched, and the rest is shrunk. Samples that start from
    such noise can differ as a whole, in the scale of the scene for instance.
    """
    if not share:
        return noise
    axes = tuple(range(1, noise.ndim - 1))
    mean, cells = noise.mean(axes, keepdims=True), math.prod(noise.shape[1:-1])
    return (1 - share) ** 0.5 * (noise - mean) + (1 - share + cells * share) ** 0.5 * mean


def antithetic(noise: Noise, members: int) -> Noise:
    """Noise [images * members, ...] of which every second member of an image is minus the last one.

    Each is as random as before, but a pair lies to both sides of the middle: the median of few
    samples comes closer to that of many (antithetic variates, Hammersley and Morton 1956).
    """
    first = noise.reshape(-1, members, *noise.shape[1:])[:, ::2]
    pairs = jnp.stack([first, -first], axis=2).reshape(len(first), -1, *noise.shape[1:])
    return pairs[:, :members].reshape(noise.shape)


def noise_for_step(
    keys: ImageKeys, timestep: Int[Array, "*batch"], latent: Noise, share: float
) -> Noise:
    """Noise that a stochastic sampler adds at a timestep, of the latent's shape."""
    keys = jax.vmap(jax.random.fold_in)(keys, jnp.broadcast_to(timestep, keys.shape))
    return with_global_part(normal_per_image(keys, latent.shape[1:]), share)
