"""The estimator on a small model: shapes, seeds, sizes, focal lengths, and what it refuses."""

import dataclasses
import doctest
import functools
import gc
import weakref

import jax
import numpy as np
import pytest
from PIL import ExifTags, Image

from diffdepth_jax.checkpoints.model_directory import load_variables, read_config
from diffdepth_jax.errors import UserError
from diffdepth_jax.media import preprocessing
from diffdepth_jax.method import diffusion, refinement
from diffdepth_jax.method.noise import normal_per_image
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.prediction import memory, placement, sampling
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.prediction.options import Options
from tests.support import small_run


def _image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def _with_fields(estimate, group, **fields):
    """The same model, some fields of a configuration's group replaced."""
    replaced = dataclasses.replace(getattr(estimate._config, group), **fields)
    config = dataclasses.replace(estimate._config, **{group: replaced})
    other = DepthEstimator(estimate._model, estimate._schedule, estimate._variables, config)
    if group == "frame":  # of which the program knows nothing
        other._compiled = estimate._compiled
    return other


@pytest.fixture(scope="module")
def estimate(directory):
    return DepthEstimator.from_checkpoint(directory)


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

    def compiled(variables, image, key, *, num_steps, **_):
        seen.append((key, num_steps))
        return {"depth": image[..., 0]}

    monkeypatch.setattr(estimate, "_compiled", compiled)
    estimate(image)
    estimate(image, num_steps=5, seed=3)
    assert [num_steps for _, num_steps in seen] == [2, 5]
    assert [key for key, _ in seen] == [jax.random.key(0), jax.random.key(3)]


def test_other_num_steps_give_depth(estimate):
    assert (estimate(_image(32, 48), num_steps=1).depth > 0).all()


def test_native_size_is_predict_depth(estimate, directory):
    image, config = _image(35, 51), read_config(directory)
    model = create_model(config.model)
    variables = load_variables(directory, lambda: abstract_variables(model))
    keys = jax.random.key(0)[None]
    image_and_noise = (
        preprocessing.normalize_image(image)[None],
        normal_per_image(keys, model.latent_shape(35, 51)),
    )
    predict = functools.partial(
        refinement.predict_depth,
        model,
        schedule=diffusion.create_schedule(**vars(config.diffusion)),
        **vars(config.sampler),
    )
    expected = jax.jit(predict)(variables, *image_and_noise)
    found = estimate(image, native_size=True).depth
    np.testing.assert_allclose(found, expected[0, ..., 0], rtol=1e-4)


def test_twice_the_focal_length_is_twice_as_far(estimate):
    image = _image(32, 48)
    near, far = (estimate(image, focal_length=f) for f in (50.0, 100.0))
    np.testing.assert_allclose(far.depth, 2 * near.depth, rtol=1e-6)
    assert far.focal_length == 100.0


def test_a_field_of_view_is_a_focal_length(estimate):
    """At 90 degrees it is half the width."""
    image = _image(32, 48)
    for found in (estimate(image, fov=90), *estimate.iterate([image], fov=90)):
        np.testing.assert_array_equal(found.depth, estimate(image, focal_length=24.0).depth)


def test_a_model_without_a_name_is_refused():
    with pytest.raises(UserError, match="model None: give its name or its path"):
        DepthEstimator.from_pretrained(None)


def test_the_stated_focal_length_changes_nothing(estimate):
    image = _image(64, 96)
    plain = estimate(image)
    assert plain.focal_length == 2 * estimate.focal_length
    same = estimate(image, focal_length=plain.focal_length)
    np.testing.assert_allclose(same.depth, plain.depth, rtol=1e-6)


def test_focal_length_needs_one_in_the_configuration(estimate):
    estimate = _with_fields(estimate, "frame", focal_length=0.0)
    assert estimate(_image(32, 48)).focal_length is None
    with pytest.raises(UserError, match=r"states no frame\.focal_length"):
        estimate(_image(32, 48), focal_length=50.0)


def test_a_canonical_camera_is_brought_back_to_the_photos_own(estimate):
    """32 x 48 is seen as it is, 64 x 96 at half its size."""
    units = _with_fields(estimate, "frame", focal_length=0.0)(_image(32, 48)).depth
    canonical = _with_fields(estimate, "frame", focal_length=0.0, canonical_focal_length=40.0)
    assert canonical.has_canonical_camera and not estimate.has_canonical_camera
    plain = canonical(_image(32, 48))
    np.testing.assert_array_equal(plain.depth, units)
    assert plain.focal_length == canonical.focal_length == 40
    near, far = (canonical(_image(32, 48), focal_length=f) for f in (60.0, 120.0))
    np.testing.assert_allclose(near.depth, 1.5 * units, rtol=1e-6)
    np.testing.assert_allclose(far.depth, 2 * near.depth, rtol=1e-6)
    assert (near.focal_length, far.focal_length) == (60, 120)
    same, large = (canonical(_image(64, 96), focal_length=f) for f in (None, 160.0))
    np.testing.assert_allclose(large.depth, 2 * same.depth, rtol=1e-6)
    assert (same.focal_length, large.focal_length) == (80, 160)


