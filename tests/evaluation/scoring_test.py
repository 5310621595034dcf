"""Scores against numbers known beforehand, and baselines that nothing simple can beat."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.datasets import pipeline, synthetic
from diffdepth_jax.distributed import sharding
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import edges, metrics, predictors, protocols, report, scoring
from tests.support import tiny

LIMITS = {"min_depth": 0.1, "max_depth": 80.0}


def _sample(depth, mask=None):
    """A grey image with this ground truth [H, W]."""
    depth = np.asarray(depth, np.float32)[..., None]
    mask = np.ones(depth.shape, bool) if mask is None else np.asarray(mask, bool)[..., None]
    return {"image": np.full((*depth.shape[:2], 3), 99, np.uint8), "depth": depth, "mask": mask}


def _evaluate(samples, predict, size, batch_size=2, **fields):
    """(means over images, [ScoredImage])."""
    batches = pipeline.evaluation_batches(
        samples, range(len(samples)), batch_size=batch_size, size=size, input_crop="none", **LIMITS
    )
    protocol = protocols.create_protocol("full", **LIMITS)
    images = list(scoring.score_images(predict, batches, protocol=protocol, **fields))
    return scoring.mean_over_images([image.values for image in images], protocol), images


def _always(prediction):
    """A predictor of one map [h, w] for every image."""
    prediction = np.asarray(prediction, np.float32)[..., None]
    return lambda samples, first: [prediction] * len(samples)


def test_result_is_the_mean_over_images_and_not_over_pixels():
    """Errors 0.5 with one valid pixel and 0.25 with six."""
    samples = [_sample(np.full((2, 3), 2.0), np.eye(2, 3) * [1, 0, 0]), _sample(np.full((2, 3), 4))]
    results, _ = _evaluate(samples, _always(np.full((2, 3), 3.0)), (2, 3))
    assert results["abs_rel"] == pytest.approx((0.5 + 0.25) / 2)
    assert results["rmse"] == pytest.approx(1.0)
    assert results["images"] == 2
    names = {*metrics.ALL_NAMES, *metrics.ALIGNED_NAMES, *edges.NAMES}
    assert set(results) == {*names, "images", "edge_images"}


def test_an_image_without_ground_truth_does_not_count():
    samples = [_sample(np.full((2, 3), 2.0)), _sample(np.zeros((2, 3)), np.zeros((2, 3)))]
    results, _ = _evaluate(samples, _always(np.full((2, 3), 3.0)), (2, 3))
    assert (results["images"], results["abs_rel"]) == (1, pytest.approx(0.5))


def test_a_set_without_any_ground_truth_is_refused():
    samples = [_sample(np.full((2, 3), 100.0)), _sample(np.full((2, 3), 0.01))]
    with pytest.raises(UserError, match=r"no evaluation image has ground truth between 0.1 and 80"):
        _evaluate(samples, _always(np.ones((2, 3))), (2, 3))


def test_predictions_are_clamped_to_the_limits():
    prediction = [[np.nan, -1.0, 1000.0, np.inf]]
    results, _ = _evaluate([_sample([[0.2, 0.2, 40.0, 40.0]])], _always(prediction), (1, 4))
    assert results["abs_rel"] == pytest.approx((0.5 + 0.5 + 1 + 1) / 4)


def test_predictions_are_scored_at_the_native_size():
    """A ramp of 2 x 4 for truth of 4 x 8: one in two columns."""
    truth = np.tile((np.arange(8) + 0.5) / 2 + 0.5, (4, 1))
    inner = np.zeros((4, 8))
    inner[:, 1:-1] = 1  # beyond the centres of its outer columns a bilinear ramp is flat
    ramp = _always(np.tile(np.arange(1.0, 5), (2, 1)))
    results, (image,) = _evaluate([_sample(truth, inner)], ramp, (4, 4))
    assert results["abs_rel"] == pytest.approx(0, abs=1e-6)
    assert (image.index, image.prediction.shape) == (0, (4, 8, 1))


def _box(near=2.0, far=6.0):
    """A box in front of a wall, [12, 16]."""
    depth = np.full((12, 16), far)
    depth[4:8, 5:11] = near
    return depth


def test_a_perfect_prediction_and_one_of_another_scale():
    """25 times 6 m is beyond the limit of 80 m, but alignment comes before the limit."""
    for scale in (1, 2.5, 25):
        results, _ = _evaluate([_sample(_box())], _always(scale * _box()), (12, 16))
        assert (results["boundary_f1"], results["aligned_d1"]) == (1, 1)
        for name in ("aligned_abs_rel", "aligned_silog", "aligned_edge_abs_rel"):
            assert results[name] == pytest.approx(0, abs=1e-6), name
        if scale < 25:
            assert results["abs_rel"] == pytest.approx(scale - 1)
            assert results["edge_abs_rel"] == pytest.approx(scale - 1)


def test_aligned_predictions_are_clamped():
    """Aligned, the far wall is at 120 m, and the limit 80 m."""
    truth = np.where(np.arange(16) < 12, 10.0, 60.0) * np.ones((12, 1))
    prediction = np.where(np.arange(16) < 12, 1.0, 12.0) * np.ones((12, 1))
    results, _ = _evaluate([_sample(truth)], _always(prediction), (12, 16))
    assert results["aligned_abs_rel"] == pytest.approx((80 - 60) / 60 / 4)


def test_edges_are_scored_over_the_images_that_have_them():
    """A picture with an edge, one without, and one whose truth is a checkerboard."""
    board = np.indices((12, 16)).sum(0) % 2
    samples = [_sample(_box()), _sample(np.full((12, 16), 6.0)), _sample(_box(), board)]
    results, images = _evaluate(samples, _always(2 * _box()), (12, 16))
    assert (results["images"], results["edge_images"]) == (3, 1)
    assert (results["boundary_f1"], results["edge_abs_rel"]) == (1, pytest.approx(1))
    for name in edges.NAMES:
        assert [np.isnan(image.values[name]) for image in images] == [False, True, True]
    results, _ = _evaluate(samples[1:], _always(2 * _box()), (12, 16))
    assert results["edge_images"] == 0 and all(results[name] is None for name in edges.NAMES)
    _, row = report.format_table({"set": results}, protocols.SHAPE_TABLE).splitlines()
    assert row.split()[:5] == ["set", "-", "-", "-", "0"] and row.split()[-1] == "2"


def test_edges_outside_the_crop_do_not_count():
    """Eigen's crop of 48 x 64 has the rows 4 to 46: below, the floor is twice as near."""
    depth = np.full((48, 64), 4.0)
    depth[47:] = 2
    batches = [[{**_sample(depth), **_seen(None, (48, 64)), "name": "floor"}]]
    for name, count in (("full", 1), ("nyu_eigen", 0)):
        protocol = protocols.create_protocol(name, **LIMITS)
        (image,) = scoring.score_images(_always(depth), batches, protocol=protocol)
        assert np.isfinite(image.values["boundary_f1"]) == count


