"""The decoder of Depth Anything V2 (Yang et al., NeurIPS 2024, arXiv 2406.09414), as four parts.

It is the DPT of Ranftl et al. (ICCV 2021) as the authors' code has it. `Pyramid`, `Fusion`, `Head`
and `DepthAnythingCodec` take the places that `FeedForwardDepth` has for reassembling, neck, head
and codec, so that a Depth Anything is a feed-forward model like any other.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from diffdepth_jax.arrays import Array, Condition, Details, Features, Image, Latent, Size
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.codec import Decoded
from diffdepth_jax.models.convolutions import Conv
from diffdepth_jax.models.layers import Dense, resize_align_corners
from diffdepth_jax.models.necks.dpt import ResidualUnit

_CELLS = 8  # rows of the fused map in a row of patches
_HEAD_FEATURES = 32  # channels at the image's size
# The least inverse depth that has a depth, so that its log is finite.
LEAST_INVERSE_DEPTH = 1e-6


class Widths(NamedTuple):
    """Channels: of the fused maps, and of the four maps of the pyramid."""

    fused: int
    pyramid: tuple[int, int, int, int]


# By the name of the encoder, without registers: the authors' table, and one for tests.
WIDTHS = {
    "dinov2_nano": Widths(8, (4, 8, 8, 8)),
    "dinov2_small": Widths(64, (48, 96, 192, 384)),
    "dinov2_base": Widths(128, (96, 192, 384, 768)),
    "dinov2_large": Widths(256, (256, 512, 1024, 1024)),
    "dinov2_giant": Widths(384, (1536, 1536, 1536, 1536)),
}


def widths_of(backbone: str) -> Widths:
    """The widths of the decoder that belongs to an encoder.

    Raises:
      UserError: there is no Depth Anything with it.
    """
    if backbone not in WIDTHS:
        raise UserError(
            f"model.backbone {backbone}: model.neck depth_anything is for {', '.join(WIDTHS)}"
        )
    return WIDTHS[backbone]


class Enlarge(nn.Module):
    """A transposed convolution whose stride is its kernel's side: each cell becomes factor^2."""

    factor: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch _ _ channels"]) -> Float[Array, "batch _ _ channels"]:
        batch, rows, columns, channels = x.shape
        shape = (self.factor, self.factor, channels, channels)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:]).astype(self.dtype)
        y = jnp.einsum("bhwi,klio->bhkwlo", x, kernel) + bias
        return y.reshape(batch, rows * self.factor, columns * self.factor, channels)


class Pyramid(nn.Module):
    """Makes four maps of one size a pyramid of 4, 2, 1 and 1/2 times the size.

    Attributes:
      channels: of each map, finest first.
      features: channels of all maps of the result.
      dtype: compute dtype.
    """

    channels: tuple[int, int, int, int]
    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, maps: Sequence[Features], height: Size, width: Size
    ) -> tuple[Float[Array, "batch _ _ features"], ...]:
        """Maps [B, h, w, C] -> [B, 4 h, 4 w, features] to [B, ceil(h / 2), ...], finest first."""
        last = nn.Conv(
            self.channels[3], (3, 3), (2, 2), padding=1, dtype=self.dtype, name="resize3"
        )
        resize = (
            Enlarge(4, self.dtype, name="resize0"),
            Enlarge(2, self.dtype, name="resize1"),
            lambda x: x,
            last,
        )
        pyramid = []
        for level, (x, channels, resized) in enumerate(
            zip(maps, self.channels, resize, strict=True)
        ):
            x = resized(Dense(channels, dtype=self.dtype, name=f"project{level}")(x))
            lateral = Conv(self.features, 3, self.dtype, f"lateral{level}", use_bias=False)
            pyramid.append(lateral(x))
        return tuple(pyramid)


class Fusion(nn.Module):
    """Joins each map to the finer one, from coarse to fine; corners stay corners.

    Attributes:
      features: channels of every map.
      dtype: compute dtype.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, pyramid: Sequence[Features], train: bool = False) -> tuple[Features, ...]:
        """Maps [B, h_i, w_i, features], finest first -> one map of twice the finest size."""
        sizes = [x.shape[1:3] for x in pyramid]
        sizes = [tuple(2 * side for side in sizes[0]), *sizes[:-1]]
        fused: Features | None = None
        for level, x in reversed(list(enumerate(pyramid))):
            unit = functools.partial(ResidualUnit, self.features, self.dtype)
            x = x if fused is None else fused + unit(name=f"join{level}")(x)
            x = resize_align_corners(unit(name=f"fuse{level}")(x), *sizes[level])
            fused = Dense(self.features, dtype=self.dtype, name=f"project{level}")(x)
        assert fused is not None
        return (fused,)


class Head(nn.Module):
    """From the fused map to the latent, which is the map that the codec brings to full size."""

    features: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.conv = Conv(self.features // 2, 3, self.dtype)

    def project(
        self, pyramid: Sequence[Features], image: Image, details: Details | None = None
    ) -> Condition:
        """The fused map [B, 8 h, 8 w, features] for h x w patches; it needs nothing else."""
        return pyramid[0]

    def __call__(self, condition: Condition) -> Latent:
        """[B, 8 h, 8 w, features] -> [B, 8 h, 8 w, features / 2]."""
        return self.conv(condition)


class DepthAnythingCodec(nn.Module):
    """A codec that only decodes: to metres, or to inverse depth up to a scale and a shift.

    Attributes:
      latent_channels: of the latent, half of the fused map's.
      patch: pixels of a patch's side.
      max_depth: metres that the sigmoid is multiplied by; 0: the model is relative, and what it
        says is an inverse depth without unit, which is never negative.
      dtype: of the convolution at full size; the last one is in float32.
    """

    latent_channels: int
    patch: int
    max_depth: float
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.conv = Conv(_HEAD_FEATURES, 3, self.dtype)
        self.head = Dense(1)

    def latent_shape(self, height: Size, width: Size) -> tuple[Size, Size, int]:
        """(rows, columns, channels) of the latent for an image of this size."""
        rows, columns = (_CELLS * -(-side // self.patch) for side in (height, width))
        return rows, columns, self.latent_channels

    def decode(self, latent: Latent, train: bool = False, details: None = None) -> Decoded:
        """Decodes to maps of the size of the padded image, float32; it knows no details."""
        rows, columns = (side // _CELLS * self.patch for side in latent.shape[1:3])
        x = resize_align_corners(latent.astype(self.dtype), rows, columns)
        x = self.head(jax.nn.relu(self.conv(x)).astype(jnp.float32))
        if self.max_depth:
            return Decoded(math.log(self.max_depth) + jax.nn.log_sigmoid(x))
        inverse_depth = jax.nn.relu(x)
        log_depth = -jnp.log(jnp.maximum(inverse_depth, LEAST_INVERSE_DEPTH))
        return Decoded(log_depth, inverse_depth=inverse_depth)
