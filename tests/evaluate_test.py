"""Scores against numbers known beforehand, and baselines that nothing simple can beat."""


import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax import evaluate, input_pipeline, metrics, sharding
from diffdepth_jax.errors import UserError
from tests import tiny

LIMITS = {"min_depth": 0.1, "max_depth": 80.0}


def _sample(depth, mask=None):
    """A grey image with this ground truth [H, W]."""
    depth = np.asarray(depth, np.float32)[..., None]
    mask = np.ones(depth.shape, bool) if mask is None else np.asarray(mask, bool)[..., None]
    return {"image": np.full((*depth.shape[:2], 3), 99, np.uint8), "depth": depth, "mask": mask}


def _evaluate(samples, predict, size, batch_size=2, **fields):
    batches = input_pipeline.evaluation_batches(
        samples, batch_size=batch_size, size=size, **LIMITS
    )
    return evaluate.evaluate_batches(predict, batches, crop="none", **LIMITS, **fields)


def _always(prediction):
    """A predictor of one map [h, w] for every image."""
    prediction = np.asarray(prediction, np.float32)[None, ..., None]
    return lambda samples, first: np.repeat(prediction, len(samples), axis=0)


def test_result_is_the_mean_over_images_and_not_over_pixels():
    """Errors 0.5 with one valid pixel and 0.25 with six."""
    samples = [_sample(np.full((2, 3), 2.0), np.eye(2, 3) * [1, 0, 0]), _sample(np.full((2, 3), 4))]
    results = _evaluate(samples, _always(np.full((2, 3), 3.0)), (2, 3))
    assert results["abs_rel"] == pytest.approx((0.5 + 0.25) / 2)
    assert results["rmse"] == pytest.approx(1.0)
    assert results["images"] == 2
    assert set(results) == {*metrics.NAMES, "images"}


def test_an_image_without_ground_truth_does_not_count():
    samples = [_sample(np.full((2, 3), 2.0)), _sample(np.zeros((2, 3)), np.zeros((2, 3)))]
    results = _evaluate(samples, _always(np.full((2, 3), 3.0)), (2, 3))
    assert (results["images"], results["abs_rel"]) == (1, pytest.approx(0.5))


def test_a_set_without_any_ground_truth_is_refused():
    samples = [_sample(np.full((2, 3), 100.0)), _sample(np.full((2, 3), 0.01))]
    with pytest.raises(UserError, match=r"no evaluation image has ground truth between 0.1 and 80"):
        _evaluate(samples, _always(np.ones((2, 3))), (2, 3))


def test_predictions_are_clamped_to_the_limits():
    prediction = [[np.nan, -1.0, 1000.0, np.inf]]
    results = _evaluate([_sample([[0.2, 0.2, 40.0, 40.0]])], _always(prediction), (1, 4))
    assert results["abs_rel"] == pytest.approx((0.5 + 0.5 + 1 + 1) / 4)


def test_padding_is_cut_off_and_the_rest_scored_at_the_native_size():
    """A ramp of 2 x 4 in the upper half of 4 x 4, for truth of 4 x 8: one in two columns."""
    prediction = np.concatenate([np.tile(np.arange(1.0, 5), (2, 1)), np.full((2, 4), 50)])
    truth = np.tile((np.arange(8) + 0.5) / 2 + 0.5, (4, 1))
    inner = np.zeros((4, 8))
    inner[:, 1:-1] = 1  # beyond the centres of its outer columns a bilinear ramp is flat
    shapes = []
    results = _evaluate(
        [_sample(truth, inner)], _always(prediction), (4, 4),
        on_image=lambda index, sample, depth, values: shapes.append((index, depth.shape)),
    )  # fmt: skip
    assert results["abs_rel"] == pytest.approx(0, abs=1e-6)
    assert shapes == [(0, (4, 8, 1))]


def _noisy_model():
    """A predict step whose metres are the image's brightness and noise of its key."""

    def predict_step(variables, image, keys):
        noise = jax.vmap(lambda key: jax.random.normal(key, (*image.shape[1:3], 1)))(keys)
        return jnp.exp(variables + image.mean(-1, keepdims=True) + noise)

    return predict_step


