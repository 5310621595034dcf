"""The latent depth space: depth [B, H, W, 1] in metres <-> latent [B, ceil(H/2), ceil(W/2), d]."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffdepth_jax.models.convolutions import ConvTranspose2x, LoopSafeConv

# The smallest sigmoid that the decoder divides by (paper: eta = 1e-6): depth <= 1e6 - 1 metres.
ETA = 1e-6
MAX_LOG_DEPTH = math.log(1 / ETA - 1)


def pool_valid(x, mask):
    """Means over the valid pixels of each 2x2 cell.

    Args:
      x: [B, H, W, C]; what stands where the mask is False has no influence if it is finite.
      mask: bool [B, H, W, 1].

    Returns:
      [B, ceil(H/2), ceil(W/2), C], zero in cells without a valid pixel, and those cells' mask.
    """
    x = jnp.where(mask, x, 0)
    pad = ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0))
    x, weight = jnp.pad(x, pad), jnp.pad(mask.astype(x.dtype), pad)
    batch, height, width, _ = x.shape

    def cells(y):
        return y.reshape(batch, height // 2, 2, width // 2, 2, -1).sum((2, 4))

    count = cells(weight)
    return cells(x) / jnp.maximum(count, 1), count > 0


def fill_invalid(latent, mask):
    """Gives cells without ground truth the mean of the nearest coarser cell that has some.

    The decoder looks at neighbours. A lone encoded cell among zeros is nothing that it meets in a
    refined latent, so reconstruction at 4 % valid pixels would train it on the wrong input.
    """
    height, width = latent.shape[1:3]
    if height == 1 and width == 1:
        return latent
    coarse = fill_invalid(*pool_valid(latent, mask))
    coarse = coarse.repeat(2, axis=1).repeat(2, axis=2)[:, :height, :width]
    return jnp.where(mask, latent, coarse)


class DepthEncoder(nn.Module):
    """Sparse ground truth to latent: a bottleneck of 1x1 convolutions, then a masked 2x2 mean.

    1x1 kernels and d channels follow the paper: nothing leaks from pixels without ground truth. Of
    3x3 kernels, there to compare, the neighbours see such pixels as one metre.
    Ours: it reads the log of depth, which is what the decoder writes; and tanh bounds the latent to
    (-1, 1), where the released encoder has it too, so that unit Gaussian noise suits it.
    """

    latent_channels: int
    kernel: int = 1

    @nn.compact
    def __call__(self, depth, mask):
        conv = functools.partial(nn.Conv, self.latent_channels, (self.kernel, self.kernel))
        log_depth = jnp.log(jnp.clip(jnp.where(mask, depth, 1.0), ETA, 1 / ETA))
        x = jax.nn.gelu(conv(name="expand")(log_depth))
        x = x + jax.nn.gelu(conv(name="bottleneck")(x))
        x, cell_mask = pool_valid(x, mask)
        # Started wide, so that the depths of a scene spread over the range of tanh.
        spread = nn.initializers.variance_scaling(4.0, "fan_in", "truncated_normal")
        x = nn.Conv(self.latent_channels, (1, 1), kernel_init=spread, name="project")(x)
        x = jnp.tanh(x)
        return jnp.where(cell_mask, x, 0), cell_mask


def log_depth_of(z):
    """The log of depth = 1 / clamp(sigmoid(z), eta) - 1, with which the paper's decoder ends.

    As 1 / sigmoid(z) - 1 = exp(-z), the log depth is -z, bounded where the clamp bounds it: the log
    of a rounded depth would be -inf from z = 17 on.
    """
    return jnp.minimum(-z, MAX_LOG_DEPTH)


class DepthDecoder(nn.Module):
    """Latent to log depth: 1x1 conv, 3x3 transposed conv, 3x3 conv (paper); float32 throughout."""

    width: int

    @nn.compact
    def __call__(self, latent):
        expand = LoopSafeConv(self.width, 1, jnp.float32, name="expand")
        x = jax.nn.gelu(expand(latent.astype(jnp.float32)))
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")  # zeros would draw a frame
        x = jax.nn.gelu(ConvTranspose2x(self.width // 2, kernel_size=3, name="up")(x))
        z = LoopSafeConv(1, 3, jnp.float32, name="head")(x)[:, 2:-2, 2:-2]
        return log_depth_of(z)


class DepthCodec(nn.Module):
    """Encoder and decoder of the latent depth space.

    Attributes:
      latent_channels: d, 16 in the paper.
      decoder_width: channels at H/2 inside the decoder; half of it at full size.
      encoder_kernel: see `DepthEncoder`.
    """

    latent_channels: int = 16
    decoder_width: int = 32
    encoder_kernel: int = 1

    def setup(self):
        self.encoder = DepthEncoder(self.latent_channels, self.encoder_kernel)
        self.decoder = DepthDecoder(self.decoder_width)

    def latent_shape(self, height, width):
        return (-(-height // 2), -(-width // 2), self.latent_channels)

    def encode(self, depth, mask, train=False):
        return self.encoder(depth, mask)

    def decode(self, latent, train=False):
        return self.decoder(latent)
