"""Convolutions in the form that is fast on every backend, in loops and of large maps too."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float, Key

from diffdepth_jax.arrays import Array
from diffdepth_jax.models.layers import flat_dot_general

Sides = tuple[int, int]  # zeros before and after the elements of an axis
Padding = tuple[Sides, Sides]  # (top, bottom), (left, right)

_Input = Float[Array, "batch _ _ inputs"]
_Output = Float[Array, "batch _ _ outputs"]
_Kernel = Float[Array, "size size inputs outputs"]

_NHWC = ("NHWC", "HWIO", "NHWC")
_BAND = 160_000  # numbers; `_correlate` cuts maps into bands of about this size


def _padding(kernel: _Kernel, padding: Padding | None) -> Padding:
    """Replaces None, which means 'SAME', by the padding for this odd kernel."""
    same = kernel.shape[0] // 2
    return padding or ((same, same), (same, same))


def _plain_convolve(x: _Input, kernel: _Kernel, padding: Padding | None) -> _Output:
    """Plain convolution of stride 1."""
    x, kernel, pads = jnp.asarray(x), jnp.asarray(kernel), _padding(kernel, padding)
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=_NHWC)


def _correlate(x: _Input, y: _Output, padding: Padding) -> _Kernel:
    """Sums the products of x and y at each shift of y against the padded x.

    This is the kernel's gradient if y is the cotangent. Large maps are summed in bands of rows.
    Otherwise XLA's CPU backend would take up to three times as long, because its sums leave the
    cache.
    """
    (top, bottom), sides = padding
    batch, height, width, _ = y.shape
    row_size = batch * width * max(x.shape[3], y.shape[3])
    bands = -(-height // max(round(_BAND / row_size), 1))
    rows = -(-height // bands)  # of every band; zeros fill up the last one
    bands = -(-height // rows)
    if bands == 1:
        return _correlate_band(_pad(x, (top, bottom)), y, sides)
    missing = bands * rows - height
    x, y = _pad(x, (top, bottom + missing)), _pad(y, (0, missing))
    seen = x.shape[1] - (bands - 1) * rows  # the rows of x that belong to a band of y

    def sums_of(band: Any) -> _Kernel:
        x_band = jax.lax.dynamic_slice_in_dim(x, band * rows, seen, axis=1)
        y_band = jax.lax.dynamic_slice_in_dim(y, band * rows, rows, axis=1)
        return _correlate_band(x_band, y_band, sides)

    zeros = jnp.zeros_like(jax.eval_shape(sums_of, 0))
    add = lambda sums, band: (sums + sums_of(band), None)  # noqa: E731
    return jax.lax.scan(add, zeros, jnp.arange(bands))[0]


def _pad(x: Array, rows: Sides, columns: Sides = (0, 0)) -> Array:
    return jnp.pad(x, ((0, 0), rows, columns, (0, 0)))


def _correlate_band(x: _Input, y: _Output, sides: Sides) -> _Kernel:
    """`_correlate` as one convolution, in float32 or wider; the rows of x are padded already."""
    if x.shape[2] < y.shape[2]:  # XLA pads slowly where the kernel is larger than the map
        x, sides = _pad(x, (0, 0), sides), (0, 0)
    sums = jax.lax.conv_general_dilated(
        jnp.transpose(x, (3, 1, 2, 0)),  # [I, H, W, B]
        jnp.transpose(y, (1, 2, 0, 3)),  # [h, w, B, O]
        (1, 1),
        [(0, 0), sides],
        dimension_numbers=_NHWC,
        preferred_element_type=jnp.promote_types(x.dtype, jnp.float32),
    )
    return sums.transpose(1, 2, 0, 3)


def _canonical_gradients(
    x: _Input, kernel: _Kernel, cotangent: _Output, padding: Padding | None
) -> tuple[_Input, _Kernel]:
    """Computes both gradients by convolutions in canonical layout and explicit transposes."""
    padding = _padding(kernel, padding)
    (top, bottom), (left, right) = padding
    last = kernel.shape[0] - 1
    opposite = (last - top, last - bottom), (last - left, last - right)
    flipped = jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2)
    if x.shape[-1] <= cotangent.shape[-1]:
        kernel_gradient = _correlate(x, cotangent, padding)
    else:  # the same sums with swapped maps: a convolution to many channels is faster
        seen = _correlate(cotangent, x, opposite)
        kernel_gradient = jnp.flip(seen, (0, 1)).transpose(0, 1, 3, 2)
    return _plain_convolve(cotangent, flipped, opposite), kernel_gradient.astype(kernel.dtype)


def _gradients_by_autodiff(
    x: _Input, kernel: _Kernel, cotangent: _Output, padding: Padding | None
) -> tuple[_Input, _Kernel]:
    return jax.vjp(lambda *args: _plain_convolve(*args, padding), x, kernel)[1](cotangent)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x: _Input, kernel: _Kernel, padding: Padding | None = None) -> _Output:
    """Convolves with stride 1; the gradient is fast on CPU too, in `lax.scan` and of large maps.

    XLA's CPU backend canonicalises convolutions in the entry computation only. In the body of a
    loop, the gradients that autodiff writes become naive loops, which are 30 to 100 times slower.
    Outside loops the kernel's gradient of large maps is nearly three times slower. On CPU the
    gradients are therefore written in canonical form, that of the kernel in bands of rows, see
    `_correlate`. Elsewhere autodiff writes them.

    Args:
      x: [B, H, W, I].
      kernel: [k, k, I, O].
      padding: zeros ((top, bottom), (left, right)); None means 'SAME', for odd k.

    Returns:
      [B, H', W', O].
    """
    return _plain_convolve(x, kernel, padding)


def _convolve_forward(
    x: _Input, kernel: _Kernel, padding: Padding | None
) -> tuple[_Output, tuple[_Input, _Kernel]]:
    return _plain_convolve(x, kernel, padding), (x, kernel)


def _convolve_backward(
    padding: Padding | None, residuals: tuple[_Input, _Kernel], cotangent: _Output
) -> tuple[_Input, _Kernel]:
    return jax.lax.platform_dependent(
        *residuals,
        cotangent,
        cpu=functools.partial(_canonical_gradients, padding=padding),
        default=functools.partial(_gradients_by_autodiff, padding=padding),
    )


convolve.defvjp(_convolve_forward, _convolve_backward)


def _flax_convolve(
    x: _Input, kernel: _Kernel, strides: object, padding: object, **unused: object
) -> _Output:
    """`convolve` with the signature that `nn.Conv` needs.

    Callers of `Conv` must not pass strides, padding or dilation: they would be ignored.
    """
    return convolve(x, kernel)


def Conv(
    features: int, kernel_size: int, dtype: DTypeLike, name: str | None = None, **kwargs: Any
) -> nn.Conv:
    """Returns an `nn.Conv` by `convolve`: stride 1, 'SAME' padding, odd square kernel.

    Raises:
      ValueError: kernel_size is even.
    """
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
def _subpixel_taps(size: int) -> Float[np.ndarray, "taps 2 size"]:
    """Maps input taps and output phases to kernel elements: 1 where they belong together, else 0.

    A transposed convolution of stride 2 gives out[o] = sum_i in[i] w[o - 2 i + pad]. Therefore
    output 2 i + p (phase p, 0 or 1) sees input i + t (tap t) through kernel element p - 2 t + pad.
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