def _predictions(predict_step, variables, batch_size, images):
    """Of every image, whatever batch it was in."""
    predict = evaluate.model_predictor(predict_step, variables, jax.random.key(0), batch_size)
    batches = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
    samples = [[{"image": image} for image in batch] for batch in batches]
    starts = range(0, len(images), batch_size)
    return np.concatenate([predict(s, first) for s, first in zip(samples, starts, strict=True)])


@pytest.mark.parametrize("batch_size", [2, 3])
def test_noise_belongs_to_the_sample_and_not_to_the_batch(batch_size):
    images = tiny.batch(size=5)["image"]
    alone = _predictions(_noisy_model(), 0.5, 1, images)
    np.testing.assert_array_equal(_predictions(_noisy_model(), 0.5, batch_size, images), alone)
    twice = _predictions(_noisy_model(), 0.5, batch_size, np.stack([images[0]] * 5))
    assert len({depth.tobytes() for depth in twice}) == 5


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_model_predicts_an_image_alike_in_any_batch(eta):
    model, images = tiny.model(), tiny.batch(size=3)["image"]
    sampler = {"num_steps": 2, "spacing": "trailing", "eta": eta, "clip": 1.0, "remat": False}
    step = evaluate.create_predict_step(model, tiny.schedule(), sampler, sharding.create_mesh())
    variables = tiny.init_model(model)
    alone, batched = (_predictions(step, variables, size, images) for size in (1, 2))
    np.testing.assert_allclose(batched, alone, rtol=1e-4)
    assert alone.std() > 1e-3


@pytest.fixture
def scenes():
    """Depths of 1 to 20 m, a third of them invalid and absurd."""
    rng = np.random.default_rng(0)
    masks = rng.random((4, 5, 6)) > 0.3
    return [_sample(np.where(m, rng.uniform(1, 20, m.shape), 1e9), m) for m in masks]


def test_no_other_constant_has_a_lower_abs_rel(scenes):
    depth, mask = (np.stack([scene[name] for scene in scenes]) for name in ("depth", "mask"))
    samples = [{"image": np.zeros((5, 6, 3))}] * 2
    prediction = evaluate.constant_predictor(scenes, lambda sample: sample)(samples, 0)
    assert prediction.shape == (2, 5, 6, 1)
    (found,) = np.unique(prediction)
    others = [*depth[mask], *found * np.array([0.99, 1.01])]
    errors = [np.abs(1 - constant / depth[mask].astype(np.float64)).mean() for constant in others]
    error = np.abs(1 - found / depth[mask].astype(np.float64)).mean()
    assert error <= min(errors) + 1e-12
    assert errors[-1] > error < errors[-2]


def test_mean_map_by_hand():
    """One pixel is valid twice, one once, one never: it gets the mean of all four values."""
    source = [_sample([[2, 5, 9]], [[1, 1, 0]]), _sample([[4, 7, 9]], [[1, 0, 0]]),
              _sample([[9, 9, 9]], [[0, 0, 0]])]  # fmt: skip
    prediction = evaluate.mean_map_predictor(source, lambda sample: sample)([None] * 2, 0)
    np.testing.assert_allclose(prediction[..., 0], [[[3, 5, 11 / 3]]] * 2)


def test_baselines_see_samples_as_they_were_prepared(scenes):
    def halve(sample):
        return {**sample, "depth": sample["depth"] / 2}

    samples = [{"image": np.zeros((5, 6, 3))}]
    for fit in (evaluate.constant_predictor, evaluate.mean_map_predictor):
        whole, half = (fit(scenes, prepare)(samples, 0) for prepare in (lambda s: s, halve))
        np.testing.assert_allclose(half, whole / 2, rtol=1e-6)


def test_table_has_a_row_for_each_and_a_column_for_each_metric():
    values = {name: 0.5 + index for index, name in enumerate(metrics.NAMES)} | {"images": 7}
    header, *rows = evaluate.format_table({"ours": values, "theirs": values}).splitlines()
    assert header.split() == [*metrics.NAMES, "images"]
    assert [row.split()[0] for row in rows] == ["ours", "theirs"]
    assert rows[0].split()[1:] == [f"{values[name]:.4f}" for name in metrics.NAMES] + ["7"]


def test_best_checkpoint_is_picked_by_the_mean_over_sets():
    assert evaluate.mean_of({"a": {"abs_rel": 0.1}, "b": {"abs_rel": 0.4}}) == pytest.approx(0.25)
