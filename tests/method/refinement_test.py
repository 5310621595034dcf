"""Prediction on a tiny model with all four stages: any size, any batch, one look at the image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from diffdepth_jax.method import diffusion
from diffdepth_jax.method.refinement import decode_steps, predict_depth, refine
from diffdepth_jax.method.sharpening import sharpened
from diffdepth_jax.models.assembly import DiffusionDepth
from diffdepth_jax.models.codec import DepthCodec
from diffdepth_jax.models.necks.fpn import FPN
from tests.support import tiny

MODEL = DiffusionDepth(tiny.backbone(), FPN(8), DepthCodec(4, 8), denoiser=tiny.denoiser())
SAMPLER = {"schedule": tiny.schedule("v_prediction"), "num_steps": 3, "spacing": "trailing"}


@pytest.fixture(scope="module")
def variables():
    return tiny.init_model(MODEL)


def inputs_of(batch, height, width, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(batch, height, width, 3)).astype(np.float32)
    noise = rng.normal(size=(batch, *MODEL.latent_shape(height, width))).astype(np.float32)
    return image, noise


def predict(variables, image, noise, **overrides):
    return predict_depth(MODEL, variables, image, noise, **{**SAMPLER, **overrides})


jitted_predict = jax.jit(predict)


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (32, 64), (7, 130)])
def test_depth_has_the_images_size(variables, size):
    depth = jax.eval_shape(predict, variables, *inputs_of(2, *size))
    assert depth.shape == (2, *size, 1) and depth.dtype == jnp.float32


@pytest.mark.parametrize("size", [(1, 1), (13, 18)])
def test_depth_is_positive_and_finite(variables, size):
    depth = np.asarray(jitted_predict(variables, *inputs_of(2, *size)))
    assert np.all(np.isfinite(depth)) and np.all(depth > 0)
    assert size == (1, 1) or depth.std() > 1e-3


@pytest.mark.parametrize("size", [(0, 640), (480, 0)])
def test_an_empty_image_is_named_in_the_error(size):
    with pytest.raises(ValueError, match=f"image {size[0]} x {size[1]}: height and width must be"):
        MODEL.latent_shape(*size)


def test_prediction_is_the_composition_of_the_models_methods(variables):
    """Encode, the three steps of a Python loop, decode, exponentiate, crop."""
    image, noise = inputs_of(2, 13, 18)

    @jax.jit
    def compose(variables):
        condition = MODEL.apply(variables, image, method="encode_image")
        levels, latent = [*SAMPLER["schedule"].alpha_bar[[999, 666, 332]], 1.0], noise
        for index, timestep in enumerate((999, 666, 332)):
            args = latent, jnp.full(2, timestep), condition
            prediction = MODEL.apply(variables, *args, method="denoise")
            latent, _ = diffusion.ddim_step(
                latent, prediction, levels[index], levels[index + 1], "v_prediction"
            )
        return MODEL.apply(variables, latent, method="decode_depth")[:, :13, :18]

    depth = jitted_predict(variables, image, noise)
    np.testing.assert_allclose(depth, compose(variables), rtol=1e-4)


def test_a_model_may_have_sharp_edges(variables):
    image, noise = inputs_of(2, 13, 18)
    plain = jitted_predict(variables, image, noise)
    sharp = predict_depth(MODEL.clone(sharpen=2), variables, image, noise, **SAMPLER)
    expected = jnp.exp(sharpened(jnp.log(plain), image, 2))
    np.testing.assert_allclose(sharp, expected, rtol=1e-4)
    assert np.abs(sharp - plain).max() > 1e-3 * plain.max()


def test_a_refinement_starts_at_the_noise_and_ends_in_the_last_x0(variables):
    image, noise = inputs_of(2, 13, 18)
    run = jax.jit(lambda v: refine(MODEL, v, image, noise, **SAMPLER))
    refinement = run(variables)
    assert refinement.latents.shape == (4, 2, 7, 9, 4) and refinement.x0s.shape == (3, 2, 7, 9, 4)
    np.testing.assert_array_equal(refinement.latents[0], noise)
    np.testing.assert_allclose(refinement.latent, refinement.x0s[-1], atol=1e-6)
    encode = jax.jit(lambda v: MODEL.apply(v, image, method="encode_image"))
    np.testing.assert_allclose(refinement.condition, encode(variables), atol=1e-4)


def patch_embeddings(jaxpr, turns=1):
    """(batch size, turns) of each convolution of stride 4 in a program and its inner ones."""
    for equation in jaxpr.eqns:
        strides = equation.params.get("window_strides")
        if equation.primitive.name == "conv_general_dilated" and strides == (4, 4):
            yield equation.outvars[0].aval.shape[0], turns
        repeats = equation.params["length"] if equation.primitive.name == "scan" else 1
        for inner in core.jaxprs_in_params(equation.params):
            yield from patch_embeddings(inner, turns * repeats)


@pytest.mark.parametrize("num_steps", [1, 20])
def test_the_image_is_encoded_once_whatever_the_number_of_steps(variables, num_steps):
    def run(variables, image, noise):
        return predict(variables, image, noise, num_steps=num_steps)

    jaxpr = jax.make_jaxpr(run)(variables, *inputs_of(1, 13, 18))
    assert list(patch_embeddings(jaxpr.jaxpr)) == [(1, 1)]


def test_depth_of_an_image_does_not_depend_on_the_others(variables):
    image, noise = inputs_of(2, 13, 18)
    other_image, other_noise = image.copy(), noise.copy()
    other_image[1], other_noise[1] = 3 * image[1] + 1, -noise[1]
    depth = jitted_predict(variables, image, noise)
    changed = jitted_predict(variables, other_image, other_noise)
    np.testing.assert_array_equal(changed[0], depth[0])
    assert np.abs(changed[1] - depth[1]).max() > 1e-3


def test_remat_changes_no_gradient():
    """On the model of two stages: the gradient of four compiles for long."""
    model, (image, noise) = tiny.model(), inputs_of(2, 13, 18)

    def loss(variables, remat):
        depth = predict_depth(
            model, variables, image, noise, **{**SAMPLER, "num_steps": 2}, remat=remat
        )
        return jnp.mean(jnp.log(depth) ** 2)

    gradient = jax.jit(jax.grad(loss), static_argnums=1)
    variables = tiny.init_model(model)
    with_remat, without = gradient(variables, True), gradient(variables, False)
    tiny.assert_trees_close(with_remat, without, 1e-3)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(with_remat))
    assert reached_parts(with_remat["params"]) == {"backbone", "neck", "denoiser", "decoder"}


def reached_parts(gradient):
    """The parts of the model with a gradient other than zero."""
    parts = {**gradient, **gradient["codec"]}
    del parts["codec"]
    return {
        name for name, part in parts.items() if any(jnp.any(g != 0) for g in jax.tree.leaves(part))
    }


def test_noises_of_one_image_share_its_encoding(variables):
    """As if the image stood in the batch once for each, at the cost of one."""
    image, _ = inputs_of(2, 13, 18)
    _, noise = inputs_of(6, 13, 18, seed=1)
    together = jitted_predict(variables, image, noise)
    apart = jitted_predict(variables, image.repeat(3, axis=0), noise)
    np.testing.assert_allclose(together, apart, rtol=1e-4)
    jaxpr = jax.make_jaxpr(predict)(variables, image, noise)
    assert list(patch_embeddings(jaxpr.jaxpr)) == [(2, 1)]


def test_steps_are_decoded_as_the_latent_is(variables):
    image, noise = inputs_of(2, 13, 18)

    @jax.jit
    def decode(variables):
        latents = refine(MODEL, variables, image, noise, **SAMPLER).latents
        return decode_steps(MODEL, variables, image, latents)

    steps = decode(variables)
    assert steps.shape == (4, 2, 13, 18, 1)
    np.testing.assert_allclose(steps[-1], jitted_predict(variables, image, noise), rtol=1e-4)
