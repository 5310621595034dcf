"""From a normalised image and noise to depth: what training, evaluation and prediction share."""

import jax
import jax.numpy as jnp
from flax import struct

from diffdepth_jax.method import diffusion


def apply(model, variables, *args, method, train, **kwargs):
    """One method of the model -> (its output, the variables after it).

    In training a part with batch norms takes the batch's statistics, and the variables returned
    hold the updated running ones; otherwise they are the ones that came in.
    """
    if not train:
        return model.apply(variables, *args, method=method, **kwargs), variables
    output, updated = model.apply(
        variables, *args, method=method, train=True, mutable=["batch_stats"], **kwargs
    )
    return output, {**variables, **updated}


@struct.dataclass
class Refinement:
    """One run of the sampler.

    Attributes:
      variables: of the model after encoding the image, see `apply`.
      condition: [B, h, w, C], of every start noise.
      latents: [S + 1, B, h, w, d], from the start noise to the refined latent.
      x0s: [S, B, h, w, d], each step's estimate of the clean latent.
    """

    variables: dict
    condition: jnp.ndarray
    latents: jnp.ndarray
    x0s: jnp.ndarray

    @property
    def latent(self):
        """The refined latent [B, h, w, d]."""
        return self.latents[-1]


def refine(
    model, variables, image, noise, *, schedule, num_steps, train=False, rngs=None, **sampler
) -> Refinement:
    """Encodes the image once and samples a latent from `noise`, [B, *model.latent_shape(H, W)].

    An image may have several start noises: B is then a multiple of the number of images, and the
    noises of one image follow each other. Each image is still encoded once.
    `train` and `rngs` concern the image encoder only (stochastic depth, batch norms); `sampler`
    goes to `diffusion.ddim_sample`.
    """
    condition, variables = apply(
        model, variables, image, method="encode_image", train=train, rngs=rngs
    )
    num_images, num_noises = image.shape[0], noise.shape[0]  # which export knows by name only
    if num_noises != num_images:
        condition = jnp.repeat(condition, num_noises // num_images, axis=0)

    prepared = model.apply(variables, method="prepare_denoiser")

    def denoise(latent, timestep):
        return model.apply(variables, latent, timestep, condition, *prepared, method="denoise")

    latents, x0s = diffusion.ddim_sample(denoise, noise, schedule, num_steps=num_steps, **sampler)
    return Refinement(variables, condition, latents, x0s)


def decode_log_depth(model, variables, latent, height, width, train=False):
    """Latent [B, h, w, d] -> (log of metres [B, height, width, 1], variables, see `apply`).

    The codec's padding is cropped.
    """
    log_depth, variables = apply(model, variables, latent, method="decode_log_depth", train=train)
    return log_depth[:, :height, :width], variables


def predict_depth(model, variables, image, noise, *, schedule, num_steps, **sampler):
    """Depth in metres, float32 [B, H, W, 1], for a normalised image [B, H, W, 3] of any size."""
    refinement = refine(
        model, variables, image, noise, schedule=schedule, num_steps=num_steps, **sampler
    )
    log_depth, _ = decode_log_depth(model, variables, refinement.latent, *image.shape[1:3])
    return jnp.exp(log_depth)


def decode_steps(model, variables, latents, height, width):
    """Metres [S, B, height, width, 1] of latents [S, B, h, w, d]; decodes step by step."""

    def decode(latent):
        log_depth, _ = decode_log_depth(model, variables, latent, height, width)
        return jnp.exp(log_depth)

    return jax.lax.map(decode, latents)
