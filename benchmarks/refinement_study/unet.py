"""A plain U-Net (Ronneberger et al. 2015) that regresses log depth: the peer to beat."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from diffdepth_jax.arrays import Array

WIDTHS = (32, 64, 128, 256, 320)  # at strides 1 to 16; 5.5 million parameters


class UNet(nn.Module):
    """Two 3x3 convolutions a level; max pooling down, nearest neighbours up, skip connections."""

    @nn.compact
    def __call__(self, image: Array) -> Array:
        """Normalised image [B, H, W, 3], sides multiples of 16 -> log metres [B, H, W, 1]."""
        x, skips = image, []
        for level, width in enumerate(WIDTHS):
            if level:
                skips.append(x)
                x = nn.max_pool(x, (2, 2), (2, 2))
            x = _block(width, f"down{level}")(x)
        for level in reversed(range(len(WIDTHS) - 1)):
            x = x.repeat(2, axis=1).repeat(2, axis=2)
            x = _block(WIDTHS[level], f"up{level}")(jnp.concatenate([skips[level], x], axis=-1))
        return nn.Conv(1, (3, 3), name="head")(x) + 1.0


def _block(width: int, name: str) -> nn.Module:
    return nn.Sequential(
        [
            layer
            for index in range(2)
            for layer in (
                nn.Conv(width, (3, 3), name=f"{name}_conv{index}"),
                nn.GroupNorm(num_groups=8, name=f"{name}_norm{index}"),
                jax.nn.relu,
            )
        ]
    )
