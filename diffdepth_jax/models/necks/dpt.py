"""From the maps of a Vision Transformer to a pyramid: DPT (Ranftl et al., ICCV 2021)."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from diffdepth_jax.arrays import Array, Features, Size
from diffdepth_jax.models.convolutions import Conv
from diffdepth_jax.models.layers import Dense, resize_bilinear

STRIDES = (4, 8, 16, 32)


class Reassemble(nn.Module):
    """Makes maps of equal stride a pyramid with the strides 4, 8, 16 and 32 of other backbones.

    DPT's step of this name, but the maps are resized bilinearly, where DPT has transposed
    convolutions: then any image size works.

    Attributes:
      features: channels of every map.
      stride: of the maps, in pixels of the image; cell i begins at pixel i * stride.
      dtype: compute dtype.
    """

    features: int
    stride: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, maps: Sequence[Features], height: Size, width: Size
    ) -> tuple[Float[Array, "batch _ _ features"], ...]:
        """Maps [B, h, w, C] of an image [H, W] -> maps [B, ceil(H/s), ceil(W/s), features]."""
        pyramid = []
        for level, (x, stride) in enumerate(zip(maps, STRIDES, strict=True)):
            # First fewer channels, then more pixels: both are linear, so the order is free.
            x = Dense(self.features, dtype=self.dtype, name=f"project{level}")(x)
            shape = (x.shape[0], -(-height // stride), -(-width // stride), self.features)
            scale = jnp.full(2, self.stride / stride, jnp.float32)
            pyramid.append(
                jax.image.scale_and_translate(
                    x, shape, (1, 2), scale, jnp.zeros(2), "linear", antialias=False
                )
            )
        return tuple(pyramid)


class ResidualUnit(nn.Module):
    """x + conv3x3(relu(conv3x3(relu(x)))), DPT's residual convolution unit."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch rows columns features"]
    ) -> Float[Array, "batch rows columns features"]:
        y = Conv(self.features, 3, self.dtype, "conv1")(jax.nn.relu(x))
        return x + Conv(self.features, 3, self.dtype, "conv2")(jax.nn.relu(y))


class DPT(nn.Module):
    """DPT's fusion: each map joins the coarser ones, through residual units, from coarse to fine.

    Maps are resized bilinearly with pixel centres aligned; DPT aligns the corners.

    Attributes:
      features: channels of every map of the pyramid.
      dtype: compute dtype.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, features: Sequence[Features], train: bool = False) -> tuple[Features, ...]:
        """Maps [B, h_i, w_i, C_i], finest first, to a pyramid of [B, h_i, w_i, features]."""
        pyramid: list[Features] = []
        for level, x in reversed(list(enumerate(features))):
            x = Conv(self.features, 3, self.dtype, f"lateral{level}", use_bias=False)(x)
            if pyramid:
                unit = ResidualUnit(self.features, self.dtype, name=f"join{level}")
                x = unit(x) + resize_bilinear(pyramid[0], *x.shape[1:3])
            pyramid.insert(0, ResidualUnit(self.features, self.dtype, name=f"fuse{level}")(x))
        return tuple(pyramid)
