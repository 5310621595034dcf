"""Valid pixels by hand, invalid ones without influence, and the decoder against the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from diffdepth_jax.method import losses
from diffdepth_jax.models.codec import (
    DepthCodec,
    DepthDecoder,
    DepthEncoder,
    fill_invalid,
    log_scale_of,
    pool_valid,
)
from tests.support import tiny

INVALID_VALUES = [np.nan, np.inf, -np.inf, -5.0, 0.0, 1e30]


def image(rows, channels=1):
    """Nested lists to [1, H, W, C]; channel c holds (c + 1) times the list."""
    array = np.array(rows, np.float32)[None, :, :, None]
    return array * np.arange(1, channels + 1, dtype=np.float32)


def mask_of(rows):
    return np.array(rows, bool)[None, :, :, None]


def sparse(height=7, width=10, valid=0.3, seed=0):
    example = tiny.batch(1, height, width, seed)
    rng = np.random.default_rng(seed)
    mask = rng.random(example["mask"].shape) < valid
    return rng.uniform(0.5, 10, mask.shape).astype(np.float32), mask


# pool_valid


def test_pooling_takes_the_mean_of_valid_pixels_by_hand():
    x = image([[1, 2, 10, 20], [3, 4, 30, 40]], channels=2)
    mask = mask_of([[1, 0, 0, 0], [1, 1, 0, 0]])
    pooled, cell_mask = pool_valid(x, mask)
    np.testing.assert_allclose(pooled[0, 0], [[8 / 3, 16 / 3], [0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(cell_mask[0, 0, :, 0], [True, False])


def test_pooling_odd_sizes_by_hand():
    """The last row and column stand alone in their cells, and the corner in its own."""
    x = image([[1, 3, 7], [5, 7, 9], [2, 4, 6]])
    pooled, cell_mask = pool_valid(x, np.ones_like(x, bool))
    np.testing.assert_allclose(pooled[0, :, :, 0], [[4, 8], [3, 6]])
    assert cell_mask.all() and cell_mask.shape == (1, 2, 2, 1)


def test_pooling_a_single_pixel_keeps_it():
    pooled, cell_mask = pool_valid(image([[5]]), mask_of([[1]]))
    assert pooled.shape == (1, 1, 1, 1) and pooled.item() == 5 and cell_mask.item()


@pytest.mark.parametrize("value", INVALID_VALUES)
def test_pooling_does_not_see_invalid_pixels(value):
    depth, mask = sparse()
    expected = pool_valid(depth, mask)[0]
    np.testing.assert_array_equal(pool_valid(np.where(mask, depth, value), mask)[0], expected)


# fill_invalid

fill = jax.jit(fill_invalid)


def test_filling_keeps_valid_cells_and_stays_between_their_extremes():
    depth, mask = sparse(9, 14, valid=0.1)
    filled = np.asarray(fill(depth, mask))
    np.testing.assert_array_equal(filled[mask], depth[mask])
    assert filled.min() >= depth[mask].min() * (1 - 1e-6)
    assert filled.max() <= depth[mask].max() * (1 + 1e-6)


def test_filling_takes_the_nearest_coarser_cell_that_has_some():
    latent = image([[1, 0, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 8]])
    filled = fill(latent, latent != 0)[0, :, :, 0]
    # Top left: the mean of its own 2x2 cell. The empty quarters: the mean of the cells 2 and 8.
    expected = [[1, 2, 5, 5], [3, 2, 5, 5], [5, 5, 8, 8], [5, 5, 8, 8]]
    np.testing.assert_allclose(filled, expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1), (3, 3), (7, 10)])
def test_one_valid_cell_fills_everything(size):
    for row, column in ((0, 0), (size[0] - 1, size[1] - 1)):
        latent, mask = np.zeros((1, *size, 2), np.float32), np.zeros((1, *size, 1), bool)
        latent[0, row, column], mask[0, row, column] = (0.3, -0.7), True
        filled = fill(latent, mask)
        np.testing.assert_allclose(filled, np.broadcast_to([0.3, -0.7], filled.shape), rtol=1e-6)


def test_filling_a_latent_without_valid_cells_gives_zeros():
    latent = np.zeros((2, 5, 6, 3), np.float32)
    np.testing.assert_array_equal(fill(latent, np.zeros((2, 5, 6, 1), bool)), latent)


def test_images_of_a_batch_are_filled_apart():
    depth, mask = sparse()
    both = fill(np.concatenate([depth, 9 * depth]), np.concatenate([mask, ~mask]))
    np.testing.assert_allclose(both[:1], fill(depth, mask), rtol=1e-6)


# Encoder


@pytest.fixture(scope="module")
def encoder():
    module = DepthEncoder(latent_channels=4)
    depth, mask = sparse()
    return jax.jit(module.apply), tiny.init(module, depth, mask)


def test_latents_are_bounded_and_zero_without_ground_truth(encoder):
    apply, variables = encoder
    depth, mask = sparse(valid=0.15)
    latent, cell_mask = apply(variables, depth, mask)
    invalid = ~np.broadcast_to(cell_mask, latent.shape)
    assert invalid.any() and not invalid.all()
    assert np.all(np.asarray(latent)[invalid] == 0)
    assert np.all(np.asarray(latent)[~invalid] != 0)
    assert np.abs(latent).max() < 1


def test_a_cell_is_valid_if_any_of_its_pixels_is(encoder):
    apply, variables = encoder
    depth, mask = sparse(7, 10, valid=0.2)
    cell_mask = apply(variables, depth, mask)[1]
    expected = [
        [mask[0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].any() for j in range(5)] for i in range(4)
    ]
    np.testing.assert_array_equal(cell_mask[0, :, :, 0], expected)


@pytest.mark.parametrize("value", INVALID_VALUES)
def test_invalid_depth_changes_neither_latent_nor_gradient(encoder, value):
    apply, variables = encoder
    depth, mask = sparse()

    def loss(variables, depth):
        latent, _ = apply(variables, depth, mask)
        return jnp.sum(latent**2), latent

    gradient_of = jax.grad(loss, argnums=(0, 1), has_aux=True)
    (expected, _), expected_latent = gradient_of(variables, depth)
    (gradient, to_depth), latent = gradient_of(variables, np.where(mask, depth, np.float32(value)))
    np.testing.assert_array_equal(latent, expected_latent)
    jax.tree.map(np.testing.assert_array_equal, gradient, expected)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
    assert np.all(np.asarray(to_depth)[~mask] == 0)
    assert np.all(np.asarray(to_depth)[mask] != 0)


def test_an_image_without_ground_truth_has_finite_gradients(encoder):
    apply, variables = encoder
    depth = np.full((1, 7, 10, 1), np.nan, np.float32)
    mask = np.zeros(depth.shape, bool)
    gradient = jax.grad(lambda v: jnp.sum(apply(v, depth, mask)[0]))(variables)
    assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(gradient))


def test_a_pixel_reaches_no_other_cell(encoder):
    apply, variables = encoder
    depth, mask = sparse(valid=1.0)
    changed = depth.copy()
    changed[0, 3, 5] *= 2
    difference = np.abs(apply(variables, changed, mask)[0] - apply(variables, depth, mask)[0])
    assert np.argwhere(difference.sum(-1)[0] > 0).tolist() == [[1, 2]]


# Decoder


def decode_constant(z):
    """The decoder with zero kernels: its head's bias is z at every pixel, log depth its output."""
    module = DepthDecoder(width=4)
    variables = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 1, 1, 4))))
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables)
    variables["params"]["head"]["bias"] = jnp.full((1,), z)
    return module.apply(variables, jnp.zeros((1, 1, 1, 4))).log_depth


