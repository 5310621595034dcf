"""Position-bias tables of Swin for another window size."""

import math

import jax
import numpy as np
from jaxtyping import Float32

Table = Float32[np.ndarray, "rows heads"]  # rows: (2 w - 1)^2 for windows of side w


def fits_another_window(table: Table, shape: tuple[int, ...]) -> bool:
    """Whether the table is square, and differs from `shape` only in its window."""
    if table.ndim != 2 or not len(table) or table.shape[1:] != shape[1:]:
        return False
    return len(table) != shape[0] and math.isqrt(len(table)) ** 2 == len(table)


def resize_table(table: Table, shape: tuple[int, int]) -> Table:
    """Resizes a table to `shape` as Swin's authors do, [(2 w - 1)^2, heads].

    That is F.interpolate(mode="bicubic", align_corners=False) of PyTorch: Keys's kernel with
    a = -0.75, no antialiasing, and the edge repeated outside. JAX's "cubic" has a = -0.5, and
    leaves out what lies outside.
    """
    old, new = math.isqrt(len(table)), math.isqrt(shape[0])
    square = table.reshape(old, old, shape[1])
    resized = jax.image.resize(square, (new, new, shape[1]), "cubic-pytorch", antialias=False)
    return np.asarray(resized).reshape(shape)
