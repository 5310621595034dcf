"""The image itself beside the backbone, so that edges of depth fall on edges of the image."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from diffdepth_jax.arrays import Details, Features, Image
from diffdepth_jax.models.layers import LayerNorm

_WIDTHS = (1, 2, 4, 8, 8, 8)  # times the channels at stride 1, at strides 1 to 32


class DetailPath(nn.Module):
    """Light convolutions of the image at strides 1 to 32, like the first half of a U-Net.

    The decoder sees stride 1, the condition stride 2, and the neck the maps that have the sizes of
    the backbone's. A backbone that starts from nothing learns slowly; convolutions do not.

    Attributes:
      features: channels at stride 1, and 2, 4, 8, 8, 8 times as many at the strides 2 to 32.
      dtype: compute dtype.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, image: Image) -> Details:
        """Normalised image [B, H, W, 3] -> maps [B, ceil(H / s), ceil(W / s), c] at each stride."""
        conv = functools.partial(nn.Conv, kernel_size=(3, 3), dtype=self.dtype)
        x, maps = image.astype(self.dtype), []
        for level, width in enumerate(_WIDTHS):
            strides = (2, 2) if level else (1, 1)
            x = conv(width * self.features, strides=strides, name=f"in{level}")(x)
            x = self._activate(x, f"in{level}_norm") if level else jax.nn.gelu(x)
            y = conv(width * self.features, name=f"conv{level}")(x)
            x = x + self._activate(y, f"conv{level}_norm")
            maps.append(x)
        return tuple(maps)

    def _activate(self, x: Features, name: str) -> Features:
        return jax.nn.gelu(LayerNorm(dtype=self.dtype, name=name)(x))