LOGITS = [-50, -30, -14, -13.9, -13.7, -10, -3, -0.5, 0, 0.5, 3, 10, 17, 20, 30, 50]


@pytest.mark.parametrize("z", LOGITS)
def test_depth_is_the_papers_formula_in_float64(z):
    sigmoid = 1 / (1 + np.exp(np.float64(-z)))
    # 1 / sigmoid - 1 without the cancellation, where the clamp does not act.
    expected = 1e6 - 1 if sigmoid < 1e-6 else np.exp(np.float64(-z))
    assert expected == pytest.approx(1 / max(sigmoid, 1e-6) - 1, rel=1e-6, abs=1e-15)
    depth = np.exp(np.asarray(decode_constant(np.float32(z)), np.float64))
    np.testing.assert_allclose(depth, np.full((1, 2, 2, 1), expected), rtol=1e-5)


@pytest.mark.parametrize("z", LOGITS)
def test_the_pixel_loss_and_its_gradient_are_finite_at_every_logit(z):
    def loss(z):
        log_depth = decode_constant(z)
        return losses.silog(log_depth, jnp.zeros_like(log_depth), jnp.ones((1, 2, 2, 1), bool))[0]

    value, gradient = jax.value_and_grad(loss)(jnp.float32(z))
    log_depth = max(min(-z, np.log(1e6 - 1)), -50)
    assert float(value) == pytest.approx(0.15 * log_depth**2, rel=1e-3, abs=1e-6)
    # Inside the clamp the gradient is that of z^2, beyond it zero as the paper's clamp has it.
    expected = 0.3 * z if z > -13.8 else 0
    assert float(gradient) == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("size", [(1, 1), (3, 4)])
