"""Layers in the form that is fast on every backend, shared by the models."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp


def flat_dot_general(x, kernel, dimension_numbers=None, **kwargs):
    """Contracts the last axis of x [..., I] with kernel [I, O], leading axes made one.

    Autodiff's kernel gradient then contracts one axis: XLA's CPU backend takes twice as long for
    the same sums over several.
    """
    flat = x.reshape(-1, x.shape[-1])
    y = jax.lax.dot_general(flat, kernel, (((1,), (0,)), ((), ())), **kwargs)
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


Dense = functools.partial(nn.Dense, dot_general=flat_dot_general)


def _mean_by_product(x):
    """With a matrix, not a vector: a row's sum would then go by its place, equal images differ."""
    channels = x.shape[-1]
    means = x.reshape(-1, channels) @ jnp.full((channels, 8), 1 / channels, x.dtype)
    return means[:, :1].reshape(*x.shape[:-1], 1)


def _plain_mean(x):
    return x.mean(-1, keepdims=True)


def _channel_mean(x):
    """[..., C] -> [..., 1].

    On CPU a matrix product: XLA joins a plain mean with the convolution beside it, and both are
    slow then, prediction with 20 steps by more than a third.
    """
    return jax.lax.platform_dependent(x, cpu=_mean_by_product, default=_plain_mean)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def layer_norm(x, scale, bias, epsilon):
    """x [..., C] to mean 0 and variance 1 over C, then times scale [C] plus bias [C].

    The gradient is written out: autodiff's takes XLA's CPU backend more than twice as long.
    """
    return _layer_norm_forward(x, scale, bias, epsilon)[0]


def _layer_norm_forward(x, scale, bias, epsilon):
    mean = _channel_mean(x)
    variance = jnp.maximum(0, _channel_mean(jnp.square(x)) - jnp.square(mean))
    inverse = jax.lax.rsqrt(variance + epsilon)
    return (x - mean) * (inverse * scale) + bias, (x, mean, inverse, scale)


def _layer_norm_backward(epsilon, residuals, cotangent):
    x, mean, inverse, scale = residuals
    normalized = (x - mean) * inverse
    scaled = cotangent * scale
    along = normalized * _channel_mean(scaled * normalized)  # what changes the variance alone
    leading = tuple(range(x.ndim - 1))
    return (
        inverse * (scaled - _channel_mean(scaled) - along),
        jnp.sum(cotangent * normalized, leading).astype(scale.dtype),
        jnp.sum(cotangent, leading).astype(scale.dtype),
    )


layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


class LayerNorm(nn.Module):
    """`nn.LayerNorm` over the last axis, in float32 at least whatever the compute dtype."""

    epsilon: float = 1e-6
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        return layer_norm(x, scale, bias, self.epsilon).astype(self.dtype)


def DropPath(rate):
    """Stochastic depth for residuals [B, H, W, C]: dropout of whole images."""
    return nn.Dropout(rate, broadcast_dims=(1, 2, 3), rng_collection="drop_path", name="drop_path")


def rematerialised(block, remat):
    """The class of a block called as (x, train); with `remat` the backward pass recomputes it."""
    return nn.remat(block, static_argnums=(2,)) if remat else block


def resize_align_corners(x, height, width):
    """Bilinear [B, h, w, C] -> [B, height, width, C], corner pixels on corner pixels.

    PyTorch's align_corners=True, which `jax.image.resize` does not offer.
    """
    for axis, size in ((1, height), (2, width)):
        x = _interpolate_axis(x, axis, size)
    return x


def _interpolate_axis(x, axis, size):
    last = x.shape[axis] - 1
    scale = jnp.float32(last) / jnp.maximum(size - 1, 1)  # export may know sizes by name only
    position = jnp.arange(size, dtype=jnp.float32) * scale
    low = jnp.minimum(position.astype(jnp.int32), last)
    others = [other for other in range(x.ndim) if other != axis]
    weight = jnp.expand_dims((position - low).astype(x.dtype), others)
    first, second = x.take(low, axis), x.take(jnp.minimum(low + 1, last), axis)
    return first * (1 - weight) + second * weight


def resize_bilinear(x, height, width):
    """[B, h, w, C] -> [B, height, width, C], half-pixel centres, no antialiasing."""
    shape = (x.shape[0], height, width, x.shape[-1])
    return jax.image.resize(x, shape, "bilinear", antialias=False)
