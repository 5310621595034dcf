"""What the denoiser may see: maps, far pixels, the time; and what comes out of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.models.denoiser import (
    Denoiser,
    ResidualBlock,
    pool_cells,
    timestep_embedding,
)
from tests.support import tiny

IMAGE, LATENT = (33, 47), (17, 24)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def pyramid_of(height, width, dtype=np.float32):
    """Two images' maps of stride 4 to 32, rounded up."""
    return tuple(
        normal(level, 2, -(-height // 2**level), -(-width // 2**level), 6).astype(dtype)
        for level in (2, 3, 4, 5)
    )


def project_and_denoise(module, pyramid, image, latent, timestep):
    condition = module.project(pyramid, image)
    return condition, module(latent, timestep, condition)


@functools.cache
def functions(**attributes):
    """(denoise, project): functions of everything but the variables, which are fixed."""
    module = tiny.denoiser(**attributes)
    args = pyramid_of(*IMAGE), normal(0, 2, *IMAGE, 3), normal(0, 2, *LATENT, 4), np.zeros(2, int)
    variables = tiny.init(module, *args, method=project_and_denoise)
    project = functools.partial(module.apply, variables, method="project")
    return functools.partial(module.apply, variables), project


@functools.cache
def compiled_denoise(**attributes):
    return jax.jit(functions(**attributes)[0])


def gradient_of(function, argnums=0):
    """Gradient of a scalar that depends on every entry of the function's result."""
    return jax.jit(jax.grad(lambda *args: jnp.sum(jnp.sin(function(*args))), argnums))


TIMESTEP = np.array([10, 700])


@pytest.fixture(scope="module")
def inputs():
    return normal(0, 2, *LATENT, 4), TIMESTEP, normal(1, 2, *LATENT, 8)


@pytest.mark.parametrize("size", [(1, 1), (3, 6), (33, 47), (16, 32)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_condition_and_prediction_have_the_latents_size(size, dtype):
    module = tiny.denoiser(dtype=dtype)
    latent_size = -(-size[0] // 2), -(-size[1] // 2)
    (condition, prediction), variables = jax.eval_shape(
        functools.partial(module.init_with_output, method=project_and_denoise),
        jax.random.key(0),
        pyramid_of(*size, dtype),
        jnp.zeros((2, *size, 3)),
        jnp.zeros((2, *latent_size, 4)),
        jnp.zeros(2, jnp.int32),
    )
    assert condition.shape == (2, *latent_size, 8) and condition.dtype == jnp.float32
    assert prediction.shape == (2, *latent_size, 4) and prediction.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


def test_the_head_is_signed(inputs):
    """A negated head predicts the negative. The ReLU of the released head would cut one of them."""
    denoise = functions()[0]
    apply, parameters = denoise.func, denoise.args[0]["params"]
    negated = {**parameters, "out": jax.tree.map(jnp.negative, parameters["out"])}
    prediction = jax.jit(apply)({"params": negated}, *inputs)
    np.testing.assert_allclose(prediction, -compiled_denoise()(*inputs), atol=1e-6)


def test_predictions_start_near_zero(inputs):
    module = tiny.denoiser()
    prediction, _ = jax.jit(module.init_with_output)(jax.random.key(0), *inputs)
    assert 0 < float(jnp.abs(prediction).max()) < 0.05


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_the_condition_sees_as_many_maps_as_configured(levels):
    gradients = gradient_of(functions(condition_levels=levels)[1])(
        pyramid_of(*IMAGE), normal(0, 2, *IMAGE, 3)
    )
    seen = [bool(jnp.any(gradient != 0)) for gradient in gradients]
    assert seen == [True] * levels + [False] * (4 - levels)


def test_a_finest_map_of_stride_2_lies_on_the_latent():
    """ResNet and MPViT have such a map; its last pixel changes the condition in that corner."""
    image, pyramid = normal(0, 2, *IMAGE, 3), pyramid_of(2 * IMAGE[0], 2 * IMAGE[1])
    assert pyramid[0].shape[1:3] == LATENT
    changed = pyramid[0].copy()
    changed[:, -1, -1] += 1
    project = jax.jit(functions()[1])
    before, after = (project((finest, *pyramid[1:]), image) for finest in (pyramid[0], changed))
    rows, columns = np.nonzero(np.abs(after - before).max((0, 3)))
    assert rows.min() == LATENT[0] - 2 and columns.min() == LATENT[1] - 2


def test_every_pixel_of_the_image_reaches_the_condition():
    """The path is the stem, because this test passes the pyramid separately."""
    gradient = gradient_of(functions()[1], 1)(pyramid_of(*IMAGE), normal(0, 2, *IMAGE, 3))
    assert np.all(np.abs(gradient).max(-1) > 0)


def test_the_condition_leads_to_the_prediction(inputs):
    gradient = gradient_of(functions()[0], 2)(*inputs)
    assert np.all(np.abs(gradient).max(-1) > 0)


def changed_columns(denoise, inputs):
    """Columns of the prediction that a change of the latent's first column reaches."""
    latent, timestep, condition = inputs
    changed = latent.copy()
    changed[:, :, 0] += 1
    difference = denoise(changed, timestep, condition) - denoise(latent, timestep, condition)
    return np.flatnonzero(np.abs(difference).max((0, 1, 3)) > 1e-6)


def test_self_attention_joins_far_pixels(inputs):
    assert changed_columns(compiled_denoise(), inputs).max() == LATENT[1] - 1


def test_without_self_attention_only_neighbours_are_seen(inputs):
    """Three 3x3 convolutions reach three pixels."""
    denoise = compiled_denoise(self_attention=False)
    np.testing.assert_array_equal(changed_columns(denoise, inputs), [0, 1, 2, 3])


def test_the_prediction_depends_on_the_timestep_of_its_image_only(inputs):
    latent, _, condition = inputs
    denoise = compiled_denoise()
    before, after = (denoise(latent, np.array(t), condition) for t in ([10, 700], [10, 701]))
    np.testing.assert_array_equal(before[0], after[0])
    assert np.abs(before[1] - after[1]).max() > 1e-5


def test_the_timestep_enters_by_addition_too(inputs):
    """With every block's modulation silenced the prediction still depends on it."""
    latent, _, condition = inputs
    denoise = functions()[0]
    parameters = dict(denoise.args[0]["params"])
    silent = jax.tree.map(jnp.zeros_like, parameters["blocks_0"]["time"])
    parameters["blocks_0"] = {**parameters["blocks_0"], "time": silent}
    apply = jax.jit(functools.partial(denoise.func, {"params": parameters}))
    first, second = (apply(latent, np.array([t, t]), condition) for t in (10, 700))
    assert np.abs(first - second).max() > 1e-3


def test_the_timestep_modulates_the_blocks():
    block, x, time = ResidualBlock(8), normal(0, 1, 3, 4, 8), normal(1, 1, 8)
    apply = jax.jit(functools.partial(block.apply, tiny.init(block, x, time)))
    assert np.abs(apply(x, time) - apply(x, -time)).max() > 1e-2


def test_images_of_a_batch_do_not_see_each_other(inputs):
    denoise = compiled_denoise()
    reverse = [array[::-1] for array in inputs]
    np.testing.assert_allclose(denoise(*reverse)[::-1], denoise(*inputs), atol=1e-5)


def test_bfloat16_is_close_to_float32(inputs):
    full, half = compiled_denoise()(*inputs), compiled_denoise(dtype=jnp.bfloat16)(*inputs)
    assert half.dtype == jnp.float32
    assert 0 < float(jnp.std(full - half)) < 0.05 * float(jnp.std(full))


def test_blocks_are_as_many_as_configured():
    module = Denoiser(4, features=8, num_blocks=3, num_heads=2)
    args = jnp.zeros((1, 4, 4, 4)), jnp.zeros(1, jnp.int32), jnp.zeros((1, 4, 4, 8))
    parameters = jax.eval_shape(module.init, jax.random.key(0), *args)["params"]
    assert sum(name.startswith("blocks_") for name in parameters) == 3
    assert "attention" in parameters


def test_time_embedding_by_hand():
    """Four features: frequencies 1 and 1 / 100; cosines first."""
    embedding = timestep_embedding(jnp.array([0, 100]), 4)
    expected = [[1, 1, 0, 0], [np.cos(100), np.cos(1), np.sin(100), np.sin(1)]]
    np.testing.assert_allclose(embedding, expected, atol=1e-5)


def test_time_embedding_tells_all_timesteps_apart():
    embedding = np.asarray(timestep_embedding(jnp.arange(1000), 64))
    distance = ((embedding[:, None] - embedding[None]) ** 2).sum(-1) + 9 * np.eye(1000)
    assert distance.min() > 0.01


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (5, 11), (9, 3)])
def test_cells_are_means_of_what_they_have(size):
    x = normal(0, 2, *size, 3)
    pooled = pool_cells(x, 4)
    assert pooled.shape == (2, -(-size[0] // 4), -(-size[1] // 4), 3)
    for row in range(pooled.shape[1]):
        for column in range(pooled.shape[2]):
            cell = x[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            np.testing.assert_allclose(pooled[:, row, column], cell.mean((1, 2)), atol=1e-6)
