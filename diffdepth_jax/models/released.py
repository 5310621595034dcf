"""Depth codec and denoiser of the released PyTorch code, as its published checkpoints need them.

The released code departs from the paper, and these modules follow the released code. The modules
`codec` and `denoiser` follow the paper.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from diffdepth_jax.arrays import (
    Condition,
    DecodedLogDepth,
    Depth,
    Features,
    Image,
    Latent,
    LatentMask,
    Mask,
    Size,
    Timestep,
)
from diffdepth_jax.configuration.model import RELEASED_TIMESTEPS
from diffdepth_jax.models.batch_norm import BatchNorm
from diffdepth_jax.models.codec import Decoded, log_depth_of, pool_valid
from diffdepth_jax.models.convolutions import Conv, ConvTranspose2x
from diffdepth_jax.models.layers import resize_align_corners
from diffdepth_jax.models.linear_stack import (
    Layer,
    Merged,
    convolve_in_turn,
    convolve_merged,
    merge,
)


class ReleasedEncoder(nn.Module):
    """Metres to latent by 3x3 convolutions; pixels without ground truth enter as 0 metres."""

    latent_channels: int

    @nn.compact
    def __call__(self, depth: Depth, mask: Mask, train: bool) -> tuple[Latent, LatentMask]:
        conv = functools.partial(nn.Conv, self.latent_channels, (3, 3), use_bias=False)
        x = jnp.where(mask, depth, 0)
        x = conv(strides=(2, 2), padding=((1, 1), (1, 1)), name="conv0")(x)
        x = jax.nn.leaky_relu(BatchNorm(name="norm0")(x, train), 0.2)
        x = BatchNorm(name="norm1")(conv(name="conv1")(x), train)
        return jnp.tanh(x), pool_valid(jnp.zeros_like(depth), mask)[1]


class ReleasedDecoder(nn.Module):
    """Latent to log depth; float32 throughout."""

    latent_channels: int

    @nn.compact
    def __call__(self, latent: Latent, train: bool) -> DecodedLogDepth:
        x = ConvTranspose2x(self.latent_channels, kernel_size=4, name="up")(latent)
        x = jax.nn.relu(BatchNorm(name="norm")(x, train))
        return log_depth_of(Conv(1, 3, jnp.float32, name="head")(x))


class ReleasedCodec(nn.Module):
    """The codec of the released code, which never trained the encoder.

    Unlike `DepthCodec`, the latent of a cell without ground truth is not zero and depends on ground
    truth in other cells.

    Attributes:
      latent_channels: d, 16 in the released code.
    """

    latent_channels: int = 16

    def setup(self) -> None:
        self.encoder = ReleasedEncoder(self.latent_channels)
        self.decoder = ReleasedDecoder(self.latent_channels)

    def latent_shape(self, height: Size, width: Size) -> tuple[Size, Size, int]:
        """Returns (h, w, d) of the latent of a depth map; h and w are halves, rounded up."""
        return (-(-height // 2), -(-width // 2), self.latent_channels)

    def encode(self, depth: Depth, mask: Mask, train: bool = False) -> tuple[Latent, LatentMask]:
        """Encodes metres to the latent [B, h, w, d] and the mask of cells with ground truth."""
        return self.encoder(depth, mask, train)

    def decode(self, latent: Latent, train: bool = False, details: None = None) -> Decoded:
        """Decodes to the natural log of metres [B, 2 h, 2 w, 1]; it knows no details."""
        return Decoded(self.decoder(latent.astype(jnp.float32), train))


class _Conv3x3(nn.Module):
    """The parameters of an `nn.Conv`, by the same names, for `linear_stack` to compute with."""

    features: int

    @nn.compact
    def __call__(self, inputs: int) -> Layer:
        """Returns (kernel [3, 3, inputs, features], bias [features])."""
        shape = (3, 3, inputs, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))


class _Embedding(nn.Module):
    """Two 3x3 convolutions, each followed by group norm and ReLU; the output is never negative."""

    features: tuple[int, int]
    dtype: DTypeLike

    def setup(self) -> None:
        self.conv0 = _Conv3x3(self.features[0])
        self.conv1 = Conv(self.features[1], 3, self.dtype)
        self.norm0, self.norm1 = (
            nn.GroupNorm(4, epsilon=1e-5, use_fast_variance=False) for _ in range(2)
        )

    def __call__(self, x: Features) -> Features:
        return self.after_first(convolve_in_turn(x, _cast([self.conv0(x.shape[-1])], self.dtype)))

    def after_first(self, x: Features) -> Features:
        """Computes the rest of the call from the output of the first convolution."""
        return self._activate(self.norm1, self.conv1(self._activate(self.norm0, x)))

    def _activate(self, norm: nn.GroupNorm, x: Features) -> Features:
        return jax.nn.relu(norm(x.astype(jnp.float32)).astype(self.dtype))


def _cast(weights: Any, dtype: DTypeLike) -> Any:
    """Casts every array of a pytree."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype), weights)


class ReleasedDenoiser(nn.Module):
    """The denoiser of the released code: no attention, no residuals, a prediction >= 0.

    Attributes:
      latent_channels: d.
      features: channels inside, the same as of the pyramid.
      fuse: whether two plain 3x3 convolutions follow the sum of condition, time and latent. The
        checkpoints with Swin and MPViT have them; the checkpoints with ResNet do not.
      dtype: compute dtype.
    """

    latent_channels: int
    features: int = 256
    fuse: bool = True
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.noise_embedding = _Embedding((64, self.features), self.dtype)
        self.time_embedding = nn.Embed(RELEASED_TIMESTEPS, self.features, dtype=self.dtype)
        self.fusion = [_Conv3x3(self.features) for _ in range(2 * self.fuse)]
        self.prediction = _Embedding((64, self.latent_channels), self.dtype)

    def project(self, pyramid: Sequence[Features], image: Image, details: None = None) -> Condition:
        """Resizes the pyramid's finest map to the condition, float32 [B, H/2, W/2, features].

        In every step the released code adds the time embedding to the map, then interpolates.
        Interpolation keeps constants, so adding the embedding afterwards gives the same result. The
        interpolation then runs once, ahead of the steps.
        """
        height, width = (-(-size // 2) for size in image.shape[1:3])
        condition = resize_align_corners(pyramid[0], height, width)
        return condition.astype(jnp.float32)  # float32: its gradient is a sum over steps

    def prepare(self) -> tuple[Merged, ...]:
        """Merges the plain convolutions of `fuse` with the one after them, for all steps to share.

        Returns:
          Arguments that follow the condition in a call; none if not `fuse`.
        """
        return (merge(self._plain_convolutions()),) if self.fuse else ()

    def _plain_convolutions(self) -> list[Layer]:
        return [conv(self.features) for conv in (*self.fusion, self.prediction.conv0)]

    def __call__(
        self,
        latent: Latent,
        timestep: Timestep,
        condition: Condition,
        merged: Merged | None = None,
    ) -> Latent:
        """Predicts [B, h, w, d], float32, for a latent of that shape.

        The timestep is [B], the condition [B, h, w, features]. `merged` comes from `prepare`;
        without it the call takes more multiply-adds for the same result.
        """
        time = self.time_embedding(timestep).astype(jnp.float32)[:, None, None]
        x = condition + time + self.noise_embedding(latent.astype(self.dtype))
        x, layers = x.astype(self.dtype), _cast(self._plain_convolutions(), self.dtype)
        if merged is None:
            x = convolve_in_turn(x, layers)
        else:
            x = convolve_merged(x, layers, _cast(merged, self.dtype))
        return self.prediction.after_first(x).astype(jnp.float32)