def test_decoding_doubles_the_size_in_float32(size, dtype):
    module = DepthDecoder(width=4)
    latent = jnp.ones((2, *size, 4), dtype)
    decoded, _ = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), latent))
    log_depth = decoded.log_depth
    assert log_depth.shape == (2, 2 * size[0], 2 * size[1], 1)
    assert log_depth.dtype == jnp.float32


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(1, 1, (1, 1, 16)), (228, 304, (114, 152, 16)), (375, 1241, (188, 621, 16))],
)
def test_the_latent_shape_is_that_of_encoded_depth(height, width, expected):
    assert DepthCodec(16, 4).latent_shape(height, width) == expected
    depth = jnp.ones((1, height, width, 1))
    encode = DepthEncoder(16).init_with_output
    latent, _ = jax.eval_shape(encode, jax.random.key(0), depth, depth > 0)[0]
    assert latent.shape == (1, *expected)


def round_trip(codec, depth, mask):
    return codec.decode(codec.encode(depth, mask)[0]).log_depth


def test_a_codec_can_learn_to_tell_near_from_far():
    """One image of 1 m and one of 8 m, decoded from their own latents after plain descent."""
    codec, mask = DepthCodec(4, 8), np.ones((2, 4, 4, 1), bool)
    depth = np.float32([1, 8])[:, None, None, None] * mask

    @jax.jit
    def loss(variables):
        log_depth = codec.apply(variables, depth, mask, method=round_trip)
        return losses.l2(log_depth, np.log(depth), mask)[0]

    @jax.jit
    def descend(variables):
        return jax.tree.map(lambda leaf, g: leaf - 0.02 * g, variables, jax.grad(loss)(variables))

    init = jax.jit(lambda key: codec.init(key, depth, mask, method=round_trip))
    variables = init(jax.random.key(0))
    for _ in range(100):
        variables = descend(variables)
    # The best that a decoder blind to the latent can do is the variance of the two logs, twice.
    assert loss(variables) < 0.05 * 2 * np.log(8) ** 2 / 4


def test_kernels_of_three_let_a_pixel_reach_its_neighbours():
    """With 1x1 kernels none could. Cells without ground truth stay zero with both."""
    depth, mask = sparse()
    encoder = DepthEncoder(4, kernel=3)
    variables = tiny.init(encoder, depth, mask)
    latent, cell_mask = encoder.apply(variables, depth, mask)
    assert np.all(latent[~np.broadcast_to(cell_mask, latent.shape)] == 0)
    nearer = np.where(np.cumsum(mask).reshape(mask.shape) == 1, 0.5 * depth, depth)
    changed = np.any(encoder.apply(variables, nearer, mask)[0] != latent, axis=-1)
    assert changed.sum() > 1


