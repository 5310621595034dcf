"""Layers in the form that is fast on every backend, shared by the models."""

import functools
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float

from diffdepth_jax.arrays import Array, Size

Block = TypeVar("Block", bound=type[nn.Module])

_Tokens = Float[Array, "... channels"]
_Weights = Float[Array, " channels"]
_PerToken = Float[Array, "... 1"]


def flat_dot_general(
    x: Float[Array, "... inputs"],
    kernel: Float[Array, "inputs outputs"],
    dimension_numbers: object = None,
    **kwargs: Any,
) -> Float[Array, "... outputs"]:
    """Multiplies x [..., I] by kernel [I, O], with the leading axes of x flattened into one.

    The kernel gradient of autodiff is then a sum over one axis. For the same sum over several axes
    XLA's CPU backend takes twice as long. `dimension_numbers` is unused: `nn.Dense` passes it, but
    always asks for this product.
    """
    flat = x.reshape(-1, x.shape[-1])
    y = jax.lax.dot_general(flat, kernel, (((1,), (0,)), ((), ())), **kwargs)
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


Dense = functools.partial(nn.Dense, dot_general=flat_dot_general)


def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Exact GELU, x Phi(x), as PyTorch computes it.

    `jax.nn.gelu` has erfc in the place of erf, which takes twice as long on CPU. Of x from -12 to
    12 both are within 1e-6 of the exact value.
    """
    return 0.5 * x * (1 + jax.lax.erf(x * np.asarray(2**-0.5, x.dtype)))


def _mean_by_product(x: _Tokens) -> _PerToken:
    """Multiplies by a matrix of equal columns.

    A vector would do, but then the order in which XLA sums a row would depend on the place of the
    row, and the results of equal images in a batch would differ.
    """
    channels = x.shape[-1]
    means = x.reshape(-1, channels) @ jnp.full((channels, 8), 1 / channels, x.dtype)
    return means[:, :1].reshape(*x.shape[:-1], 1)


def _plain_mean(x: _Tokens) -> _PerToken:
    return x.mean(-1, keepdims=True)


def _channel_mean(x: _Tokens) -> _PerToken:
    """Averages over the channels; on CPU as a matrix product.

    There XLA fuses a plain mean with the neighbouring convolution, which makes both slow:
    prediction with 20 steps takes more than a third longer.
    """
    return jax.lax.platform_dependent(x, cpu=_mean_by_product, default=_plain_mean)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def layer_norm(x: _Tokens, scale: _Weights, bias: _Weights, epsilon: float) -> _Tokens:
    """Normalises x [..., C] to mean 0 and variance 1 over C, then applies scale [C] and bias [C].

    The gradient is written out, because XLA's CPU backend takes more than twice as long for the
    gradient of autodiff.
    """
    return _layer_norm_forward(x, scale, bias, epsilon)[0]


def _layer_norm_forward(
    x: _Tokens, scale: _Weights, bias: _Weights, epsilon: float
) -> tuple[_Tokens, tuple[_Tokens, _PerToken, _PerToken, _Weights]]:
    mean = _channel_mean(x)
    variance = jnp.maximum(0, _channel_mean(jnp.square(x)) - jnp.square(mean))
    inverse = jax.lax.rsqrt(variance + epsilon)
    return (x - mean) * (inverse * scale) + bias, (x, mean, inverse, scale)


def _layer_norm_backward(
    epsilon: float,
    residuals: tuple[_Tokens, _PerToken, _PerToken, _Weights],
    cotangent: _Tokens,
) -> tuple[_Tokens, _Weights, _Weights]:
    x, mean, inverse, scale = residuals
    normalized = (x - mean) * inverse
    scaled = cotangent * scale
    along = normalized * _channel_mean(scaled * normalized)  # the part that changes the variance
    leading = tuple(range(x.ndim - 1))
    return (
        inverse * (scaled - _channel_mean(scaled) - along),
        jnp.sum(cotangent * normalized, leading).astype(scale.dtype),
        jnp.sum(cotangent, leading).astype(scale.dtype),
    )


layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


class LayerNorm(nn.Module):
    """`nn.LayerNorm` over the last axis, computed in float32 or wider.

    Attributes:
      epsilon: added to the variance.
      dtype: of the result.
    """

    epsilon: float = 1e-6
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: _Tokens) -> _Tokens:
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return layer_norm(x, scale, bias, self.epsilon).astype(self.dtype)


def DropPath(rate: float, axes: tuple[int, ...] = (1, 2, 3)) -> nn.Dropout:
    """Returns stochastic depth for residuals [B, H, W, C]: dropout of whole images.

    `axes` are all axes of a residual but the first.
    """
    return nn.Dropout(rate, broadcast_dims=axes, rng_collection="drop_path", name="drop_path")


def rematerialised(block: Block, remat: bool) -> Block:
    """Returns the module class `block`; if `remat`, its calls are recomputed in the backward pass.

    The modules must be called as (x, train).
    """
    return nn.remat(block, static_argnums=(2,)) if remat else block


def resize_align_corners(
    x: Float[Array, "batch _ _ channels"], height: Size, width: Size
) -> Float[Array, "batch _ _ channels"]:
    """Resizes [B, h, w, C] to [B, height, width, C], bilinearly, with corner pixels kept in place.

    This is PyTorch's align_corners=True, which `jax.image.resize` does not offer.
    """
    for axis, size in ((1, height), (2, width)):
        x = _interpolate_axis(x, axis, size)
    return x


def _interpolate_axis(x: Array, axis: int, size: Size) -> Array:
    last = x.shape[axis] - 1
    scale = jnp.float32(last) / jnp.maximum(size - 1, 1)  # jnp: `size` may be symbolic
    position = jnp.arange(size, dtype=jnp.float32) * scale
    low = jnp.minimum(position.astype(jnp.int32), last)
    others = [other for other in range(x.ndim) if other != axis]
    weight = jnp.expand_dims((position - low).astype(x.dtype), others)
    first, second = x.take(low, axis), x.take(jnp.minimum(low + 1, last), axis)
    return first * (1 - weight) + second * weight


def resize_bilinear(
    x: Float[Array, "batch _ _ channels"], height: Size, width: Size
) -> Float[Array, "batch _ _ channels"]:
    """Resizes [B, h, w, C] to [B, height, width, C]: half-pixel centres, no antialiasing."""
    shape = (x.shape[0], height, width, x.shape[-1])
    return jax.image.resize(x, shape, "bilinear", antialias=False)
