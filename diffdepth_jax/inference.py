"""From a normalised image and noise to depth: what training, evaluation and prediction share."""

import jax.numpy as jnp
from flax import struct

from diffdepth_jax import diffusion


@struct.dataclass
class Refinement:
    """One run of the sampler.

    Attributes:
      condition: [B, h, w, C].
      latents: [S + 1, B, h, w, d], from the start noise to the refined latent.
      x0s: [S, B, h, w, d], each step's estimate of the clean latent.
    """

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

    `train` and `rngs` concern the image encoder only (stochastic depth); `sampler` goes to
    `diffusion.ddim_sample`.
    """
    condition = model.apply(variables, image, train=train, method="encode_image", rngs=rngs)

    def denoise(latent, timestep):
        return model.apply(variables, latent, timestep, condition, method="denoise")

    latents, x0s = diffusion.ddim_sample(denoise, noise, schedule, num_steps=num_steps, **sampler)
    return Refinement(condition, latents, x0s)


def decode_log_depth(model, variables, latent, height, width):
    """Latent [B, h, w, d] -> log of metres [B, height, width, 1], the codec's padding cropped."""
    log_depth = model.apply(variables, latent, method="decode_log_depth")
    return log_depth[:, :height, :width]


def predict_depth(model, variables, image, noise, *, schedule, num_steps, **sampler):
    """Depth in metres, float32 [B, H, W, 1], for a normalised image [B, H, W, 3] of any size."""
    refinement = refine(
        model, variables, image, noise, schedule=schedule, num_steps=num_steps, **sampler
    )
    return jnp.exp(
        decode_log_depth(model, variables, refinement.latent, image.shape[1], image.shape[2])
    )
