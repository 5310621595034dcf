"""The estimator on a trained run: shapes, seeds, sizes, focal lengths, and what it refuses."""

import functools

import jax
import numpy as np
import pytest

from diffdepth_jax import diffusion, estimator, inference, transforms
from diffdepth_jax.checkpoint import load_variables, read_config
from diffdepth_jax.errors import UserError
from diffdepth_jax.estimator import DepthEstimator, bucket_size
from diffdepth_jax.models.diffusion_depth import create_model
from diffdepth_jax.train_state import abstract_variables
from tests import small_run, tiny


def _image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def estimate(finished_run):
    return DepthEstimator.from_checkpoint(finished_run[0])


@pytest.mark.parametrize(("height", "width"), [(32, 48), (37, 53), (1, 1), (64, 96)])
def test_depth_has_the_size_of_the_image(estimate, height, width):
    depth = estimate(_image(height, width)).depth
    assert depth.shape == (height, width)
    assert depth.dtype == np.float32
    assert np.isfinite(depth).all() and (depth > 0).all()


def test_equal_images_have_equal_depth_whatever_came_between(estimate):
    first = estimate(_image(32, 48)).depth
    assert not np.array_equal(first, estimate(_image(32, 48, seed=1)).depth)
    np.testing.assert_array_equal(first, estimate(_image(32, 48)).depth)


def test_seed_and_num_steps_reach_the_sampler(estimate, monkeypatch):
    image, seen = _image(32, 48), []
    monkeypatch.setattr(
        estimate, "_compiled",
        lambda variables, image, key, num_steps: seen.append((key, num_steps)) or image[..., :1],
    )  # fmt: skip
    estimate(image)
    estimate(image, num_steps=5, seed=3)
    assert [num_steps for _, num_steps in seen] == [2, 5]
    assert [key for key, _ in seen] == [jax.random.key(0), jax.random.key(3)]


def test_other_num_steps_give_depth(estimate):
    assert (estimate(_image(32, 48), num_steps=1).depth > 0).all()


def test_native_size_is_predict_depth(estimate, finished_run):
    image, config = _image(35, 51), read_config(finished_run[0])
    model = create_model(**config.model)
    variables = load_variables(finished_run[0], abstract_variables(model))
    keys = jax.random.key(0)[None]
    image_and_noise = (
        transforms.normalize_image(image)[None],
        diffusion.normal_per_image(keys, model.latent_shape(35, 51)),
    )
    predict = functools.partial(
        inference.predict_depth, model,
        schedule=diffusion.create_schedule(**config.diffusion), **config.sampler,
    )  # fmt: skip
    expected = tiny.jit(predict)(variables, *image_and_noise)
    found = estimate(image, native_size=True).depth
    np.testing.assert_allclose(found, expected[0, ..., 0], rtol=1e-4)


def test_twice_the_focal_length_is_twice_as_far(estimate):
    image = _image(32, 48)
    near, far = (estimate(image, focal_length=f) for f in (50.0, 100.0))
    np.testing.assert_allclose(far.depth, 2 * near.depth, rtol=1e-6)
    assert far.focal_length == 100.0


def test_the_stated_focal_length_changes_nothing(estimate):
    image = _image(64, 96)
    plain = estimate(image)
    assert plain.focal_length == 2 * estimate.focal_length
    same = estimate(image, focal_length=plain.focal_length)
    np.testing.assert_allclose(same.depth, plain.depth, rtol=1e-6)


def test_focal_length_needs_one_in_the_configuration(finished_run, monkeypatch):
    estimate = DepthEstimator.from_checkpoint(finished_run[0])
    with estimate._config.unlocked():
        estimate._config.inference.focal_length = 0.0
    assert estimate(_image(32, 48)).focal_length is None
    with pytest.raises(UserError, match=r"states no inference\.focal_length"):
        estimate(_image(32, 48), focal_length=50.0)


def test_bucket_of_the_own_aspect_is_the_own_size():
    assert bucket_size(480, 640, (480, 640)) == (480, 640)
    assert bucket_size(960, 1290, (480, 640)) == (480, 640)
    assert bucket_size(352, 1216, (352, 1216)) == (352, 1216)


def test_buckets_are_few_and_of_one_area():
    sizes = {bucket_size(1000, int(1000 * r), (480, 640)) for r in np.geomspace(0.2, 5, 300)}
    assert 5 < len(sizes) <= 11
    for height, width in sizes:
        assert height % 16 == width % 16 == 0
        assert height * width == pytest.approx(480 * 640, rel=0.15)


def test_bucket_follows_the_aspect():
    for height, width in [(1000, 500), (1080, 1920), (1000, 1000), (1500, 1000)]:
        bucket = bucket_size(height, width, (480, 640))
        assert bucket[1] / bucket[0] == pytest.approx(width / height, rel=0.07)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "float32: must be RGB uint8"),
        (np.zeros((4, 4), np.uint8), r"\(4, 4\).*must be RGB uint8"),
        (np.zeros((4, 4, 4), np.uint8), "must be RGB uint8"),
        (np.zeros((0, 640, 3), np.uint8), "image 0 x 640: height and width must be positive"),
    ],
)
def test_refuses_what_is_no_rgb_image(estimate, image, message):
    with pytest.raises(UserError, match=message):
        estimate(image)


@pytest.mark.parametrize("arguments", [{"focal_length": 0.0}, {"num_steps": 0}])
def test_refuses_arguments_out_of_range(estimate, arguments):
    with pytest.raises(UserError, match=next(iter(arguments))):
        estimate(_image(*small_run.SIZE), **arguments)


def test_refuses_a_native_image_beyond_the_memory(estimate, monkeypatch):
    monkeypatch.setattr(estimator, "_memory_in_bytes", lambda: 2**20)
    with pytest.raises(UserError, match="image 640 x 960 at native size needs about"):
        estimate(_image(640, 960), native_size=True)
    assert estimate(_image(32, 48), native_size=True).depth.shape == (32, 48)