def test_pixels_without_a_prediction_have_no_edges():
    """The box's own pixels are holes: no pair at its edge is left."""
    prediction = _box(near=np.nan)
    values = [
        _evaluate([_sample(_box())], _always(prediction), (12, 16), holes=holes)[0]
        for holes in (False, True)
    ]
    assert values[0]["edge_images"] == 1 and values[0]["edge_abs_rel"] > 0.1
    assert (values[1]["edge_images"], values[1]["aligned_abs_rel"]) == (0, 0)


def test_dense_depth_of_streets_is_for_scores_at_edges_alone():
    """A prediction that is right where the LiDAR hits and nowhere else."""
    source = synthetic.SyntheticScenes("streets", "eval", 2, 48, 64)
    samples = [source[index] for index in range(2)]
    sparse = [{k: x for k, x in sample.items() if k != "dense_depth"} for sample in samples]

    def predict(samples, first):
        return [np.where(x["mask"], x["depth"], 5).astype(np.float32) for x in samples]

    results, images = _evaluate(samples, predict, (48, 64))
    without, others = _evaluate(sparse, predict, (48, 64))
    assert (results["edge_images"], without["edge_images"]) == (2, 0)
    assert 0 < results["boundary_f1"] < 0.5 and results["edge_abs_rel"] > 0.1
    for image, other, sample in zip(images, others, samples, strict=True):
        assert image.values["valid"] == sample["mask"].sum()
        for name in (*metrics.ALL_NAMES, *metrics.ALIGNED_NAMES):
            assert image.values[name] == other.values[name]
        assert image.values["abs_rel"] == image.values["aligned_abs_rel"] == 0


def _noisy_step(variables, image, keys, members):
    """A predict step whose metres are the image's brightness and noise of its key."""
    noise = jax.vmap(lambda key: jax.random.normal(key, (*image.shape[1:3], 1)))(keys)
    image = jnp.repeat(image, members, axis=0)
    return jnp.exp(variables + image.mean(-1, keepdims=True) + noise)


def _seen(image, content=None):
    """A sample as a model sees it."""
    return {"image": image, "content": np.array(content or image.shape[:2])}


