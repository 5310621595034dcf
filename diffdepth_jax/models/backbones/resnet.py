"""ResNet (He et al., CVPR 2016, arXiv 1512.03385) as DiffusionDepth's released weights have it.

It has neither stem nor max-pool, so that the first map has stride 2, and basic blocks at every
depth. It differs in both from the ImageNet networks of the same names.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from diffdepth_jax.arrays import Features, Image
from diffdepth_jax.models.batch_norm import BatchNorm
from diffdepth_jax.models.layers import rematerialised

VARIANTS: dict[str, dict[str, Any]] = {
    "resnet18": {"depths": (2, 2, 2, 2)},
    "resnet50": {"depths": (3, 4, 6, 3)},
    "resnet101": {"depths": (3, 4, 23, 3)},
}


def _conv3x3(
    features: int, stride: int, dtype: DTypeLike, name: str, use_bias: bool = False
) -> nn.Conv:
    """Pads both sides, as PyTorch does. With stride 2, 'SAME' pads even sizes at one side only."""
    return nn.Conv(
        features, (3, 3), stride, ((1, 1), (1, 1)), use_bias=use_bias, dtype=dtype, name=name
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: [B, H, W, C] -> [B, ceil(H/s), ceil(W/s), features].

    If the stride s is more than 1, the shortcut is a 3x3 convolution with bias and without norm.

    Attributes:
      features: channels of the output.
      stride: s of the first convolution and of the shortcut.
      dtype: compute dtype.
    """

    features: int
    stride: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features, train: bool = False) -> Features:
        y = _conv3x3(self.features, self.stride, self.dtype, "conv1")(x)
        y = nn.relu(BatchNorm(name="bn1")(y, train))
        y = _conv3x3(self.features, 1, self.dtype, "conv2")(y)
        y = BatchNorm(name="bn2")(y, train)
        if self.stride > 1:
            x = _conv3x3(self.features, self.stride, self.dtype, "downsample", use_bias=True)(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Image to feature maps at strides 2, 4, 8 and 16.

    Attributes:
      depths: blocks in each stage; the first block of a stage halves the map.
      channels: channels of each stage's map.
      dtype: compute dtype; parameters and the norms' statistics are float32.
      remat: recompute each block in the backward pass instead of storing its activations.
    """

    depths: tuple[int, ...]
    channels: tuple[int, ...] = (64, 128, 256, 512)
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, image: Image, train: bool = False) -> tuple[Features, ...]:
        """Maps a normalised image [B, H, W, 3] of any size to feature maps, finest first."""
        x = image.astype(self.dtype)
        make_block = rematerialised(BasicBlock, self.remat)
        features = []
        for stage, (depth, channels) in enumerate(zip(self.depths, self.channels, strict=True)):
            for block in range(depth):
                stride = 2 if block == 0 else 1
                name = f"stage{stage}_block{block}"
                x = make_block(channels, stride, self.dtype, name=name)(x, train)
            features.append(x)
        return tuple(features)
