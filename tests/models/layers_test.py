"""Convolutions against direct sums in numpy, their gradients against autodiff's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from diffdepth_jax.models import convolutions, layers


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def plain_convolve(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def assert_close(ours, theirs, tolerance=1e-5):
    scale = np.abs(np.asarray(theirs, np.float32)).max()
    np.testing.assert_allclose(
        np.asarray(ours, np.float32), np.asarray(theirs, np.float32), atol=tolerance * scale
    )


SIZES = [(1, 1), (1, 7), (2, 2), (5, 8)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("channels", [(3, 4), (4, 3)])
def test_convolution_equals_the_plain_one(size, kernel_size, channels):
    """In value and in both gradients."""
    x, kernel = normal(0, 2, *size, channels[0]), normal(1, kernel_size, kernel_size, *channels)
    ours, ours_vjp = jax.vjp(convolutions.convolve, x, kernel)
    theirs, theirs_vjp = jax.vjp(plain_convolve, x, kernel)
    cotangent = normal(2, *theirs.shape)
    assert_close(ours, theirs)
    for gradient, expected in zip(ours_vjp(cotangent), theirs_vjp(cotangent), strict=True):
        assert gradient.shape == expected.shape
        assert_close(gradient, expected)


@pytest.mark.parametrize("padding", [None, ((0, 0), (0, 2)), ((2, 1), (1, 1))])
@pytest.mark.parametrize(("inputs", "features"), [(3, 4), (4, 3)])
def test_both_ways_to_the_gradient_agree(inputs, features, padding):
    """One is for CPU, one for other platforms; the test runs both on any machine."""
    x, kernel = normal(0, 2, 5, 8, inputs), normal(1, 3, 3, inputs, features)
    y = convolutions.convolve(x, kernel, padding)
    args = x, kernel, normal(2, *y.shape), padding
    canonical = convolutions._canonical_gradients(*args)
    autodiff = convolutions._gradients_by_autodiff(*args)
    for gradient, expected in zip(canonical, autodiff, strict=True):
        assert_close(gradient, expected)


@pytest.mark.parametrize("size", [(2, 97, 40), (5, 30, 31), (1, 3, 1500)])
@pytest.mark.parametrize(("kernel_size", "padding"), [(3, None), (7, None), (3, ((1, 0), (0, 1)))])
@pytest.mark.parametrize(("inputs", "features"), [(2, 3), (3, 2)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_kernel_gradients_of_large_maps_agree(
    size, kernel_size, padding, inputs, features, dtype, monkeypatch
):
    """Large maps are summed by bands of rows; the sums keep their precision."""
    monkeypatch.setattr(convolutions, "_BAND", 2000)  # three bands and more
    shape = kernel_size, kernel_size, inputs, features
    x, kernel = (jnp.asarray(a, dtype) for a in (normal(0, *size, inputs), normal(1, *shape)))
    y = convolutions.convolve(x, kernel, padding)
    cotangent = jnp.asarray(normal(2, *y.shape) + 1, dtype)
    ours = convolutions._canonical_gradients(x, kernel, cotangent, padding)
    exact = (a.astype(jnp.float32) for a in (x, kernel, cotangent))
    theirs = convolutions._gradients_by_autodiff(*exact, padding)
    assert {gradient.dtype for gradient in ours} == {jnp.dtype(dtype)}
    for gradient, expected in zip(ours, theirs, strict=True):
        assert_close(gradient, expected, 1e-5 if dtype == jnp.float32 else 5e-3)


def test_gelu_is_the_exact_one():
    x = np.linspace(-12, 12, 10_001, dtype=np.float32)
    expected = x.astype(np.float64) * scipy.stats.norm.cdf(x.astype(np.float64))
    np.testing.assert_allclose(layers.gelu(x), expected, rtol=0, atol=1e-6)
    slope = jax.vmap(jax.grad(layers.gelu))(x)
    expected_slope = scipy.stats.norm.cdf(x) + x * scipy.stats.norm.pdf(x)
    np.testing.assert_allclose(slope, expected_slope, rtol=0, atol=1e-6)


def test_gelu_keeps_the_type():
    assert layers.gelu(jnp.ones(3, jnp.bfloat16)).dtype == jnp.bfloat16


def test_convolution_by_hand():
    x, kernel = normal(0, 1, 4, 5, 2), normal(1, 3, 3, 2, 3)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = sum(
        padded[:, i : i + 4, j : j + 5] @ kernel[i, j] for i in range(3) for j in range(3)
    )
    assert_close(convolutions.convolve(x, kernel), expected)


def test_convolution_in_bfloat16():
    x, kernel = (jnp.bfloat16(a) for a in (normal(0, 2, 5, 8, 3), normal(1, 3, 3, 3, 4)))
    ours, vjp = jax.vjp(convolutions.convolve, x, kernel)
    gradients = vjp(jnp.ones_like(ours))
    assert {ours.dtype, *(g.dtype for g in gradients)} == {jnp.dtype(jnp.bfloat16)}
    theirs, vjp = jax.vjp(plain_convolve, x.astype(jnp.float32), kernel.astype(jnp.float32))
    assert_close(ours, theirs, 0.02)
    for gradient, expected in zip(gradients, vjp(jnp.ones_like(theirs)), strict=True):
        assert_close(gradient, expected, 0.02)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gradient_in_a_scan_equals_that_of_the_unrolled_loop(dtype):
    layer = convolutions.Conv(3, 3, dtype)
    x = normal(0, 2, 5, 6, 3)
    variables = layer.init(jax.random.key(0), x)

    def loss(variables, x, unroll):
        def step(x, _):
            return jnp.tanh(layer.apply(variables, x)).astype(jnp.float32), None

        x, _ = jax.lax.scan(step, x, length=4, unroll=unroll)
        return jnp.sum(x**2)

    gradient = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)
    scanned, unrolled = gradient(variables, x, 1), gradient(variables, x, 4)
    tolerance = 1e-5 if dtype == jnp.float32 else 0.02
    for ours, theirs in zip(jax.tree.leaves(scanned), jax.tree.leaves(unrolled), strict=True):
        assert_close(ours, theirs, tolerance)


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match="kernel_size 4: must be odd"):
        convolutions.Conv(3, 4, jnp.float32)


def scatter_transposed(x, kernel, padding, output_padding):
    """PyTorch's ConvTranspose2d of stride 2: each input pixel adds its kernel to the output."""
    batch, height, width, _ = x.shape
    size = len(kernel)
    full = np.zeros((batch, 2 * height + size, 2 * width + size, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            patch = np.einsum("bi,klio->bklo", x[:, i, j].astype(np.float64), kernel)
            full[:, 2 * i : 2 * i + size, 2 * j : 2 * j + size] += patch
    out_height = (height - 1) * 2 - 2 * padding + size + output_padding
    out_width = (width - 1) * 2 - 2 * padding + size + output_padding
    return full[:, padding : padding + out_height, padding : padding + out_width]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("kernel_size", "padding", "output_padding"), [(2, 0, 0), (3, 1, 1), (4, 1, 0)]
)
def test_transposed_convolution_equals_pytorchs(size, kernel_size, padding, output_padding):
    x, kernel = normal(0, 2, *size, 3), normal(1, kernel_size, kernel_size, 3, 4)
    expected = scatter_transposed(x, kernel, padding, output_padding)
    assert expected.shape == (2, 2 * size[0], 2 * size[1], 4)
    assert_close(convolutions.conv_transpose_2x(x, kernel), expected)


@pytest.mark.parametrize(("kernel_size", "before", "after"), [(2, 1, 1), (3, 1, 2), (4, 2, 2)])
def test_transposed_convolution_equals_lax_in_gradient(kernel_size, before, after):
    def reference(x, kernel):
        flipped = jnp.flip(kernel, (0, 1))
        return jax.lax.conv_general_dilated(
            x,
            flipped,
            (1, 1),
            [(before, after)] * 2,
            lhs_dilation=(2, 2),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    x, kernel = normal(0, 2, 5, 4, 3), normal(1, kernel_size, kernel_size, 3, 4)
    ours, ours_vjp = jax.vjp(convolutions.conv_transpose_2x, x, kernel)
    theirs, theirs_vjp = jax.vjp(reference, x, kernel)
    cotangent = normal(2, *theirs.shape)
    assert_close(ours, theirs)
    for gradient, expected in zip(ours_vjp(cotangent), theirs_vjp(cotangent), strict=True):
        assert_close(gradient, expected)


def test_upsampling_has_parameters_in_float32_and_computes_in_its_dtype():
    layer = convolutions.ConvTranspose2x(5, kernel_size=3, dtype=jnp.bfloat16)
    y, variables = layer.init_with_output(jax.random.key(0), normal(0, 1, 3, 2, 4))
    assert y.shape == (1, 6, 4, 5) and y.dtype == jnp.bfloat16
    shapes = {name: (leaf.shape, leaf.dtype.name) for name, leaf in variables["params"].items()}
    assert shapes == {"kernel": ((3, 3, 4, 5), "float32"), "bias": ((5,), "float32")}


@pytest.mark.parametrize("kernel_size", [2, 3, 4])
def test_upsampling_starts_without_a_checkerboard(kernel_size):
    """A constant map stays constant, and about keeps its variance over the channels."""
    layer = convolutions.ConvTranspose2x(64, kernel_size)
    x = jnp.broadcast_to(normal(0, 64), (1, 6, 6, 64))
    y, _ = layer.init_with_output(jax.random.key(0), x)
    inner = y[:, 2:-2, 2:-2]
    np.testing.assert_allclose(inner, jnp.broadcast_to(inner[:, :1, :1], inner.shape), atol=1e-5)
    assert 0.5 < float(inner.var()) < 2


def test_align_corners_keeps_corners_and_lines():
    x = jnp.arange(12.0).reshape(1, 3, 4, 1)
    y = layers.resize_align_corners(x, 5, 7)
    rows, columns = np.linspace(0, 2, 5), np.linspace(0, 3, 7)
    np.testing.assert_allclose(y[0, ..., 0], 4 * rows[:, None] + columns, atol=1e-5)
    assert layers.resize_align_corners(x, 1, 1).shape == (1, 1, 1, 1)


@pytest.mark.parametrize("shape", [(3, 5), (2, 4, 6, 5), (1, 0, 5)])
def test_dense_equals_a_matrix_product_in_value_and_gradient(shape):
    layer, x = layers.Dense(7), normal(0, *shape)
    variables = layer.init(jax.random.key(0), x)
    kernel = variables["params"]["kernel"]
    np.testing.assert_allclose(layer.apply(variables, x), x @ np.asarray(kernel), atol=1e-5)
    cotangent = normal(1, *shape[:-1], 7)
    gradient = jax.grad(lambda v: jnp.sum(layer.apply(v, x) * cotangent))(variables)["params"]
    expected = x.reshape(-1, 5).T @ cotangent.reshape(-1, 7)
    np.testing.assert_allclose(gradient["kernel"], expected, atol=1e-4)
    np.testing.assert_allclose(gradient["bias"], cotangent.reshape(-1, 7).sum(0), atol=1e-4)


def test_dense_computes_in_its_dtype():
    y = layers.Dense(7, dtype=jnp.bfloat16).init_with_output(jax.random.key(0), normal(0, 2, 5))[0]
    assert y.dtype == jnp.bfloat16


def test_bilinear_resizing_has_half_pixel_centres():
    """A ramp over pixel centres stays one, clamped at the outer half pixels."""
    x = np.float32([[0, 1, 2, 3]]).reshape(1, 1, 4, 1)
    expected = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3)
    np.testing.assert_allclose(layers.resize_bilinear(x, 1, 8)[0, 0, :, 0], expected, atol=1e-6)


def test_bilinear_resizing_does_not_smooth_when_it_shrinks():
    x = np.float32([[0, 0, 0, 9, 0, 0, 0, 0, 0]]).reshape(1, 1, 9, 1)
    np.testing.assert_allclose(layers.resize_bilinear(x, 1, 3)[0, 0, :, 0], np.zeros(3), atol=1e-6)


@pytest.mark.parametrize("shape", [(5,), (2, 1), (2, 3, 4, 16)])
def test_layer_norm_equals_flax_in_value_and_gradient(shape):
    x, cotangent = 3 * normal(0, *shape) + 1, normal(1, *shape)
    params = {"scale": normal(2, shape[-1]), "bias": normal(3, shape[-1])}

    def apply(module):
        return jax.vjp(lambda params, x: module.apply({"params": params}, x), params, x)

    (ours, ours_vjp), (theirs, theirs_vjp) = apply(layers.LayerNorm()), apply(nn.LayerNorm())
    assert_close(ours, theirs)
    jax.tree.map(assert_close, ours_vjp(cotangent), theirs_vjp(cotangent))


def test_both_ways_to_the_mean_agree():
    x = normal(0, 2, 3, 4, 16)
    assert_close(layers._mean_by_product(x), layers._plain_mean(x))


def test_layer_norm_in_bfloat16_has_float32_statistics():
    x = (100 + normal(0, 4, 64)).astype(jnp.bfloat16)
    (ours, variables), (theirs, _) = (
        module.init_with_output(jax.random.key(0), x)
        for module in (layers.LayerNorm(dtype=jnp.bfloat16), nn.LayerNorm(dtype=jnp.bfloat16))
    )
    assert ours.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert_close(ours, theirs)
    gradient = jax.grad(lambda x: layers.LayerNorm().apply(variables, x)[0, 0])(x)
    assert gradient.dtype == jnp.bfloat16
