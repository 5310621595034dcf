"""Merges successive 3x3 convolutions, with nothing between them, into one larger convolution.

n such convolutions see 2 n + 1 pixels along each axis. Where this square lies inside the map, one
convolution gives the same result. It needs fewer multiply-adds if the number of channels falls.
Near the border the results differ, because each of the n convolutions pads its input with zeros.
There, in a frame n pixels wide, the convolutions are therefore computed in turn.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Float

from diffdepth_jax.arrays import Array, Features
from diffdepth_jax.models.convolutions import Padding, convolve

# (kernel [3, 3, I, O], bias [O]); the layers of a list differ in I and O.
Layer = tuple[Float[Array, "3 3 _ _"], Float[Array, " _"]]
# (kernel [2 n + 1, 2 n + 1, I, O], bias [O]) of n layers.
Merged = tuple[Float[Array, "side side _ _"], Float[Array, " _"]]

_PADDED = ((1, 1), (1, 1))


def merge(layers: list[Layer]) -> Merged:
    """Merges the layers for `convolve_merged`: n pairs (kernel [3, 3, I, M], bias [M]) to one pair.

    The result is zeros on platforms where `convolve_merged` does not use it.
    """
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(_merge, layers))
    return jax.lax.platform_dependent(layers, cpu=_merge, default=lambda _: zeros)


def _merge(layers: list[Layer]) -> Merged:
    return functools.reduce(_merge_before, reversed(layers))


def _merge_before(
    following: tuple[Float[Array, "side side middle outputs"], Float[Array, " outputs"]],
    layer: tuple[Float[Array, "3 3 inputs middle"], Float[Array, " middle"]],
) -> tuple[Float[Array, "side+2 side+2 inputs outputs"], Float[Array, " outputs"]]:
    """Merges a layer with the merged layers after it.

    Element c of the merged kernel is the sum of layer[a] following[b] over a + b = c.
    """
    (kernel, bias), (next_kernel, next_bias) = layer, following
    size = next_kernel.shape[0]
    merged = jnp.zeros((size + 2, size + 2, kernel.shape[2], next_kernel.shape[3]), kernel.dtype)
    for row in range(3):
        for column in range(3):
            product = jnp.einsum("im,klmo->klio", kernel[row, column], next_kernel)
            merged = merged.at[row : row + size, column : column + size].add(product)
    return merged, jnp.einsum("klmo,m->o", next_kernel, bias) + next_bias


def convolve_in_turn(x: Features, layers: list[Layer], padding: Padding = _PADDED) -> Features:
    """Passes x [B, H, W, I] through the layers one by one, to [B, H, W, O].

    Args:
      x: [B, H, W, I].
      layers: pairs (kernel, bias), see `merge`.
      padding: zeros (top, bottom), (left, right) around each layer's input, 1 or 0. At a side with
        0 the map loses a pixel in each layer.
    """
    for kernel, bias in layers:
        x = convolve(x, kernel, padding) + bias
    return x


def convolve_merged(x: Features, layers: list[Layer], merged: Merged) -> Features:
    """Computes the result of `convolve_in_turn` with `merged`, the result of `merge(layers)`.

    On CPU one convolution replaces the layers, because fewer multiply-adds take less time there. On
    other platforms the layers run in turn, because the frame would need many small convolutions.
    """
    reach = 2 * len(layers)
    if not (x.shape[1] > reach and x.shape[2] > reach):  # the frame covers the whole map
        return convolve_in_turn(x, layers)
    return jax.lax.platform_dependent(
        x,
        layers,
        merged,
        cpu=_convolve_within_frame,
        default=lambda x, layers, merged: convolve_in_turn(x, layers),
    )


def _convolve_within_frame(x: Features, layers: list[Layer], merged: Merged) -> Features:
    width = len(layers)
    reach = 2 * width
    top = convolve_in_turn(x[:, :reach], layers, ((1, 0), (1, 1)))
    bottom = convolve_in_turn(x[:, -reach:], layers, ((0, 1), (1, 1)))
    left = convolve_in_turn(x[:, :, :reach], layers, ((0, 0), (1, 0)))
    right = convolve_in_turn(x[:, :, -reach:], layers, ((0, 0), (0, 1)))
    kernel, bias = merged
    # Padding and cropping is faster: XLA's unpadded convolution takes four times as long on CPU.
    within = (convolve(x, kernel) + bias)[:, width:-width, width:-width]
    middle = jnp.concatenate([left, within, right], 2)
    return jnp.concatenate([top, middle, bottom], 1)