# Further outputs


def test_further_outputs_start_as_constants_and_leave_the_parameters_of_depth():
    latent, key = tiny_latent(), jax.random.key(0)
    plain = DepthDecoder(width=4).init(key, latent)["params"]
    decoded, variables = DepthDecoder(4, True, True).init_with_output(key, latent)
    params = variables["params"]
    assert params.keys() - plain.keys() == {"scale_head", "validity_head"}
    jax.tree.map(np.testing.assert_array_equal, {name: params[name] for name in plain}, plain)
    np.testing.assert_allclose(jnp.exp(decoded.log_scale), np.full((2, 6, 8, 1), 0.2), rtol=1e-6)
    np.testing.assert_array_equal(decoded.validity, np.zeros((2, 6, 8, 1)))
    alone = DepthDecoder(width=4).apply({"params": plain}, latent)
    np.testing.assert_array_equal(alone.log_depth, decoded.log_depth)
    assert alone.log_scale is None and alone.validity is None


def tiny_latent(dtype=jnp.float32):
    return jax.random.normal(jax.random.key(1), (2, 3, 4, 4), dtype)


def test_further_outputs_are_float32_maps_of_the_size_of_depth():
    decode = DepthDecoder(4, True, True).init_with_output
    decoded, _ = jax.eval_shape(decode, jax.random.key(0), tiny_latent(jnp.bfloat16))
    for output in (decoded.log_depth, decoded.log_scale, decoded.validity):
        assert output.shape == (2, 6, 8, 1) and output.dtype == jnp.float32


@pytest.mark.parametrize("z", [-1e30, -20.0, 0.0, 20.0, 1e30])
def test_the_scale_is_bounded_and_a_gradient_leads_back_from_far_away(z):
    value, gradient = jax.value_and_grad(lambda z: log_scale_of(z).sum())(jnp.full((1, 1, 1, 1), z))
    assert 0.001 < np.exp(float(value)) < 30
    assert gradient.item() > 0 or abs(z) > 1e6


def test_a_decoder_learns_the_sky_and_the_scale_of_its_errors():
    """Ground of 2 m, measured a fifth too far or too near at every other pixel, below a sky.

    The latent tells sky from ground; the errors cannot be learned.
    """
    rng = np.random.default_rng(0)
    latent = np.ones((1, 8, 12, 4), np.float32)
    latent[:, :3] = -1
    sky = latent.repeat(2, 1).repeat(2, 2)[..., :1] < 0
    mask = ~sky & (rng.random(sky.shape) < 0.5)
    log_target = np.where(mask, np.log(2) + rng.choice([-0.2, 0.2], sky.shape), np.nan)
    log_target = log_target.astype(np.float32)
    decoder, optimizer = DepthDecoder(8, laplace_scale=True, validity=True), optax.adam(3e-2)

    def loss(variables):
        decoded = decoder.apply(variables, latent)
        depth = losses.laplace(decoded.log_depth, log_target, mask, decoded.log_scale)
        return depth[0] + losses.validity(decoded.validity, mask, sky)[0]

    def step(carry, _):
        updates, state = optimizer.update(jax.grad(loss)(carry[0]), carry[1])
        return (optax.apply_updates(carry[0], updates), state), None

    @jax.jit
    def learned(variables):
        carry, _ = jax.lax.scan(step, (variables, optimizer.init(variables)), length=100)
        return decoder.apply(carry[0], latent)

    decoded = learned(jax.jit(decoder.init)(jax.random.key(0), latent))
    np.testing.assert_array_equal(decoded.validity < 0, sky)
    error = np.abs(decoded.log_depth - log_target)[mask].mean()
    scale = np.exp(decoded.log_scale)[mask].mean()
    assert error == pytest.approx(0.2, rel=0.1) and scale == pytest.approx(error, rel=0.1)
