"""From a normalised image and noise to depth: training, evaluation and prediction share this.

A feed-forward model goes the same way without noise: its one latent takes the place of the refined
one.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Float

from diffdepth_jax.arrays import Array, Depth, Details, Latent, Size, Variables
from diffdepth_jax.method import diffusion
from diffdepth_jax.method.sharpening import sharpened
from diffdepth_jax.models.assembly import FeedForwardDepth
from diffdepth_jax.models.codec import Decoded


@runtime_checkable
class DepthModel(Protocol):
    """The part of the networks in `models.assembly` that this module uses."""

    sharpen: int

    def apply(self, variables: Variables, *args: Any, **kwargs: Any) -> Any: ...


def apply(
    model: DepthModel, variables: Variables, *args: Array, method: str, train: bool, **kwargs: Any
) -> tuple[Any, Variables]:
    """Calls a method of the model; returns its output and the variables after it.

    In training, batch norms use the statistics of the batch, and the returned variables hold the
    updated running statistics. Otherwise the variables come back as they were.
    """
    if not train:
        return model.apply(variables, *args, method=method, **kwargs), variables
    output, updated = model.apply(
        variables, *args, method=method, train=True, mutable=["batch_stats"], **kwargs
    )
    return output, {**variables, **updated}


# The fields are Any, because jax.tree.map also builds this class with leaves that are no arrays.
@struct.dataclass
class Refinement:
    """One run of the sampler, or of a feed-forward model.

    Attributes:
      variables: of the model after encoding the image, see `apply`.
      condition: [B, h, w, C], one for each start noise.
      latents: [S + 1, B, h, w, d], from the start noise to the refined latent; of a feed-forward
        model its latent alone.
      details: of the image, one for each start noise, or None; see `DepthNetwork.image_details`.
      x0s: [S, B, h, w, d], each step's estimate of the clean latent.
    """

    variables: Any
    condition: Any
    details: Any
    latents: Any
    x0s: Any

    @property
    def latent(self) -> Latent:
        """The refined latent [B, h, w, d]."""
        return self.latents[-1]


def refine(
    model: DepthModel,
    variables: Variables,
    image: Float[Array, "images height width 3"],
    noise: Latent,
    *,
    schedule: diffusion.NoiseSchedule,
    num_steps: int,
    train: bool = False,
    rngs: Mapping[str, jax.Array] | None = None,
    maps: Sequence[Float[Array, "images _ _ _"]] | None = None,
    **sampler: Any,
) -> Refinement:
    """Encodes each image once and refines `noise`, [B, *model.latent_shape(H, W)], to a latent.

    An image may have several start noises: B is then a multiple of the number of images, and the
    noises of one image follow each other.

    Args:
      model, variables: a network of `models.assembly`. A feed-forward one uses no noise.
      image: normalised.
      noise: unit Gaussian.
      schedule, num_steps, **sampler: see `diffusion.ddim_sample`.
      train, rngs: for the image encoder, which alone has stochastic depth.
      maps: the backbone's maps of the images, if it need not run.
    """
    details = model.apply(variables, image, method="image_details")
    condition, variables = apply(
        model,
        variables,
        image,
        method="encode_image",
        train=train,
        rngs=rngs,
        maps=maps,
        details=details,
    )
    num_images, num_noises = image.shape[0], noise.shape[0]  # under export these are symbols
    if num_noises != num_images:
        repeat = functools.partial(jnp.repeat, repeats=num_noises // num_images, axis=0)
        condition, details = jax.tree.map(repeat, (condition, details))

    if isinstance(model, FeedForwardDepth):
        latent = model.apply(variables, condition, method="predict_latent")[None]
        return Refinement(variables, condition, details, latent, latent)
    prepared = model.apply(variables, method="prepare_denoiser")

    def denoise(latent, timestep):
        return model.apply(variables, latent, timestep, condition, *prepared, method="denoise")

    latents, x0s = diffusion.ddim_sample(denoise, noise, schedule, num_steps=num_steps, **sampler)
    return Refinement(variables, condition, details, latents, x0s)


def decode(
    model: DepthModel,
    variables: Variables,
    latent: Latent,
    height: Size,
    width: Size,
    *,
    details: Details | None = None,
    train: bool = False,
) -> tuple[Decoded, Variables]:
    """The decoder's maps [B, height, width, 1] of a latent, and the variables, see `apply`.

    `details` are those of the images, if the model sees any.

    The codec's output is up to one pixel larger than the image; the surplus is cropped.
    """
    decoded, variables = apply(
        model, variables, latent, details=details, method="decode", train=train
    )
    return jax.tree.map(lambda x: x[:, :height, :width], decoded), variables


def decode_log_depth(
    model: DepthModel,
    variables: Variables,
    latent: Latent,
    height: Size,
    width: Size,
    **kwargs: Any,
) -> tuple[Depth, Variables]:
    """The log of metres [B, height, width, 1] alone, see `decode`."""
    decoded, variables = decode(model, variables, latent, height, width, **kwargs)
    return decoded.log_depth, variables


def predict(
    model: DepthModel,
    variables: Variables,
    image: Float[Array, "images height width 3"],
    noise: Latent,
    **sampler: Any,
) -> Decoded:
    """What the decoder says of normalised images of any size; see `refine` for the arguments."""
    refinement = refine(model, variables, image, noise, **sampler)
    return final_maps(model, variables, image, refinement)


def final_maps(
    model: DepthModel,
    variables: Variables,
    image: Float[Array, "images height width 3"],
    refinement: Refinement,
) -> Decoded:
    """What the decoder says of the refined latents, with sharp edges if the model has them."""
    size, details = image.shape[1:3], refinement.details
    maps, _ = decode(model, variables, refinement.latent, *size, details=details)
    if maps.log_depth is None:
        return maps
    return dataclasses.replace(maps, log_depth=_sharp(model, maps.log_depth, image))


def _sharp(
    model: DepthModel, log_depth: Depth, image: Float[Array, "images height width 3"]
) -> Depth:
    return sharpened(log_depth, image, model.sharpen) if model.sharpen else log_depth


def predict_depth(
    model: DepthModel,
    variables: Variables,
    image: Float[Array, "images height width 3"],
    noise: Latent,
    *,
    schedule: diffusion.NoiseSchedule,
    num_steps: int,
    **sampler: Any,
) -> Depth:
    """Depth in metres, float32 [B, H, W, 1], of normalised images of any size, see `refine`."""
    settings = {"schedule": schedule, "num_steps": num_steps, **sampler}
    return jnp.exp(predict(model, variables, image, noise, **settings).log_depth)


def decode_steps(
    model: DepthModel,
    variables: Variables,
    image: Float[Array, "images height width 3"],
    latents: Float[Array, "latents images rows columns channels"],
    *,
    details: Details | None = None,
) -> Float[Array, "latents images height width 1"]:
    """Metres of each step's latent, as `final_maps`; one step at a time, to save memory."""

    def metres(latent):
        log_depth, _ = decode_log_depth(
            model, variables, latent, *image.shape[1:3], details=details
        )
        return jnp.exp(_sharp(model, log_depth, image))

    return jax.lax.map(metres, latents)
