"""EfficientNet-Lite (Tan and Le, ICML 2019, arXiv 1905.11946; Lite: TensorFlow TPU models, 2020).

Lite has ReLU6 in the place of swish, and no squeeze-and-excitation.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from diffdepth_jax.arrays import Features, Image
from diffdepth_jax.models import batch_norm
from diffdepth_jax.models.depthwise import DepthwiseConv, same_padding
from diffdepth_jax.models.layers import Dense, DropPath, rematerialised


class Stage(NamedTuple):
    """Blocks of one shape; the first of them has the stride.

    Attributes:
      repeats: blocks.
      kernel_size: side of the depthwise kernels.
      stride: 1 or 2.
      expansion: a block has so many times the channels of its input inside.
      features: output channels.
    """

    repeats: int
    kernel_size: int
    stride: int
    expansion: int
    features: int


_LITE0 = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
VARIANTS: dict[str, dict[str, Any]] = {
    "efficientnet_lite0": {"stem_features": 32, "stages": _LITE0},
}


def _norm(name: str) -> batch_norm.BatchNorm:
    """As TensorFlow's network has it: epsilon 1e-3, and momentum 0.99 there, which is 0.01 here."""
    return batch_norm.BatchNorm(momentum=0.01, epsilon=1e-3, name=name)


class Block(nn.Module):
    """Inverted bottleneck: [B, H, W, C] -> [B, ceil(H/s), ceil(W/s), features].

    A 1x1 convolution expands the channels, a depthwise one follows, and a 1x1 convolution without
    activation projects. The input is added where the shape stays.

    Attributes:
      stage: the block's kernel size, stride s, expansion and features.
      drop_path_rate: of the stochastic depth.
      frozen_statistics: the batch norms keep and use their running statistics in training too.
      dtype: compute dtype.
    """

    stage: Stage
    drop_path_rate: float
    frozen_statistics: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features, train: bool = False) -> Features:
        _, kernel_size, stride, expansion, features = self.stage
        channels, update = x.shape[-1], train and not self.frozen_statistics
        inside, y = expansion * channels, x
        if expansion > 1:
            y = Dense(inside, use_bias=False, dtype=self.dtype, name="expand")(y)
            y = nn.relu6(_norm("expand_norm")(y, update))
        y = DepthwiseConv(inside, kernel_size, self.dtype, "depthwise", stride)(y)
        y = nn.relu6(_norm("depthwise_norm")(y, update))
        y = Dense(features, use_bias=False, dtype=self.dtype, name="project")(y)
        y = _norm("project_norm")(y, update)
        if stride > 1 or channels != features:
            return y
        return x + DropPath(self.drop_path_rate)(y, deterministic=not train)


class EfficientNetLite(nn.Module):
    """Image to feature maps at strides 2, 4, 8 and so on: the last map of each stride.

    Attributes:
      stem_features: channels of the stem, which has stride 2.
      stages: the blocks.
      drop_path_rate: stochastic depth rises linearly over the blocks, from 0 at the first. As in
        the published code, one more block would reach this rate.
      frozen_statistics: the batch norms keep and use their running statistics in training too.
      dtype: compute dtype; parameters and the norms' statistics are float32.
      remat: recompute each block in the backward pass instead of storing its activations.
    """

    stem_features: int
    stages: tuple[Stage, ...]
    drop_path_rate: float = 0.2
    frozen_statistics: bool = False
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, image: Image, train: bool = False) -> tuple[Features, ...]:
        """Maps a normalised image [B, H, W, 3] of any size to feature maps, finest first."""
        x, maps, blocks = self._stem(image, train), [], self._blocks()
        make_block = rematerialised(Block, self.remat)
        for index, block in enumerate(blocks):
            if block.stride > 1:
                maps.append(x)
            rate = self.drop_path_rate * index / len(blocks)
            name = f"block{index}"
            x = make_block(block, rate, self.frozen_statistics, self.dtype, name=name)(x, train)
        return (*maps, x)

    def _stem(self, image: Image, train: bool) -> Features:
        padding = [same_padding(size, 3, 2) for size in image.shape[1:3]]
        conv = nn.Conv(
            self.stem_features,
            (3, 3),
            (2, 2),
            padding,
            use_bias=False,
            dtype=self.dtype,
            name="stem",
        )
        x = _norm("stem_norm")(conv(image.astype(self.dtype)), train and not self.frozen_statistics)
        return nn.relu6(x)

    def _blocks(self) -> list[Stage]:
        """One stage for each block; only the first block of a stage keeps the stride."""
        return [
            stage if repeat == 0 else stage._replace(stride=1)
            for stage in self.stages
            for repeat in range(stage.repeats)
        ]
