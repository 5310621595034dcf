"""3x3 convolutions that follow each other with nothing between them, as one larger convolution.

n of them see 2 n + 1 pixels a side. Where that square lies within the map one convolution gives
what they give in turn, with fewer multiply-adds if the channels fall. Near the border it does not:
each of them pads its own input with zeros. A frame n pixels wide is therefore computed in turn.
"""

import functools

import jax
import jax.numpy as jnp

from diffdepth_jax.models.convolutions import loop_safe_convolve

_PADDED = ((1, 1), (1, 1))


def merge(layers):
    """One (kernel [2 n + 1, 2 n + 1, I, O], bias [O]) of n pairs ([3, 3, I, M], [M]).

    Zeros where `convolve_merged` has no use for it.
    """
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(_merge, layers))
    return jax.lax.platform_dependent(layers, cpu=_merge, default=lambda _: zeros)


def _merge(layers):
    return functools.reduce(_merge_before, reversed(layers))


def _merge_before(following, layer):
    """Element c of the merged kernel is the sum of layer[a] following[b] over a + b = c."""
    (kernel, bias), (next_kernel, next_bias) = layer, following
    size = next_kernel.shape[0]
    merged = jnp.zeros((size + 2, size + 2, kernel.shape[2], next_kernel.shape[3]), kernel.dtype)
    for row in range(3):
        for column in range(3):
            product = jnp.einsum("im,klmo->klio", kernel[row, column], next_kernel)
            merged = merged.at[row : row + size, column : column + size].add(product)
    return merged, jnp.einsum("klmo,m->o", next_kernel, bias) + next_bias


def convolve_in_turn(x, layers, padding=_PADDED):
    """x [B, H, W, I] through the layers -> [B, H, W, O].

    padding: zeros at (top, bottom), (left, right) of each layer's input, 1 or 0: where there are
    none the map loses a pixel a layer.
    """
    for kernel, bias in layers:
        x = loop_safe_convolve(x, kernel, padding) + bias
    return x


def convolve_merged(x, layers, merged):
    """What `convolve_in_turn` gives; `merged` is `merge(layers)`.

    On CPU as one, where multiply-adds count; elsewhere in turn, because the frame is many small
    convolutions.
    """
    reach = 2 * len(layers)
    if not (x.shape[1] > reach and x.shape[2] > reach):  # it is all frame
        return convolve_in_turn(x, layers)
    return jax.lax.platform_dependent(
        x,
        layers,
        merged,
        cpu=_convolve_within_frame,
        default=lambda x, layers, merged: convolve_in_turn(x, layers),
    )


def _convolve_within_frame(x, layers, merged):
    width = len(layers)
    reach = 2 * width
    top = convolve_in_turn(x[:, :reach], layers, ((1, 0), (1, 1)))
    bottom = convolve_in_turn(x[:, -reach:], layers, ((0, 1), (1, 1)))
    left = convolve_in_turn(x[:, :, :reach], layers, ((0, 0), (1, 0)))
    right = convolve_in_turn(x[:, :, -reach:], layers, ((0, 0), (0, 1)))
    kernel, bias = merged
    # Padded and cropped: without any padding XLA's convolution takes four times as long on CPU.
    within = (loop_safe_convolve(x, kernel) + bias)[:, width:-width, width:-width]
    middle = jnp.concatenate([left, within, right], 2)
    return jnp.concatenate([top, middle, bottom], 1)
