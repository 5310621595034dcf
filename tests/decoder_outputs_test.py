"""The decoder's further outputs, a Laplace scale and validity, from training to files."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from diffdepth_jax import DepthEstimator, predict
from diffdepth_jax.configs import feed_forward
from diffdepth_jax.configuration import groups
from diffdepth_jax.datasets.sources import create_sources
from diffdepth_jax.method.pixel_objective import total_loss
from diffdepth_jax.models.assembly import create_model
from diffdepth_jax.models.codec import DepthCodec
from diffdepth_jax.prediction.stablehlo import depth_function
from diffdepth_jax.training import loop
from diffdepth_jax.training.batches import augmented_batches
from tests.support import small_model, small_run, tiny

OUTPUTS = {
    "model__laplace_scale": True,
    "model__validity": True,
    "loss__weights": {"laplace": 1.0, "validity": 1.0},
}
CODEC = DepthCodec(latent_channels=4, decoder_width=8, laplace_scale=True, validity=True)


@pytest.mark.slow
def test_a_run_trains_both_outputs_and_its_model_has_them(tmp_path):
    config = groups.read(feed_forward.feed_forward(small_run.fields(**OUTPUTS)))
    loop.train(config, tmp_path)
    logged = small_run.read_metrics(tmp_path)
    losses = [line for line in logged if "train/loss" in line]
    assert all(0 < line["train/validity"] < 1 and "train/laplace" in line for line in losses)
    heads = small_run.read_state(tmp_path, 6)["variables"]["params"]["codec"]["decoder"]
    for name in ("scale_head", "validity_head"):
        assert np.abs(heads[name]["kernel"]).max() > 0
    prediction = DepthEstimator.from_checkpoint(tmp_path)(np.full((40, 60, 3), 128, np.uint8))
    assert prediction.valid.shape == prediction.spread.shape == (40, 60)
    assert prediction.valid.dtype == bool and prediction.spread.min() > 0


def test_batches_of_such_a_configuration_know_the_sky_and_others_do_not():
    """Scenes of 32 x 48 in a crop of 40 x 48. Nothing is known of padding and of lost truth."""
    crop = {"augmentation__crop_size": (40, 48), "augmentation__valid_pixel_fraction": 0.5}
    config = small_run.config(**OUTPUTS, **crop)
    source, _ = create_sources(config.data, 0)
    batch = next(augmented_batches(config, source, 0))
    mask, surface, hole = batch["mask"], batch["surface"], batch["hole"]
    assert hole[:, :16].any() and not (surface | hole)[:, 32:].any()
    assert (surface >= mask).all() and not (surface & hole).any()
    assert 0.1 < (~surface & ~hole)[:, :32].mean() < 0.5
    assert "hole" not in next(augmented_batches(small_run.config(**crop), source, 0))


def test_the_losses_teach_their_heads_and_the_backbone():
    batch = tiny.batch()
    batch["surface"], batch["hole"] = batch["mask"], ~batch["mask"]
    batch["hole"][1] = batch["mask"][1] = False
    model, weights = tiny.model().clone(codec=CODEC), {"laplace": 1.0, "validity": 1.0}
    objective = tiny.objective(model, weights=weights, sampler={"num_steps": 1})
    draws = objective.draw(jax.random.split(jax.random.key(0)), 13, 18)

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def loss(variables):
        terms, _ = objective.terms(variables, batch, draws, None)
        return total_loss(terms, weights), {name: count for name, (_, count) in terms.items()}

    gradient, counts = loss(tiny.init_model(model))
    decoder = gradient["params"]["codec"]["decoder"]
    assert decoder.keys() == {"expand", "up", "head", "scale_head", "validity_head"}
    for part in (*decoder.values(), gradient["params"]["backbone"]):
        assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(part)) > 0
    assert counts == objective.counts(batch) and counts["validity"] == counts["laplace"] == 1


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A model of random parameters, which sees holes here and there."""
    directory = tmp_path_factory.mktemp("models") / "random"
    small_model.save(directory, small_run.config(**OUTPUTS))
    return directory


@pytest.fixture(scope="module")
def estimate(directory):
    return DepthEstimator.from_checkpoint(directory)


def _picture():
    return np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)


def test_predict_marks_the_holes_and_writes_a_spread_without_an_ensemble(
    directory, estimate, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(DepthEstimator, "from_checkpoint", lambda _: estimate)
    Image.fromarray(_picture()).save(tmp_path / "a.png")
    values = {"checkpoint": directory, "input": tmp_path / "a.png", "output": tmp_path / "out"}
    with flagsaver.flagsaver():
        outputs = "--outputs=npy,png16,spread"
        flags.FLAGS(["predict", outputs, *(f"--{k}={v}" for k, v in values.items())])
        assert predict.run([]) == 0
    prediction = estimate(_picture())
    valid = prediction.valid
    assert 0.05 < valid.mean() < 0.95
    assert np.isfinite(prediction.depth).all()
    found = np.load(tmp_path / "out/a.npy")
    np.testing.assert_array_equal(np.isnan(found), ~valid)
    np.testing.assert_array_equal(found[valid], prediction.depth[valid])
    assert (np.array(Image.open(tmp_path / "out/a.png"))[~valid] == 0).all()
    np.testing.assert_array_equal(
        np.load(tmp_path / "out/a_spread.npy"), prediction.marked(prediction.spread)
    )
    assert f"{(~valid).mean():.1%} without depth" in capsys.readouterr().out


def test_depth_is_that_of_the_same_model_without_the_outputs(estimate):
    fields = dataclasses.replace(estimate._config.model, laplace_scale=False, validity=False)
    config = dataclasses.replace(estimate._config, model=fields)
    model = create_model(fields)
    plain = DepthEstimator(model, estimate._schedule, estimate._variables, config)
    ours, theirs = estimate(_picture()), plain(_picture())
    np.testing.assert_allclose(ours.depth, theirs.depth, rtol=1e-5)
    assert theirs.spread is None and theirs.valid is None and not theirs.holes


def test_its_exported_function_gives_the_depth_everywhere(estimate):
    sampler = vars(estimate._config.sampler)
    function = depth_function(
        create_model(estimate._config.model), estimate._schedule, sampler, None
    )
    depth = jax.jit(function)(estimate._variables, _picture()[None], np.uint32(0))
    np.testing.assert_allclose(depth[0], estimate(_picture()).depth, rtol=1e-4)