def conv_transpose_2x(
    x: Float[Array, "batch height width inputs"], kernel: _Kernel
) -> Float[Array, "batch 2*height 2*width outputs"]:
    """Transposed convolution of stride 2 to exactly twice the size.

    An ordinary convolution (for k = 2 a matrix product) computes the four output phases as
    channels, and depth-to-space follows. XLA's transposed convolution is 40 times slower on CPU.

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
        y = convolve(x, subpixel, (padding, padding))
    y = y.reshape(batch, height, width, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, 2 * height, 2 * width, -1)


def interpolating_kernel(
    key: Key[jax.Array, ""], shape: tuple[int, int, int, int], dtype: DTypeLike = jnp.float32
) -> Float[Array, "size size inputs outputs"]:
    """Draws a kernel [k, k, I, O] with which `conv_transpose_2x` interpolates from the start.

    It amounts to a random 1x1 convolution and an interpolation, nearest for k = 2, bilinear for 3
    and 4. With independent random elements the output would start as a checkerboard, because its
    phases see different elements. After minutes of training the checkerboard would still be there.
    """
    size, _, fan_in, features = shape
    taper = jnp.asarray({2: (1, 1), 3: (0.5, 1, 0.5), 4: (0.25, 0.75, 0.75, 0.25)}[size], dtype)
    mix = nn.initializers.lecun_normal()(key, (fan_in, features), dtype)
    return taper[:, None, None, None] * taper[:, None, None] * mix


class ConvTranspose2x(nn.Module):
    """Learned upsampling by two: [B, H, W, I] -> [B, 2 H, 2 W, features].

    Attributes:
      features: channels of the output.
      kernel_size: 2, 3 or 4.
      use_bias: add a bias.
      dtype: compute dtype.
    """

    features: int
    kernel_size: int
    use_bias: bool = True
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width inputs"]
    ) -> Float[Array, "batch 2*height 2*width features"]:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", interpolating_kernel, shape)
        y = conv_transpose_2x(x.astype(self.dtype), kernel.astype(self.dtype))
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return y