def test_a_canonical_camera_and_the_one_that_photos_without_theirs_are_taken_with(estimate):
    """All that is in metres follows the focal length."""
    canonical = _with_fields(estimate, "frame", focal_length=20.0, canonical_focal_length=40.0)
    options = {"ensemble": 2, "trajectory": True}
    images = [_image(32, 48)] * 2
    assumed, known = canonical(images, focal_length=[None, 40.0], **options)
    assert assumed.focal_length == canonical.focal_length == 20
    for name in ("depth", "spread", "trajectory"):
        np.testing.assert_allclose(2 * getattr(assumed, name), getattr(known, name), rtol=1e-6)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32: must be RGB \[H, W, 3\] or grey"),
        (np.zeros((4, 4, 4), np.uint8), r"\(4, 4, 4\).*must be RGB"),
        (np.zeros((0, 640, 3), np.uint8), "image 0 x 640: height and width must be positive"),
    ],
)
def test_refuses_what_is_no_image(estimate, image, message):
    with pytest.raises(UserError, match=message):
        estimate(image)


@pytest.mark.parametrize(
    "arguments",
    [
        {"focal_length": 0.0},
        {"num_steps": 0},
        {"num_steps": 1001},
        {"ensemble": 0},
        {"batch_size": 0},
        {"trajectory": -1},
    ],
)
def test_refuses_arguments_out_of_range(estimate, arguments):
    with pytest.raises(UserError, match=next(iter(arguments))):
        estimate(_image(*small_run.SIZE), **arguments)


def test_refuses_a_native_image_beyond_the_memory(estimate, monkeypatch):
    monkeypatch.setattr(memory, "_available_bytes", lambda: 2**20)
    with pytest.raises(UserError, match="image 640 x 960: predicting it takes more"):
        estimate(_image(640, 960), native_size=True)
    assert estimate(_image(32, 48), native_size=True).depth.shape == (32, 48)
    with pytest.raises(UserError, match="predicting 600 at a time takes"):
        estimate(_image(32, 48), ensemble=30, batch_size=20)


