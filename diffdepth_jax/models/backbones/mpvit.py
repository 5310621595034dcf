"""MPViT (Lee et al., CVPR 2022, arXiv 2112.11010) as a multi-scale backbone.

As DiffusionDepth's released weights have it: the stem has stride 1 and every stage pools, so that
the first map has stride 2. Written from the paper.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from diffdepth_jax.models.batch_norm import BatchNorm
from diffdepth_jax.models.layers import Dense, DropPath, LayerNorm, rematerialised

VARIANTS = {
    "mpvit_small": {
        "channels": (64, 128, 216, 288),
        "depths": (1, 3, 6, 3),
        "num_paths": (2, 3, 3, 3),
    },
}

_HEADS_OF_WINDOW = {3: 2, 5: 3, 7: 3}  # side of the relative position window: attention heads
_NUM_HEADS = sum(_HEADS_OF_WINDOW.values())


def DepthwiseConv(channels, kernel_size, dtype, name, stride=1, use_bias=False):
    """Pads both sides at any stride, as PyTorch does; 'SAME' pads even sizes at one side only."""
    pad = kernel_size // 2
    return nn.Conv(
        channels,
        (kernel_size, kernel_size),
        stride,
        ((pad, pad), (pad, pad)),
        feature_group_count=channels,
        use_bias=use_bias,
        dtype=dtype,
        name=name,
    )


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm and, where wanted, Hardswish."""

    features: int
    kernel_size: int = 1
    activation: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        size = (self.kernel_size, self.kernel_size)
        x = nn.Conv(self.features, size, use_bias=False, dtype=self.dtype, name="conv")(x)
        x = BatchNorm(name="bn")(x, train)
        return nn.hard_swish(x) if self.activation else x


class PatchEmbedding(nn.Module):
    """Overlapping 3x3 patches by a depthwise separable convolution; stride 2 halves the map.

    Two and three of them in a row see 5x5 and 7x7: the paths' patch sizes.
    """

    stride: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        channels = x.shape[-1]
        x = DepthwiseConv(channels, 3, self.dtype, "dwconv", self.stride)(x)
        x = nn.Conv(channels, (1, 1), use_bias=False, dtype=self.dtype, name="pwconv")(x)
        return nn.hard_swish(BatchNorm(name="bn")(x, train))


class InvertedResidual(nn.Module):
    """The convolutional branch of a stage: [B, H, W, C] -> [B, H, W, C]."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        channels = x.shape[-1]
        y = ConvNorm(channels, dtype=self.dtype, name="conv1")(x, train)
        y = DepthwiseConv(channels, 3, self.dtype, "dwconv")(y)
        y = nn.hard_swish(BatchNorm(name="norm")(y, train))
        return x + ConvNorm(channels, activation=False, dtype=self.dtype, name="conv2")(y, train)


class RelativePositions(nn.Module):
    """What each value's neighbours add to it, [B, H, W, C] -> [B, H, W, C], heads along C.

    A depthwise convolution, with windows of another size for each group of heads.
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, v):
        head_size = v.shape[-1] // _NUM_HEADS
        bounds = np.cumsum(list(_HEADS_OF_WINDOW.values()))[:-1] * head_size
        groups = jnp.split(v, bounds, axis=-1)
        encoded = [
            DepthwiseConv(group.shape[-1], window, self.dtype, f"conv{i}", use_bias=True)(group)
            for i, (window, group) in enumerate(zip(_HEADS_OF_WINDOW, groups, strict=True))
        ]
        return jnp.concatenate(encoded, axis=-1)


class FactorizedAttention(nn.Module):
    """Attention whose cost is linear in the tokens: softmax(k)^T v is formed before q enters."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, relative_positions):
        """x: [B, H, W, C]; relative_positions: maps v to what is added. Softmax in float32."""
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
      relative_positions: maps v to what is added, the same for all layers of an encoder. An
        attribute, since what is rematerialised takes arrays only.
    """

    relative_positions: Callable
    drop_path_rate: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, train: bool = False):
        channels = x.shape[-1]
        drop_path = DropPath(self.drop_path_rate)
        y = LayerNorm(dtype=self.dtype, name="norm1")(x)
        y = FactorizedAttention(self.dtype, name="attn")(y, self.relative_positions)
        x = x + drop_path(y, deterministic=not train)
        y = LayerNorm(dtype=self.dtype, name="norm2")(x)
        y = Dense(4 * channels, dtype=self.dtype, name="fc1")(y)
        y = jax.nn.gelu(y, approximate=False)
        y = Dense(channels, dtype=self.dtype, name="fc2")(y)
        return x + drop_path(y, deterministic=not train)


class Encoder(nn.Module):
    """The transformer of one path; all its layers share both position encodings.

    Attributes:
      drop_path_rates: one for each layer.
    """

    drop_path_rates: tuple[float, ...]
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x, train: bool = False):
        """x: [B, H, W, C], C a multiple of 8."""
        conditional = DepthwiseConv(x.shape[-1], 3, self.dtype, "cpe", use_bias=True)
        relative = RelativePositions(self.dtype, name="crpe")
        make_layer = rematerialised(EncoderLayer, self.remat)
        for layer, rate in enumerate(self.drop_path_rates):
            x = x + conditional(x)
            x = make_layer(relative, rate, self.dtype, name=f"layer{layer}")(x, train)
        return x


class Stage(nn.Module):
    """Halves the map, then joins a convolutional branch and `num_paths` transformers.

    Each path embeds the patches of the previous path; the convolutional branch takes the first's.
    """

    features: int
    num_paths: int
    drop_path_rates: tuple[float, ...]
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x, train: bool = False):
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
      channels: within each stage, multiples of 8. A stage's map already has the next one's, the
        last its own.
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
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, image, train: bool = False):
        """image: [B, H, W, 3] normalised, any size. Returns a tuple, finest map first."""
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
