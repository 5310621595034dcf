"""MPViT (Lee et al., CVPR 2022, arXiv 2112.11010) as a multi-scale backbone.

This is the network of DiffusionDepth's released weights. Its stem has stride 1 and every stage
halves the map, so that the first map has stride 2. The code is written from the MPViT paper.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float

from diffdepth_jax.arrays import Array, FeatureMap, Features, Image
from diffdepth_jax.models import depthwise
from diffdepth_jax.models.batch_norm import BatchNorm
from diffdepth_jax.models.layers import Dense, DropPath, LayerNorm, gelu, rematerialised

VARIANTS: dict[str, dict[str, Any]] = {
    "mpvit_small": {
        "channels": (64, 128, 216, 288),
        "depths": (1, 3, 6, 3),
        "num_paths": (2, 3, 3, 3),
    },
}

# Side of a window of relative positions: the number of attention heads that use this window.
_HEADS_OF_WINDOW = {3: 2, 5: 3, 7: 3}
_NUM_HEADS = sum(_HEADS_OF_WINDOW.values())


def DepthwiseConv(
    channels: int,
    kernel_size: int,
    dtype: DTypeLike,
    name: str,
    stride: int = 1,
    use_bias: bool = False,
) -> nn.Conv:
    """Pads both sides, as PyTorch does. With stride 2, 'SAME' pads even sizes at one side only."""
    pad = kernel_size // 2
    padding = (pad, pad), (pad, pad)
    return depthwise.DepthwiseConv(channels, kernel_size, dtype, name, stride, padding, use_bias)


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm and, if `activation`, Hardswish."""

    features: int
    kernel_size: int = 1
    activation: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features, train: bool = False) -> Features:
        size = (self.kernel_size, self.kernel_size)
        x = nn.Conv(self.features, size, use_bias=False, dtype=self.dtype, name="conv")(x)
        x = BatchNorm(name="bn")(x, train)
        return nn.hard_swish(x) if self.activation else x


class PatchEmbedding(nn.Module):
    """Overlapping 3x3 patches by a depthwise separable convolution; stride 2 halves the map.

    Two in a row see patches of 5x5, three in a row patches of 7x7.
    """

    stride: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch _ _ channels"], train: bool = False
    ) -> Float[Array, "batch _ _ channels"]:
        channels = x.shape[-1]
        x = DepthwiseConv(channels, 3, self.dtype, "dwconv", self.stride)(x)
        x = nn.Conv(channels, (1, 1), use_bias=False, dtype=self.dtype, name="pwconv")(x)
        return nn.hard_swish(BatchNorm(name="bn")(x, train))


class InvertedResidual(nn.Module):
    """The convolutional branch of a stage: [B, H, W, C] -> [B, H, W, C]."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: FeatureMap, train: bool = False) -> FeatureMap:
        channels = x.shape[-1]
        y = ConvNorm(channels, dtype=self.dtype, name="conv1")(x, train)
        y = DepthwiseConv(channels, 3, self.dtype, "dwconv")(y)
        y = nn.hard_swish(BatchNorm(name="norm")(y, train))
        return x + ConvNorm(channels, activation=False, dtype=self.dtype, name="conv2")(y, train)


class RelativePositions(nn.Module):
    """Encodes relative positions by depthwise convolutions of the values v [B, H, W, C].

    Each group of attention heads, which is a slice of the channels, has its window: 3, 5 or 7.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, v: FeatureMap) -> FeatureMap:
        head_size = v.shape[-1] // _NUM_HEADS
        bounds = np.cumsum(list(_HEADS_OF_WINDOW.values()))[:-1] * head_size
        groups = jnp.split(v, bounds, axis=-1)
        encoded = [
            DepthwiseConv(group.shape[-1], window, self.dtype, f"conv{i}", use_bias=True)(group)
            for i, (window, group) in enumerate(zip(_HEADS_OF_WINDOW, groups, strict=True))
        ]
        return jnp.concatenate(encoded, axis=-1)


