"""Depth codec and denoiser of the released PyTorch code, as its published checkpoints need them.

Where they depart from the paper they do so on purpose: see `depth_codec` and `denoiser` for ours.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffdepth_jax.models.batch_norm import BatchNorm
from diffdepth_jax.models.codec import log_depth_of, pool_valid
from diffdepth_jax.models.convolutions import ConvTranspose2x, LoopSafeConv
from diffdepth_jax.models.layers import resize_align_corners
from diffdepth_jax.models.linear_stack import convolve_in_turn, convolve_merged, merge

TIME_STEPS = 1280  # rows of the learned table of time embeddings


class ReleasedEncoder(nn.Module):
    """Raw metres to latent by 3x3 convolutions: what has no ground truth enters as 0 metres."""

    latent_channels: int

    @nn.compact
    def __call__(self, depth, mask, train):
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
    def __call__(self, latent, train):
        x = ConvTranspose2x(self.latent_channels, kernel_size=4, name="up")(latent)
        x = jax.nn.relu(BatchNorm(name="norm")(x, train))
        return log_depth_of(LoopSafeConv(1, 3, jnp.float32, name="head")(x))


class ReleasedCodec(nn.Module):
    """The codec of the released code; its encoder was never trained there.

    Unlike ours the latent of cells without ground truth is not zero, and ground truth elsewhere
    reaches it.
    """

    latent_channels: int = 16

    def setup(self):
        self.encoder = ReleasedEncoder(self.latent_channels)
        self.decoder = ReleasedDecoder(self.latent_channels)

    def latent_shape(self, height, width):
        return (-(-height // 2), -(-width // 2), self.latent_channels)

    def encode(self, depth, mask, train=False):
        return self.encoder(depth, mask, train)

    def decode(self, latent, train=False):
        return self.decoder(latent.astype(jnp.float32), train)


class _Conv3x3(nn.Module):
    """Kernel [3, 3, inputs, features] and bias, under `nn.Conv`'s names, for `linear_stack`."""

    features: int

    @nn.compact
    def __call__(self, inputs):
        shape = (3, 3, inputs, self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        return kernel, self.param("bias", nn.initializers.zeros, (self.features,))


class _Embedding(nn.Module):
    """Two 3x3 convolutions, each with group norm and ReLU: never negative."""

    features: tuple[int, int]
    dtype: jnp.dtype

    def setup(self):
        self.conv0 = _Conv3x3(self.features[0])
        self.conv1 = LoopSafeConv(self.features[1], 3, self.dtype)
        self.norm0, self.norm1 = (
            nn.GroupNorm(4, epsilon=1e-5, use_fast_variance=False) for _ in range(2)
        )

    def __call__(self, x):
        return self.after_first(convolve_in_turn(x, _as(self.dtype, [self.conv0(x.shape[-1])])))

    def after_first(self, x):
        """What follows the first convolution."""
        return self._activate(self.norm1, self.conv1(self._activate(self.norm0, x)))

    def _activate(self, norm, x):
        return jax.nn.relu(norm(x.astype(jnp.float32)).astype(self.dtype))


def _as(dtype, weights):
    return jax.tree.map(lambda leaf: leaf.astype(dtype), weights)


class ReleasedDenoiser(nn.Module):
    """The denoiser of the released code: no attention, no residuals, a prediction >= 0.

    Attributes:
      latent_channels: d.
      features: width inside, that of the pyramid.
      fuse: two plain 3x3 convolutions after the sum: the checkpoints with Swin and MPViT have them,
        those with ResNet have not.
      dtype: compute dtype.
    """

    latent_channels: int
    features: int = 256
    fuse: bool = True
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.noise_embedding = _Embedding((64, self.features), self.dtype)
        self.time_embedding = nn.Embed(TIME_STEPS, self.features, dtype=self.dtype)
        self.fusion = [_Conv3x3(self.features) for _ in range(2 * self.fuse)]
        self.prediction = _Embedding((64, self.latent_channels), self.dtype)

    def project(self, pyramid, image):
        """Finest map [B, h, w, features] -> the condition, float32, at the latent's size.

        Interpolation maps constants to themselves, so the time embedding, which the released code
        adds before it at every step, can be added after it, and this leaves the loop.
        """
        height, width = (-(-size // 2) for size in image.shape[1:3])
        condition = resize_align_corners(pyramid[0], height, width)
        return condition.astype(jnp.float32)  # its gradient is a sum over the sampler's steps

    def prepare(self):
        """The convolutions between which nothing stands, merged: all steps share them."""
        return (merge(self._plain_convolutions()),) if self.fuse else ()

    def _plain_convolutions(self):
        return [conv(self.features) for conv in (*self.fusion, self.prediction.conv0)]

    def __call__(self, latent, timestep, condition, merged=None):
        """latent [B, h, w, d], timestep [B], condition [B, h, w, features] -> float32 as latent.

        merged: of `prepare`; without it the same is computed in more multiply-adds.
        """
        time = self.time_embedding(timestep).astype(jnp.float32)[:, None, None]
        x = condition + time + self.noise_embedding(latent.astype(self.dtype))
        x, layers = x.astype(self.dtype), _as(self.dtype, self._plain_convolutions())
        if merged is None:
            x = convolve_in_turn(x, layers)
        else:
            x = convolve_merged(x, layers, _as(self.dtype, merged))
        return self.prediction.after_first(x).astype(jnp.float32)