def _predictions(predict_step, variables, batch_size, images, **views):
    """Of every image, whatever batch it was in."""
    predict = predictors.model_predictor(
        predict_step, variables, jax.random.key(0), batch_size, **views
    )
    samples = [_seen(image) for image in images]
    starts = range(0, len(images), batch_size)
    return np.concatenate([predict(samples[i : i + batch_size], i) for i in starts])


@pytest.mark.parametrize("views", [{}, {"flip_average": True, "ensemble": 3}])
@pytest.mark.parametrize("batch_size", [2, 3])
def test_noise_belongs_to_the_sample_and_not_to_the_batch(batch_size, views):
    images = tiny.batch(size=5)["image"]
    alone = _predictions(_noisy_step, 0.5, 1, images, **views)
    together = _predictions(_noisy_step, 0.5, batch_size, images, **views)
    np.testing.assert_array_equal(together, alone)
    twice = _predictions(_noisy_step, 0.5, batch_size, np.stack([images[0]] * 5), **views)
    assert len({depth.tobytes() for depth in twice}) == 5


SAMPLER = {
    "num_steps": 2,
    "spacing": "trailing",
    "start": "noise",
    "clip": 1.0,
    "remat": False,
}


@pytest.mark.parametrize(("members", "start"), [(1, "zeros"), (2, "noise")])
def test_one_member_is_the_middle_of_several(members, start):
    model, image, mesh = tiny.model(), tiny.batch(size=2)["image"], sharding.create_mesh()
    keys = jax.random.split(jax.random.key(0), 2 * members)
    found, expected = (
        predictors.create_predict_step(
            model, tiny.schedule(), SAMPLER | {"start": each, "eta": 0.0}, mesh
        )(tiny.init_model(model), image, keys, members)
        for each in ("middle", start)
    )
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_model_predicts_an_image_alike_in_any_batch(eta):
    model, images = tiny.model(), tiny.batch(size=3)["image"]
    sampler = SAMPLER | {"eta": eta}
    step = predictors.create_predict_step(model, tiny.schedule(), sampler, sharding.create_mesh())
    variables = tiny.init_model(model)
    alone, batched = (_predictions(step, variables, size, images) for size in (1, 2))
    np.testing.assert_allclose(batched, alone, rtol=1e-4)
    assert alone.std() > 1e-3


def test_flip_average_by_hand():
    """A picture of columns 1, 2, 3 padded with two more that repeat the last.

    The step says 10 x the first column and adds 1, 2, 3 ... from left to right. Plain: 11, 12, 13.
    Mirrored, the picture is 3, 2, 1: 31, 32, 33, which mirrored back is 33, 32, 31.
    """
    seen = []

    def step(variables, image, keys, members):
        seen.append(image[:, 0, :, 0].tolist())
        return 10 * image[:, :, :1, :1] + np.arange(1.0, 6)[:, None]

    image = np.tile(np.float32([1, 2, 3, 3, 3])[:, None], (2, 1, 3))
    predict = predictors.model_predictor(step, None, jax.random.key(0), 1, flip_average=True)
    (depth,) = predict([_seen(image, (2, 3))], 0)
    np.testing.assert_array_equal(depth[..., 0], np.full((2, 3), 22))
    assert seen == [[[1, 2, 3, 3, 3], [3, 2, 1, 1, 1]]]


def test_ensemble_is_the_median_and_its_first_member_the_prediction_alone():
    images, seen = np.repeat(tiny.batch(size=1)["image"], 2, axis=0), []

    def step(variables, image, keys, members):
        assert members == 5 and len(image) == 2 and len(keys) == 10  # encoded once
        seen.append(_noisy_step(variables, image, keys, members))
        return seen[-1]

    ensemble = _predictions(step, 0.5, 2, images, ensemble=5)
    views = np.asarray(seen[0]).reshape(2, 5, *images.shape[1:3], 1)  # all as one batch
    np.testing.assert_array_equal(ensemble, np.sort(views, axis=1)[:, 2])
    alone = _predictions(_noisy_step, 0.5, 2, images)
    np.testing.assert_allclose(alone, views[:, 0], rtol=1e-6)
    assert len({view.tobytes() for sample in views for view in sample}) == 10


@pytest.mark.parametrize(("members", "spread"), [([2], 0.3), ([2, 2], 0.3), ([1, 2, 3], 0.743)])
def test_spread_with_a_scale_of_each_pixel(members, spread):
    """The members' is .68: half of 1.32 to 2.68. Squares add up: .68^2 + .3^2 = .743^2."""
    metres = iter(members)

    def step(variables, image, keys, _):
        return np.float32([[[[next(metres), 0.3]]] for _ in keys])

    predict = predictors.model_predictor(
        step, None, jax.random.key(0), 1, ensemble=len(members), members=True
    )
    (maps,) = predict([_seen(np.zeros((1, 1, 3), np.float32))], 0)
    several = members if len(members) > 1 else []
    np.testing.assert_allclose(maps[0, 0], [2, spread, 0.3, *several], atol=1e-3)