class FactorizedAttention(nn.Module):
    """Attention at a cost linear in the tokens: softmax(k)^T v first, then its product with q."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: FeatureMap, relative_positions: Callable[[FeatureMap], FeatureMap]
    ) -> FeatureMap:
        """Attends from every token of x [B, H, W, C] to all others. Softmax is in float32.

        Args:
          x: [B, H, W, C], C a multiple of 8.
          relative_positions: encodes the values v; q times its result is added to the output.
        """
        batch, height, width, channels = x.shape
        head_size = channels // _NUM_HEADS
        q, k, v = jnp.split(Dense(3 * channels, dtype=self.dtype, name="qkv")(x), 3, axis=-1)
        positions = q * relative_positions(v)
        k = jax.nn.softmax(k.astype(jnp.float32), axis=(1, 2)).astype(self.dtype)
        q, k, v = (
            a.reshape(batch, height * width, _NUM_HEADS, head_size)  # [B, N, heads, d]
            for a in (q, k, v)
        )
        context = jnp.einsum("bnhd,bnhe->bhde", k, v)
        attended = jnp.einsum("bnhd,bhde->bnhe", q, context).reshape(x.shape)
        x = head_size**-0.5 * attended + positions
        return Dense(channels, dtype=self.dtype, name="proj")(x)


class EncoderLayer(nn.Module):
    """Attention and an MLP, each with pre-norm, residual and stochastic depth.

    Attributes:
      relative_positions: see `FactorizedAttention`; all layers of an encoder share it. It is an
        attribute, because the call of a rematerialised layer takes arrays only.
      drop_path_rate: of the stochastic depth.
      dtype: compute dtype.
    """

    relative_positions: Callable[[FeatureMap], FeatureMap]
    drop_path_rate: float
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: FeatureMap, train: bool = False) -> FeatureMap:
        channels = x.shape[-1]
        drop_path = DropPath(self.drop_path_rate)
        y = LayerNorm(dtype=self.dtype, name="norm1")(x)
        y = FactorizedAttention(self.dtype, name="attn")(y, self.relative_positions)
        x = x + drop_path(y, deterministic=not train)
        y = LayerNorm(dtype=self.dtype, name="norm2")(x)
        y = Dense(4 * channels, dtype=self.dtype, name="fc1")(y)
        y = gelu(y)
        y = Dense(channels, dtype=self.dtype, name="fc2")(y)
        return x + drop_path(y, deterministic=not train)


class Encoder(nn.Module):
    """The transformer of one path.

    All layers share two position encodings: a convolution of the tokens, which is added to them
    ahead of each layer, and the relative positions in the attention.

    Attributes:
      drop_path_rates: the rate of stochastic depth of each layer.
      dtype: compute dtype.
      remat: recompute each layer in the backward pass.
    """

    drop_path_rates: tuple[float, ...]
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: FeatureMap, train: bool = False) -> FeatureMap:
        """[B, H, W, C] -> [B, H, W, C], C a multiple of 8."""
        conditional = DepthwiseConv(x.shape[-1], 3, self.dtype, "cpe", use_bias=True)
        relative = RelativePositions(self.dtype, name="crpe")
        make_layer = rematerialised(EncoderLayer, self.remat)
        for layer, rate in enumerate(self.drop_path_rates):
            x = x + conditional(x)
            x = make_layer(relative, rate, self.dtype, name=f"layer{layer}")(x, train)
        return x


class Stage(nn.Module):
    """Halves the map, then joins a convolutional branch and `num_paths` transformers.

    Each path embeds the patch embeddings of the path before it. The convolutional branch reads the
    patch embeddings of the first path.

    Attributes:
      features: channels of the output.
      num_paths: transformers side by side.
      drop_path_rates: the rate of stochastic depth of each transformer layer.
      dtype: compute dtype.
      remat: recompute each residual block in the backward pass.
    """

    features: int
    num_paths: int
    drop_path_rates: tuple[float, ...]
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: Features, train: bool = False) -> Features:
        """[B, H, W, C] -> [B, ceil(H/2), ceil(W/2), features]."""
        paths = []
        for path in range(self.num_paths):
            stride = 2 if path == 0 else 1
            x = PatchEmbedding(stride, self.dtype, name=f"patch_embed{path}")(x, train)
            paths.append(x)
        convolutional = rematerialised(InvertedResidual, self.remat)(self.dtype, name="inv_res")
        branches = [convolutional(paths[0], train)]
        for path, x in enumerate(paths):
            encoder = Encoder(self.drop_path_rates, self.dtype, self.remat, name=f"encoder{path}")
            branches.append(encoder(x, train))
        x = jnp.concatenate(branches, axis=-1)
        return ConvNorm(self.features, dtype=self.dtype, name="aggregate")(x, train)


class MPViT(nn.Module):
    """Image to feature maps at strides 2, 4, 8 and 16.

    Attributes:
      channels: channels inside each stage, multiples of 8. The map that a stage returns has the
        channels of the next stage; the last stage returns as many as it has inside.
      depths: transformer layers in each path of each stage.
      num_paths: transformers side by side in each stage.
      drop_path_rate: stochastic depth of the last layer; rises linearly from 0 at the first.
      dtype: compute dtype; parameters and the norms' statistics are float32.
      remat: recompute each residual block in the backward pass instead of storing its activations.
    """

    channels: tuple[int, ...]
    depths: tuple[int, ...]
    num_paths: tuple[int, ...]
    drop_path_rate: float = 0.2
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, image: Image, train: bool = False) -> tuple[Features, ...]:
        """Maps a normalised image [B, H, W, 3] of any size to feature maps, finest first."""
        x = image.astype(self.dtype)
        for layer, features in enumerate((self.channels[0] // 2, self.channels[0])):
            x = ConvNorm(features, 3, dtype=self.dtype, name=f"stem{layer}")(x, train)
        outputs = (*self.channels[1:], self.channels[-1])
        rates = iter(np.linspace(0, self.drop_path_rate, sum(self.depths)).tolist())
        features = []
        for stage, depth in enumerate(self.depths):
            x = Stage(
                features=outputs[stage],
                num_paths=self.num_paths[stage],
                drop_path_rates=tuple(next(rates) for _ in range(depth)),
                dtype=self.dtype,
                remat=self.remat,
                name=f"stage{stage}",
            )(x, train)
            features.append(x)
        return tuple(features)
