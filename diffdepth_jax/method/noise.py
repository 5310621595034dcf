"""The noise that the sampler starts from, and adds."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from diffdepth_jax.arrays import Array, ImageKeys, Size

Noise = Float[Array, "batch *shape"]


def settings_for(samples: int, sampler: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `diffusion.ddim_sample` for so many samples of an image."""
    return {**sampler, "start": start_of(sampler["start"], samples)}


def start_of(start: str, samples: int) -> str:
    """What the samples of an image start from: "noise" or "zeros".

    "middle" is noise if there are several, and zeros for one: the middle of what it may be.
    """
    if start != "middle":
        return start
    return "noise" if samples > 1 else "zeros"


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


def count_paired(members: int) -> int:
    """How many of an image's members, the first ones, come in pairs, see `antithetic`.

    Of fewer than four none do: two that are one pair do not tell how far apart samples lie.
    """
    return 2 * (members // 2) if members > 3 else 0


def antithetic(noise: Noise, members: int) -> Noise:
    """Noise [images * members, ...] of which every second member of an image is minus the last one.

    Each is as random as before, but a pair lies to both sides of the middle: the median of few
    samples comes closer to that of many (antithetic variates, Hammersley and Morton 1956).
    """
    of_images = noise.reshape(-1, members, *noise.shape[1:])
    count = count_paired(members)
    first = of_images[:, :count:2]
    pairs = jnp.stack([first, -first], axis=2).reshape(of_images[:, :count].shape)
    return jnp.concatenate([pairs, of_images[:, count:]], axis=1).reshape(noise.shape)


def noise_for_step(
    keys: ImageKeys, timestep: Int[Array, "*batch"], latent: Noise, share: float
) -> Noise:
    """Noise that a stochastic sampler adds at a timestep, of the latent's shape."""
    keys = jax.vmap(jax.random.fold_in)(keys, jnp.broadcast_to(timestep, keys.shape))
    return with_global_part(normal_per_image(keys, latent.shape[1:]), share)
