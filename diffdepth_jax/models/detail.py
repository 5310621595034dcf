"""The image at full and at half size, so that edges of depth fall on edges of the image."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from diffdepth_jax.arrays import Details, Image
from diffdepth_jax.models.layers import LayerNorm


class DetailPath(nn.Module):
    """Light convolutions of the image: the decoder sees stride 1, the condition stride 2.

    Attributes:
      features: channels at stride 1; twice as many at stride 2.
      dtype: compute dtype.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Image) -> Details:
        """Normalised image [B, H, W, 3] -> maps [B, H, W, c] and [B, ceil(H/2), ceil(W/2), 2 c]."""
        conv = functools.partial(nn.Conv, kernel_size=(3, 3), dtype=self.dtype)
        fine = jax.nn.gelu(conv(self.features, name="fine_in")(image.astype(self.dtype)))
        fine = conv(self.features, name="fine_out")(fine)
        fine = jax.nn.gelu(LayerNorm(dtype=self.dtype, name="fine_norm")(fine))
        coarse = conv(2 * self.features, strides=(2, 2), name="coarse")(fine)
        return fine, jax.nn.gelu(LayerNorm(dtype=self.dtype, name="coarse_norm")(coarse))
