"""A feed-forward model is trained, evaluated, predicted with and exported like any other."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from diffdepth_jax import DepthEstimator
from diffdepth_jax.configs import feed_forward
from diffdepth_jax.configuration import groups
from diffdepth_jax.errors import UserError
from diffdepth_jax.method.pixel_objective import PIXEL_LOSSES, Regression
from diffdepth_jax.method.refinement import refine
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.variables import abstract_variables
from diffdepth_jax.prediction.options import Options
from diffdepth_jax.prediction.stablehlo import depth_function
from diffdepth_jax.training import configured, loop
from tests.support import small_run, tiny


def _config(**overrides):
    return groups.read(feed_forward.feed_forward(small_run.fields(**overrides)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, and what its evaluation found."""
    workdir = tmp_path_factory.mktemp("run")
    return workdir, loop.train(_config(), str(workdir))


def test_it_has_the_parts_of_the_diffusion_model_without_its_encoder_and_time():
    config = _config()
    ours = abstract_variables(create_model(config.model))["params"]
    fields = dataclasses.replace(config.model, kind="diffusion")
    theirs = abstract_variables(create_model(fields))["params"]
    assert ours["backbone"].keys() == theirs["backbone"].keys()
    assert jax.tree.all(jax.tree.map(lambda a, b: a.shape == b.shape, ours["neck"], theirs["neck"]))
    assert set(ours["codec"]) == {"decoder"} and set(theirs["codec"]) == {"decoder", "encoder"}
    assert theirs["denoiser"].keys() - ours["head"].keys() == {"time_in", "time_out", "latent_in"}
    assert ours["head"].keys() <= theirs["denoiser"].keys()


def test_noise_and_keys_have_no_influence():
    model = create_model(_config().model)
    batch = tiny.batch(2)
    variables = tiny.init(model, batch["image"], batch["depth"], batch["mask"])

    @jax.jit
    def latents(noise):
        schedule = tiny.schedule()
        found = refine(model, variables, batch["image"], noise, schedule=schedule, num_steps=1)
        return found.latents

    shape = (2, *model.latent_shape(13, 18))
    first, second = (latents(jax.random.normal(jax.random.key(seed), shape)) for seed in range(2))
    assert first.shape == (1, *shape)
    np.testing.assert_array_equal(first, second)


def test_its_objective_has_the_pixel_losses_alone():
    config = _config()
    model = create_model(config.model)
    objective = configured.configured_objective(config, model, tiny.schedule())
    assert isinstance(objective, Regression)
    batch = tiny.batch(2)
    variables = tiny.init(model, batch["image"], batch["depth"], batch["mask"])
    terms, _ = objective.terms(variables, batch, (), None)
    assert terms.keys() == objective.counts(batch).keys() == set(PIXEL_LOSSES)
    assert all(np.isfinite(total) and count == 2 for total, count in terms.values())


def test_a_run_is_evaluated_and_predicted_with(run):
    workdir, means = run
    assert set(means) >= {"rooms: this model", "streets: this model"}
    text = json.loads((workdir / "evaluation/rooms.json").read_text())["description"]
    assert text.endswith("feed-forward")
    estimator = DepthEstimator.from_checkpoint(workdir)
    image = np.full((40, 60, 3), 128, np.uint8)
    first, second = estimator(image, seed=0), estimator(image, seed=1)
    assert not estimator.diffuses and first.depth.shape == (40, 60)
    np.testing.assert_array_equal(first.depth, second.depth)


def test_its_exported_function_gives_the_same_depth(run):
    estimator = DepthEstimator.from_checkpoint(run[0])
    image = np.random.default_rng(0).integers(0, 256, (1, *small_run.SIZE, 3)).astype(np.uint8)
    sampler = vars(estimator._config.sampler)
    predict = depth_function(
        create_model(estimator._config.model), estimator._schedule, sampler, None
    )
    depth = jax.jit(predict)(estimator._variables, image, np.uint32(0))
    np.testing.assert_allclose(depth[0], estimator(image[0]).depth, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(num_steps=2), "num_steps 2: this model is a feed-forward one"),
        (Options(ensemble=2), "ensemble 2: this model is a feed-forward one"),
        (Options(trajectory=True), "trajectory: this model is a feed-forward one"),
    ],
)
def test_what_only_diffusion_has_is_refused(run, options, message):
    with pytest.raises(UserError, match=message):
        DepthEstimator.from_checkpoint(run[0]).check(options)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("loss__weights", {"ddim": 1.0}),
        ("loss__weights", {"latent": 1.0}),
        ("sampler__num_steps", 2),
        ("evaluation__ensemble", 2),
        ("model__neck", "released"),
        ("model__codec", "released"),
        ("model__denoiser", "released"),
    ],
)
def test_fields_that_mean_nothing_to_it_are_refused(field, value):
    fields = feed_forward.feed_forward(small_run.fields())
    group, name = field.split("__")
    if isinstance(value, dict):
        fields[group][name].update(value)
    else:
        fields[group][name] = value
    with pytest.raises(UserError, match=r"for a feed_forward model"):
        groups.read(fields)


def test_its_heads_are_refused_by_their_own_rule():
    with pytest.raises(UserError, match="denoiser_heads 3: must be a divisor of denoiser_features"):
        _config(model__denoiser_heads=3)
