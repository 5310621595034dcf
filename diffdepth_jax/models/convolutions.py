"""Convolutions in the form that is fast on every backend, in loops too."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from diffdepth_jax.models.layers import flat_dot_general

_NHWC = ("NHWC", "HWIO", "NHWC")
_SMALL, _BAND = 4096, 640  # pixels: of maps summed at once for a kernel's gradient, of a band


def _padding(kernel, padding):
    """(before, after) of either axis; None is 'SAME' of an odd kernel."""
    return padding or ((kernel.shape[0] // 2,) * 2,) * 2


def _convolve(x, kernel, padding):
    """Plain convolution of stride 1: x [B, H, W, I], kernel [k, k, I, O]."""
    pads = _padding(kernel, padding)
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=_NHWC)


def _correlate(x, y, padding):
    """[k, k, I, O] sums of x [B, H, W, I] times y [B, h, w, O] shifted against each other.

    Of large maps a band of rows of one image at a time: XLA's CPU backend takes up to twice as long
    for a whole map, whose sums leave the cache, and three times for several.
    """
    (top, bottom), sides = padding
    batch, height, width, _ = y.shape
    if batch * height * width <= _SMALL:
        return _correlate_band(_pad(x, (top, bottom)), y, sides)
    bands = -(-height // max(round(_BAND / width), 1))
    rows = -(-height // bands)  # nearly the same in all of them, the last is filled with zeros
    bands = -(-height // rows)
    missing = bands * rows - height
    x, y = _pad(x, (top, bottom + missing)), _pad(y, (0, missing))
    seen = x.shape[1] - (bands - 1) * rows  # rows of x that a band of y meets

    def sums_of(index):
        corner = index // bands, index % bands * rows, 0, 0
        x_band = jax.lax.dynamic_slice(x, corner, (1, seen, *x.shape[2:]))
        y_band = jax.lax.dynamic_slice(y, corner, (1, rows, *y.shape[2:]))
        return _correlate_band(x_band, y_band, sides)

    zeros = jnp.zeros_like(jax.eval_shape(sums_of, 0))
    add = lambda sums, index: (sums + sums_of(index), None)  # noqa: E731
    return jax.lax.scan(add, zeros, jnp.arange(batch * bands))[0]


def _pad(x, rows, columns=(0, 0)):
    return jnp.pad(x, ((0, 0), rows, columns, (0, 0)))


def _correlate_band(x, y, sides):
    """`_correlate` as one convolution of x whose rows are padded, in float32 at least."""
    if x.shape[2] < y.shape[2]:  # XLA's own padding is slow where the kernel exceeds the map
        x, sides = _pad(x, (0, 0), sides), (0, 0)
    sums = jax.lax.conv_general_dilated(
        x.transpose(3, 1, 2, 0),  # [I, H, W, B]
        y.transpose(1, 2, 0, 3),  # [h, w, B, O]
        (1, 1),
        [(0, 0), sides],
        dimension_numbers=_NHWC,
        preferred_element_type=jnp.promote_types(x.dtype, jnp.float32),
    )
    return sums.transpose(1, 2, 0, 3)


def _canonical_gradients(x, kernel, cotangent, padding):
    """Both gradients as convolutions in canonical layout, the transposes spelled out."""
    padding = _padding(kernel, padding)
    opposite = tuple(tuple(kernel.shape[0] - 1 - pad for pad in axis) for axis in padding)
    flipped = jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2)
    if x.shape[-1] <= cotangent.shape[-1]:
        kernel_gradient = _correlate(x, cotangent, padding)
    else:  # the same sums seen from the other map: many output channels are faster
        seen = _correlate(cotangent, x, opposite)
        kernel_gradient = jnp.flip(seen, (0, 1)).transpose(0, 1, 3, 2)
    return _convolve(cotangent, flipped, opposite), kernel_gradient.astype(kernel.dtype)


def _gradients_by_autodiff(x, kernel, cotangent, padding):
    return jax.vjp(lambda *args: _convolve(*args, padding), x, kernel)[1](cotangent)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def loop_safe_convolve(x, kernel, padding=None):
    """Convolution of stride 1 whose gradient is fast inside `lax.scan` on CPU too.

    XLA's CPU backend canonicalises convolutions in the entry computation only; the gradients that
    autodiff writes for a convolution in a loop body fall to naive loops, 30 to 100 times slower.
    So there they are written in canonical form; elsewhere autodiff rules.

    Args:
      x: [B, H, W, I].
      kernel: [k, k, I, O].
      padding: zeros ((top, bottom), (left, right)); None: 'SAME', for odd k.
    """
    return _convolve(x, kernel, padding)


def _loop_safe_forward(x, kernel, padding):
    return _convolve(x, kernel, padding), (x, kernel)


def _loop_safe_backward(padding, residuals, cotangent):
    return jax.lax.platform_dependent(
        *residuals,
        cotangent,
        cpu=functools.partial(_canonical_gradients, padding=padding),
        default=functools.partial(_gradients_by_autodiff, padding=padding),
    )


loop_safe_convolve.defvjp(_loop_safe_forward, _loop_safe_backward)


def _flax_convolve(x, kernel, strides, padding, **unused):
    """The signature by which `nn.Conv` calls a convolution; `LoopSafeConv` fixes the rest."""
    return loop_safe_convolve(x, kernel)


def LoopSafeConv(features, kernel_size, dtype, name=None, **kwargs):
    """`nn.Conv` of stride 1, 'SAME', odd square kernel, for the body of a loop."""
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size {kernel_size}: must be odd")
    return nn.Conv(
        features,
        (kernel_size, kernel_size),
        dtype=dtype,
        conv_general_dilated=_flax_convolve,
        name=name,
        **kwargs,
    )


@functools.cache
def _subpixel_taps(size: int) -> np.ndarray:
    """[taps, 2, size] of 0 and 1: which kernel element joins input tap and output phase.

    A transposed convolution of stride 2 gives out[o] = sum_i in[i] w[o - 2 i + pad]. Output 2 i + p
    therefore sees in[i + t] through w[p - 2 t + pad].
    """
    pad = (size - 1) // 2
    offsets = {2: (0,), 3: (0, 1), 4: (-1, 0, 1)}[size]
    taps = np.zeros((len(offsets), 2, size), np.float32)
    for row, offset in enumerate(offsets):
        for phase in range(2):
            element = phase - 2 * offset + pad
            if 0 <= element < size:
                taps[row, phase, element] = 1
    return taps


def conv_transpose_2x(x, kernel):
    """Transposed convolution of stride 2 to exactly twice the size.

    Written as an ordinary convolution, for k = 2 a matrix product, that computes the four output
    phases as channels, then depth-to-space: XLA's own lowering is 40 times slower on CPU.

    Args:
      x: [B, H, W, I].
      kernel: [k, k, I, O], k in (2, 3, 4), indexed as PyTorch's ConvTranspose2d of stride 2 with
        padding 0, 1 (and output_padding 1), 1.

    Returns:
      [B, 2 H, 2 W, O].
    """
    batch, height, width, _ = x.shape
    taps = jnp.asarray(_subpixel_taps(kernel.shape[0]), kernel.dtype)
    subpixel = jnp.einsum("tpk,uql,klio->tuipqo", taps, taps, kernel)
    subpixel = subpixel.reshape(*subpixel.shape[:3], -1)
    if len(taps) == 1:
        y = flat_dot_general(x, subpixel[0, 0])
    else:
        padding = {3: (0, 1), 4: (1, 1)}[kernel.shape[0]]
        y = loop_safe_convolve(x, subpixel, (padding, padding))
    y = y.reshape(batch, height, width, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, 2 * height, 2 * width, -1)


def interpolating_kernel(key, shape, dtype=jnp.float32):
    """A random 1x1 convolution followed by interpolation, as a transposed convolution's kernel.

    Nearest for size 2, bilinear for 3 and 4. From independent elements the output starts as a
    checkerboard, because its phases see different ones, and what learns for minutes keeps it.
    """
    size, _, fan_in, features = shape
    taper = jnp.asarray({2: (1, 1), 3: (0.5, 1, 0.5), 4: (0.25, 0.75, 0.75, 0.25)}[size], dtype)
    mix = nn.initializers.lecun_normal()(key, (fan_in, features), dtype)
    return taper[:, None, None, None] * taper[:, None, None] * mix


class ConvTranspose2x(nn.Module):
    """Learned upsampling by two, [B, H, W, I] -> [B, 2 H, 2 W, features]."""

    features: int
    kernel_size: int
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x):
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", interpolating_kernel, shape)
        y = conv_transpose_2x(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return y