def test_a_system_that_does_not_tell_its_memory_predicts(estimate, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    assert estimate(_image(32, 48), native_size=True).depth.shape == (32, 48)


def test_a_device_that_runs_out_of_memory_is_a_sentence(estimate, monkeypatch):
    def compiled(*_, **__):
        raise jax.errors.JaxRuntimeError(message)

    monkeypatch.setattr(estimate, "_compiled", compiled)
    message = "RESOURCE_EXHAUSTED: Out of memory allocating 1 byte"
    with pytest.raises(UserError, match="image 32 x 48: predicting 6 at a time takes more"):
        estimate([_image(32, 48)], ensemble=3, batch_size=2)
    message = "INTERNAL: a bug"
    with pytest.raises(jax.errors.JaxRuntimeError, match="a bug"):
        estimate(_image(32, 48))


def test_a_list_is_its_images_one_by_one(estimate):
    images = [_image(32, 48), _image(40, 40, seed=1), _image(33, 50, seed=2)]
    together = estimate(images)
    for image, prediction in zip(images, together, strict=True):
        np.testing.assert_array_equal(prediction.depth, estimate(image).depth)
        assert prediction.image is image and prediction.spread is prediction.trajectory is None
    assert estimate([]) == []


def test_batches_change_nothing_but_rounding(estimate):
    images = [_image(32, 48), _image(40, 40, seed=1), *(_image(33, 50, seed=k) for k in (2, 3, 2))]
    batched = estimate(images, batch_size=2)
    for image, prediction in zip(images, batched, strict=True):
        np.testing.assert_allclose(prediction.depth, estimate(image).depth, rtol=1e-4)
    # One is of a full batch, the other of a batch that was filled up.
    np.testing.assert_array_equal(batched[2].depth, batched[4].depth)


def test_arrays_pictures_and_files_are_one(estimate, tmp_path):
    image = Image.fromarray(_image(48, 32))
    turned = image.rotate(90, expand=True)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned back by 90 degrees
    turned.save(tmp_path / "a.png", exif=exif)
    from_array = estimate(np.array(image)).depth
    path = tmp_path / "a.png"
    for given in (image, path, str(path), Image.open(path)):
        np.testing.assert_array_equal(estimate(given).depth, from_array)


def test_each_image_of_a_list_may_have_its_focal_length(estimate):
    image = _image(32, 48)
    plain, far = estimate([image, image], focal_length=[None, 2 * estimate.focal_length])
    np.testing.assert_allclose(far.depth, 2 * plain.depth, rtol=1e-6)
    with pytest.raises(UserError, match="1 focal lengths for 2 images"):
        estimate([image, image], focal_length=[50.0])


def test_an_ensemble_is_the_median_of_its_members(estimate, directory):
    """Members are what the sampler makes of each start noise alone; every second is negated."""
    image, config = _image(32, 48), read_config(directory)
    model = create_model(config.model)
    keys = sampling.member_keys(jax.random.key(0), 4)
    noise = normal_per_image(keys, model.latent_shape(32, 48))
    one = functools.partial(
        refinement.predict_depth,
        model,
        estimate._variables,
        preprocessing.normalize_image(image)[None],
        schedule=diffusion.create_schedule(**vars(config.diffusion)),
        **vars(config.sampler),
    )
    starts = (noise[:1], -noise[:1], noise[2:3], -noise[2:3])
    members = np.stack([jax.jit(one)(start)[0, ..., 0] for start in starts])
    prediction = estimate(image, ensemble=4)
    np.testing.assert_allclose(prediction.depth, np.median(members, axis=0), rtol=1e-4)
    low, high = np.percentile(members, (16, 84), axis=0)
    np.testing.assert_allclose(prediction.spread, (high - low) / 2, rtol=1e-2, atol=1e-4)
    assert members.std(axis=0).max() > 1e-2


def test_samples_that_would_all_be_the_same_are_refused(estimate):
    for field in ({"temperature": 0.0}, {"start": "zeros"}):
        estimate = _with_fields(estimate, "sampler", **field)
        with pytest.raises(UserError, match="all samples of this model are the same"):
            estimate(_image(32, 48), ensemble=2)
    estimate = _with_fields(estimate, "sampler", eta=1.0)
    spread = estimate(_image(32, 48), ensemble=2).spread
    assert spread.max() > 1e-3
    noisy, other = (estimate(_image(32, 48), seed=seed).depth for seed in (0, 1))
    assert not np.array_equal(noisy, other)


def test_one_sample_is_the_middle_of_several(estimate):
    """With sampler.start "middle" one sample starts from zeros, and several from noise."""
    middle, zeros = (_with_fields(estimate, "sampler", start=x) for x in ("middle", "zeros"))
    image = _image(32, 48)
    alone = middle(image, seed=1)
    np.testing.assert_array_equal(alone.depth, zeros(image).depth)
    assert not np.array_equal(alone.depth, estimate(image, seed=1).depth)
    several, expected = (each(image, ensemble=2).depth for each in (middle, estimate))
    np.testing.assert_array_equal(several, expected)


def test_the_spread_scales_with_the_metres(estimate):
    near, far = (estimate(_image(32, 48), ensemble=2, focal_length=f) for f in (50.0, 100.0))
    np.testing.assert_allclose(far.spread, 2 * near.spread, rtol=1e-5)


def test_the_spread_of_gaussian_members_is_their_standard_deviation():
    members = np.random.default_rng(0).normal(5, 0.3, (2, 4000, 3, 4)).astype(np.float32)
    maps = sampling.summarize(members)
    np.testing.assert_allclose(maps["spread"], np.full((2, 3, 4), 0.3), rtol=0.08)
    np.testing.assert_allclose(maps["depth"], np.full((2, 3, 4), 5.0), atol=0.03)


def test_the_spread_of_one_member_is_a_laplace_distributions_standard_deviation():
    """To first order: of samples of log depth with b = 0.05 it is a little more, 7.1 % of 4 m."""
    depth, scale = np.full((1, 1, 2, 3), 4, np.float32), np.full((1, 1, 2, 3), 0.05, np.float32)
    maps = sampling.summarize(depth, scale)
    np.testing.assert_allclose(maps["spread"], np.full((1, 2, 3), 4 * 0.05 * 2**0.5), rtol=1e-6)
    samples = 4 * np.exp(np.random.default_rng(0).laplace(0, 0.05, 100_000))
    np.testing.assert_allclose(maps["spread"], np.full((1, 2, 3), samples.std()), rtol=0.03)


def test_the_variances_of_members_and_between_members_add_up():
    members = np.random.default_rng(0).normal(5, 0.3, (1, 4000, 2, 2)).astype(np.float32)
    maps = sampling.summarize(members, np.full_like(members, 0.1))
    expected = np.sqrt(0.3**2 + 2 * 0.1**2 * (5**2 + 0.3**2))
    np.testing.assert_allclose(maps["spread"], np.full((1, 2, 2), expected), rtol=0.03)


@pytest.mark.parametrize(("ensemble", "sharpen"), [(1, 0), (2, 2)])
def test_a_trajectory_ends_in_the_depth_of_the_first_member(estimate, ensemble, sharpen):
    estimate, image = _with_fields(estimate, "model", sharpen=sharpen), _image(32, 48)
    trajectory = estimate(image, trajectory=True, ensemble=ensemble, num_steps=3).trajectory
    assert trajectory.shape == (4, 32, 48) and trajectory.dtype == np.float32
    np.testing.assert_allclose(trajectory[-1], estimate(image, num_steps=3).depth, rtol=1e-4)
    assert np.abs(trajectory[0] - trajectory[-1]).max() > 1e-3


def test_a_trajectory_of_more_steps_is_sampled_apart(estimate):
    """Its steps are those of a depth of so many steps; the depth is that of its own steps."""
    image = _image(32, 48)
    apart = estimate(image, num_steps=1, trajectory=3)
    whole = estimate(image, num_steps=3, trajectory=True)
    np.testing.assert_array_equal(apart.trajectory, whole.trajectory)
    np.testing.assert_array_equal(apart.depth, estimate(image, num_steps=1).depth)
    same = estimate(image, num_steps=3, trajectory=2)
    np.testing.assert_array_equal(same.trajectory, whole.trajectory)
    few = Options(trajectory=2000)
    assert few.trajectory_steps(3, 1000) == 1000 and not Options().trajectory_steps(3, 1000)


def test_another_configuration_or_calibration_is_another_model(estimate):
    one, same, other = (
        _with_fields(estimate, "frame", focal_length=each).identities(Options())
        for each in (50.0, 50.0, 60.0)
    )
    assert one == same and dict(set(one.items()) ^ set(other.items())).keys() == {
        " (its config.json)"
    }
    assert " (its calibration.json)" in estimate.identities(Options(interval=0.9))


def test_an_iterator_is_predicted_in_order_with_few_images_in_memory(estimate):
    """Of images that are made when they are asked for, no more than a batch is alive."""
    made = []

    def images():
        for seed in range(5):
            image = _image(32, 48, seed % 3)
            made.append(weakref.ref(image))
            yield image

    predictions, largest = estimate.iterate(images(), batch_size=2), 0
    for seed, prediction in enumerate(predictions):
        expected = estimate(_image(32, 48, seed % 3), batch_size=2)
        np.testing.assert_array_equal(prediction.depth, expected.depth)
        del prediction
        gc.collect()
        largest = max(largest, sum(image() is not None for image in made))
    assert seed == 4 and largest <= 2
    with pytest.raises(UserError, match="batch_size 0"):
        estimate.iterate([], batch_size=0)


def test_grey_is_rgb_of_three_equal_channels(estimate):
    grey = _image(32, 48)[..., 0]
    expected = estimate(np.stack([grey] * 3, axis=-1)).depth
    for given in (grey, grey[..., None], 257 * grey.astype(np.uint16)):
        np.testing.assert_array_equal(estimate(given).depth, expected)


def test_its_text_is_a_line(estimate):
    assert repr(estimate) == "DepthEstimator(diffusion, swin_nano, 32 x 48)"


@pytest.mark.slow
def test_few_programs_are_compiled_for_many_sizes(estimate):
    """Fifty photos of ten sizes, in batches that do not come out even."""
    sizes = [
        (30, 40),
        (40, 30),
        (48, 48),
        (60, 90),
        (50, 89),
        (24, 80),
        (89, 50),
        (7, 9),
        (64, 48),
        (33, 44),
    ]
    images = [_image(*sizes[k % 10], seed=k) for k in range(50)]
    before = estimate._compiled._cache_size()
    estimate(images, batch_size=3, num_steps=1)
    assert 1 < estimate._compiled._cache_size() - before <= 4
    before = estimate._compiled._cache_size()
    padded = placement.shared_sizes(sizes)
    estimate(images, batch_size=3, num_steps=1, native_size=True, padded_sizes=padded)
    assert estimate._compiled._cache_size() - before <= 4


def test_the_docstring_example_runs(estimate, directory, monkeypatch):
    load = DepthEstimator.from_checkpoint
    monkeypatch.setattr(DepthEstimator, "from_checkpoint", lambda _: load(directory))
    example = doctest.DocTestFinder().find(DepthEstimator, globs={})[0]
    result = doctest.DocTestRunner().run(example)
    assert result.attempted > 5 and result.failed == 0
