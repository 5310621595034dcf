"""The windows of a Swin Transformer: how a map is cut into them, and how they are shifted."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Shaped

from diffdepth_jax.arrays import Array, Size

_MASKED = -100.0  # added to the logits of two tokens that are neighbours only by the cyclic shift


@functools.cache
def relative_position_index(window: int) -> Int[np.ndarray, "tokens tokens"]:
    """Returns the bias table's row for each pair of tokens, [w * w, w * w], as in official code."""
    grid = np.stack(np.meshgrid(np.arange(window), np.arange(window), indexing="ij"))
    coordinates = grid.reshape(2, -1)
    relative = coordinates[:, :, None] - coordinates[:, None, :] + window - 1
    return relative[0] * (2 * window - 1) + relative[1]


def partition_windows(
    x: Shaped[Array, "batch _ _ channels"], window: int
) -> Shaped[Array, "batch windows tokens channels"]:
    """Splits [B, H, W, C] into windows [B, nW, w * w, C]; H and W are multiples of w."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // window, window, width // window, window, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, window * window, channels)


def merge_windows(
    x: Shaped[Array, "batch windows tokens channels"], window: int, height: Size, width: Size
) -> Shaped[Array, "batch _ _ channels"]:
    """Joins windows [B, nW, w * w, C] to [B, H, W, C]; the inverse of `partition_windows`."""
    batch, channels = x.shape[0], x.shape[-1]
    x = x.reshape(batch, height // window, width // window, window, window, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, height, width, channels)


def window_shifts(
    height: Size, width: Size, window: int, shift: int, rule: str
) -> tuple[Size, Size]:
    """Returns the rows and columns by which the windows of a map [H, W] are shifted.

    Where one window covers an axis, a shift parts tokens that were neighbours, and joins none.
    The codes that Swin's weights come from treat this differently. `rule` is one of these:

    - "always": `shift` in both directions (mmseg, the released code);
    - "larger_axes": only along an axis that is longer than the window (timm, torchvision);
    - "larger_maps": only if both axes are longer than the window (Microsoft, Hugging Face).
    """
    if rule == "always":
        return shift, shift
    # Symbolic sizes, under `jax.export`, are compared when the function runs.
    rows, columns = (
        (size if isinstance(size, int) else jnp.asarray(size)) > window for size in (height, width)
    )
    if rule == "larger_maps":
        rows = columns = rows & columns
    return shift * rows, shift * columns


def shift_mask(
    height: Size, width: Size, window: int, shifts: tuple[Size, Size]
) -> Float[Array, "windows tokens tokens"]:
    """Returns the additive mask [nW, w * w, w * w] of a padded, cyclically shifted map.

    Two tokens of a window attend to each other only if the shift did not bring them together. The
    shift parts the rows into three regions, bounded at `height - window` and `height - shifts[0]`,
    and the columns likewise. Tokens of one region were together before the shift.
    """

    def region(size: Size, shift: Size) -> Int[Array, " size"]:
        position = jnp.arange(size)
        return (position >= size - window).astype(jnp.int32) + (position >= size - shift)

    regions = region(height, shifts[0])[:, None] * 3 + region(width, shifts[1])[None, :]
    regions = partition_windows(regions[None, :, :, None], window)[0, :, :, 0]
    return jnp.where(regions[:, :, None] == regions[:, None, :], 0.0, _MASKED)