def test_flips_are_averaged_before_the_median():
    """Two views of three noises: pairs (1, 5), (2, 4), (9, 90) have means 3, 3, 49.5."""
    metres = iter(np.float32([1, 2, 9, 5, 4, 90]))

    def step(variables, image, keys, members):
        return np.stack([np.full((1, 1, 1), next(metres)) for _ in keys])

    predict = predictors.model_predictor(
        step, None, jax.random.key(0), 1, flip_average=True, ensemble=3
    )
    (depth,) = predict([_seen(np.zeros((1, 1, 3), np.float32))], 0)
    assert depth.tolist() == [[[3.0]]]


def test_a_prediction_of_the_benchmark_crop_is_put_back_in_its_place():
    """In 375 x 1242 the crop's first pixel is (23, 13); beyond it the nearest value stands."""
    depth = np.arange(352 * 1216, dtype=np.float32).reshape(352, 1216, 1)
    frame = scoring.to_frame(depth, size=(375, 1242), input_crop="kb")
    np.testing.assert_array_equal(frame[23:375, 13:1229], depth)
    assert (frame[0, 0], frame[0, -1], frame[374, 5]) == (0, 1215, depth[351, 0])


@pytest.fixture
def scenes():
    """Depths of 1 to 20 m, a third of them invalid and absurd."""
    rng = np.random.default_rng(0)
    masks = rng.random((4, 5, 6)) > 0.3
    return [_sample(np.where(m, rng.uniform(1, 20, m.shape), 1e9), m) for m in masks]


def test_no_other_constant_has_a_lower_abs_rel(scenes):
    depth, mask = (np.stack([scene[name] for scene in scenes]) for name in ("depth", "mask"))
    samples = [_seen(np.zeros((5, 6, 3)))] * 2
    prediction = predictors.constant_predictor(scenes, lambda sample: sample)(samples, 0)
    assert [depth.shape for depth in prediction] == [(5, 6, 1)] * 2
    (found,) = np.unique(prediction)
    others = [*depth[mask], *found * np.array([0.99, 1.01])]
    errors = [np.abs(1 - constant / depth[mask].astype(np.float64)).mean() for constant in others]
    error = np.abs(1 - found / depth[mask].astype(np.float64)).mean()
    assert error <= min(errors) + 1e-5
    assert errors[-1] > error < errors[-2]


def test_mean_map_by_hand():
    """One pixel is valid twice, one once, one never: it gets the mean of all four values."""
    source = [
        _sample([[2, 5, 9]], [[1, 1, 0]]),
        _sample([[4, 7, 9]], [[1, 0, 0]]),
        _sample([[9, 9, 9]], [[0, 0, 0]]),
    ]
    whole, cut = _seen(np.zeros((1, 3, 3))), _seen(np.zeros((1, 3, 3)), (1, 2))
    predict = predictors.mean_map_predictor(source, lambda sample: sample)
    prediction = predict([whole, cut], 0)
    np.testing.assert_allclose(prediction[0][..., 0], [[3, 5, 11 / 3]])
    np.testing.assert_allclose(prediction[1][..., 0], [[3, 5]])


def test_baselines_see_samples_as_they_were_prepared(scenes):
    def halve(sample):
        return {**sample, "depth": sample["depth"] / 2}

    samples = [_seen(np.zeros((5, 6, 3)))]
    for fit in (predictors.constant_predictor, predictors.mean_map_predictor):
        (whole,), (half,) = (fit(scenes, prepare)(samples, 0) for prepare in (lambda s: s, halve))
        np.testing.assert_allclose(half, whole / 2, rtol=2e-5)


def test_table_has_a_row_for_each_and_a_column_for_each_metric():
    values = {name: 0.5 + index for index, name in enumerate(metrics.NAMES)} | {"images": 7}
    header, *rows = report.format_table({"ours": values, "theirs": values}).splitlines()
    assert header.split() == [*metrics.NAMES, "images"]
    assert [row.split()[0] for row in rows] == ["ours", "theirs"]
    assert rows[0].split()[1:] == [f"{values[name]:.4f}" for name in metrics.NAMES] + ["7"]


def test_best_checkpoint_is_picked_by_the_mean_over_sets():
    assert scoring.mean_of({"a": {"abs_rel": 0.1}, "b": {"abs_rel": 0.4}}) == pytest.approx(0.25)
