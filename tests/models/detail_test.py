"""Details of the image reach the condition and the decoder, image by image, pixel by pixel."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.configuration import groups
from diffdepth_jax.errors import UserError
from diffdepth_jax.method.refinement import decode_log_depth, decode_steps, refine
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.codec import DepthCodec
from diffdepth_jax.models.detail import DetailPath
from diffdepth_jax.models.variables import abstract_variables
from tests.support import small_run, tiny

SIZE = (13, 18)
NOISES = 3


def detailed(model):
    """The model with details of two channels."""
    part = "head" if hasattr(model, "head") else "denoiser"
    head = getattr(model, part).clone(detailed=True)
    return model.clone(detail=DetailPath(2), **{part: head})


MODEL = detailed(tiny.model())
SAMPLER = {"schedule": tiny.schedule(), "num_steps": 2, "spacing": "trailing"}


@pytest.fixture(scope="module")
def variables():
    return tiny.init_model(MODEL)


@pytest.mark.parametrize("size", [(1, 1), (2, 7), SIZE])
def test_maps_have_the_strides_1_to_32(size):
    image = jnp.zeros((2, *size, 3))
    maps = jax.eval_shape(lambda: DetailPath(5).init_with_output(jax.random.key(0), image)[0])
    strides, channels = (1, 2, 4, 8, 16, 32), (5, 10, 20, 40, 40, 40)
    sizes = [tuple(-(-side // stride) for side in size) for stride in strides]
    assert [x.shape for x in maps] == [(2, *x, c) for x, c in zip(sizes, channels, strict=True)]


def test_a_models_other_parameters_are_those_without_details():
    plain, with_details = (abstract_variables(x)["params"] for x in (tiny.model(), MODEL))
    assert with_details.keys() - plain.keys() == {"detail"}
    decoder = with_details["codec"]["decoder"]
    assert decoder.keys() - plain["codec"]["decoder"].keys() == {"join"}
    assert decoder["join"]["kernel"].shape == (3, 3, 8 // 2 + 2, 8 // 2)
    assert with_details["denoiser"]["stem"]["kernel"].shape == (3, 3, 4, 8)
    assert with_details["neck"]["lateral0"]["kernel"].shape == (3, 3, 8 + 4 * 2, 8)


@pytest.mark.parametrize("pixel", [(0, 0), (6, 9), (12, 17)])
def test_a_detail_moves_depth_at_its_own_place(pixel):
    """Of two 3x3 convolutions: no farther than two pixels, at the borders too."""
    codec, rng = DepthCodec(4, 8), np.random.default_rng(0)
    latent = rng.normal(size=(1, 7, 9, 4)).astype(np.float32)
    fine = rng.normal(size=(1, *SIZE, 2)).astype(np.float32)
    other = fine.copy()
    other[0, *pixel] += 1
    variables = tiny.init(codec, latent, details=(fine,), method="decode")

    def decode(fine):
        return codec.apply(variables, latent, details=(fine,), method="decode").log_depth

    moved = np.abs(decode(fine) - decode(other))[0, : SIZE[0], : SIZE[1], 0] > 0
    assert moved[pixel]
    rows, columns = np.nonzero(moved)
    assert np.abs(rows - pixel[0]).max() <= 2 and np.abs(columns - pixel[1]).max() <= 2


def test_images_with_several_noises_keep_their_own_details(variables):
    image = tiny.batch(2)["image"]
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(2 * NOISES, *MODEL.latent_shape(*SIZE))).astype(np.float32)

    @jax.jit
    def predict(image, noise):
        found = refine(MODEL, variables, image, noise, **SAMPLER)
        details = {"details": found.details}
        last, _ = decode_log_depth(MODEL, variables, found.latent, *SIZE, **details)
        steps = decode_steps(MODEL, variables, image.repeat(NOISES, 0), found.latents, **details)
        return last, steps

    together, steps = predict(image, noise)
    apart = [
        predict(image[i : i + 1], noise[NOISES * i : NOISES * (i + 1)])[0]
        for i in range(len(image))
    ]
    np.testing.assert_allclose(together, np.concatenate(apart), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.log(steps[-1]), together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", [MODEL, detailed(tiny.feed_forward_model())])
def test_losses_teach_the_path_by_the_condition_and_by_the_decoder(model):
    batch, variables = tiny.batch(), tiny.init_model(model)
    details = model.apply(variables, batch["image"], method="image_details")

    @jax.jit
    @jax.grad
    def gradient(details):
        condition = model.apply(variables, batch["image"], details=details, method="encode_image")
        latent = condition[..., :4]
        depth = model.apply(variables, latent, details=details, method="decode_depth")
        return jnp.sin(depth).sum()

    used = gradient(details)[:4]  # the tiny backbone has maps of the strides 4 and 8 only
    assert all(np.abs(x).max() > 0 for x in used)


@pytest.mark.parametrize("backbone", ["swin_nano", "efficientnet_lite0", "dinov2_nano", "resnet18"])
@pytest.mark.parametrize("neck", ["fpn", "dpt"])
def test_details_join_the_maps_of_every_backbone(backbone, neck):
    config = small_run.config(model__detail_features=4)
    fields = dataclasses.replace(config.model, backbone=backbone, neck=neck)
    model, image = create_model(fields), jax.ShapeDtypeStruct((1, 37, 50, 3), "float32")
    variables = abstract_variables(model)
    predict = functools.partial(model.apply, method="encode_image")
    assert jax.eval_shape(predict, variables, image).shape[:3] == (1, 19, 25)


def test_the_field_makes_the_path_and_released_parts_refuse_it():
    config = small_run.config(model__detail_features=4)
    assert config.model.detail_features == 4
    released = {"codec": "released", "denoiser": "released", "latent_channels": 16}
    with pytest.raises(UserError, match=r"model\.detail_features 4: must be 0 with parts"):
        dataclasses.replace(config.model, **released)
    with pytest.raises(UserError, match=r"model\.detail_features"):
        groups.read(small_run.fields(model__detail_features=-1))
