"""Metrics worked out by hand, and against float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.evaluation import metrics


def score(prediction, target, mask=None):
    target = jnp.asarray(target, jnp.float32).reshape(1, 1, -1, 1)
    prediction = jnp.broadcast_to(jnp.asarray(prediction, jnp.float32), target.shape)
    mask = jnp.ones(target.shape, bool) if mask is None else mask
    return {k: float(v[0]) for k, v in metrics.depth_metrics(prediction, target, mask).items()}


def test_constant_prediction_by_hand():
    values = score(2.0, [1.0, 2.0, 4.0])
    e = np.log([2.0, 1.0, 0.5])
    assert values["abs_rel"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert values["sq_rel"] == pytest.approx((1 + 0 + 1) / 3)
    assert values["rmse"] == pytest.approx((5 / 3) ** 0.5)
    assert values["rmse_log"] == pytest.approx(np.sqrt(np.mean(e**2)))
    assert values["log10"] == pytest.approx(np.mean(np.abs(e)) / np.log(10))
    assert values["silog"] == pytest.approx(100 * np.std(e))
    assert values["d1"] == pytest.approx(1 / 3) and values["d3"] == pytest.approx(1 / 3)
    assert values["valid"] == 3


def test_the_benchmarks_metrics_by_hand():
    """2 m for truth of 1, 2 and 4 m.

    Relative errors 1, 0 and -1/2; of the inverses (1/km) 500 - 1000, 0 and 500 - 250.
    """
    values = score(2.0, [1.0, 2.0, 4.0])
    assert values["sq_error_rel"] == pytest.approx(100 * (1 + 0 + 1 / 4) / 3)  # percent
    assert values["abs_error_rel"] == pytest.approx(100 * (1 + 0 + 1 / 2) / 3)  # percent
    assert values["irmse"] == pytest.approx(((500**2 + 250**2) / 3) ** 0.5)
    assert values["imae"] == pytest.approx((500 + 250) / 3)
    assert values["mae"] == pytest.approx((1 + 0 + 2) / 3)
    # ln of the ratios: ln 2, 0, -ln 2; their mean is 0, so silog is 100 sqrt(2/3) ln 2.
    assert values["silog"] == pytest.approx(100 * (2 / 3) ** 0.5 * np.log(2))


def test_perfect_prediction():
    values = score([[[[1.0], [3.0]]]], [1.0, 3.0])
    assert [values[name] for name in metrics.NAMES] == [0] * 6 + [1] * 5


def test_the_strict_shares_of_pixels_by_hand():
    """Off by 4 %, 8 %, 20 % and not at all; too near and too far count alike."""
    truth = jnp.array([1.0, 2.0, 3.0, 4.0])
    values = score((truth * jnp.array([1 / 1.04, 1.08, 1.2, 1])).reshape(1, 1, 4, 1), truth)
    assert [values[name] for name in ("d105", "d110", "d1")] == [0.5, 0.75, 1]


def test_image_without_valid_pixels_is_nan():
    values = score(2.0, [1.0, jnp.nan], mask=jnp.zeros((1, 1, 2, 1), bool))
    assert np.isnan(values["abs_rel"]) and values["valid"] == 0


def test_limits_are_strict():
    target = jnp.array([0.5, 1.0, 2.0, 10.0, jnp.nan, jnp.inf]).reshape(1, -1, 1)
    mask = metrics.evaluation_mask(target, jnp.ones(target.shape, bool), 0.5, 10.0)
    assert mask.ravel().tolist() == [False, True, True, False, False, False]


def test_predictions_are_made_finite_and_clamped():
    values = metrics.clamp_prediction(jnp.array([jnp.nan, -jnp.inf, jnp.inf, 5.0, 0.0]), 0.1, 10.0)
    np.testing.assert_allclose(values, [0.1, 0.1, 10, 5, 0.1])


def random_batch(seed=0):
    """Three images with 5, about half, and all of their pixels valid; nan where not."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(0.5, 9.5, (3, 12, 16, 1)).astype(np.float32)
    prediction = target * np.exp(rng.normal(0, 0.3, target.shape)).astype(np.float32)
    mask = rng.random(target.shape) < np.array([0.0, 0.5, 1.0]).reshape(3, 1, 1, 1)
    mask[0, 3, 4:9] = True
    return prediction, np.where(mask, target, np.nan), mask


def float64_metrics(p, t):
    """Of one image's valid pixels; silog over all pairs of pixels instead of around the mean."""
    p, t = p.astype(np.float64), t.astype(np.float64)
    log_ratio = np.log(p / t)
    within = np.abs(log_ratio)[:, None] < np.log([1.05, 1.1, 1.25, 1.25**2, 1.25**3])
    return {
        "abs_rel": np.mean(abs(p / t - 1)),
        "sq_rel": np.mean((p - t) ** 2 / t),
        "rmse": np.linalg.norm(p - t) / len(t) ** 0.5,
        "rmse_log": np.linalg.norm(log_ratio) / len(t) ** 0.5,
        "log10": np.mean(abs(np.log10(p) - np.log10(t))),
        "silog": 100 * np.sqrt(np.mean((log_ratio[:, None] - log_ratio[None]) ** 2) / 2),
        **dict(zip(("d105", "d110", "d1", "d2", "d3"), within.mean(0), strict=True)),
        "sq_error_rel": 100 * np.mean((p / t - 1) ** 2),
        "abs_error_rel": 100 * np.mean(abs(p / t - 1)),
        "irmse": 1000 * np.linalg.norm(1 / p - 1 / t) / len(t) ** 0.5,
        "imae": 1000 * np.mean(abs(1 / p - 1 / t)),
        "mae": np.mean(abs(p - t)),
        "valid": len(t),
    }


def test_every_metric_of_every_image_equals_float64():
    prediction, target, mask = random_batch()
    values = metrics.depth_metrics(prediction, target, mask)
    for image in range(3):
        expected = float64_metrics(prediction[image][mask[image]], target[image][mask[image]])
        assert set(values) == set(expected) == {*metrics.ALL_NAMES, "valid"}
        for name, value in expected.items():
            assert float(values[name][image]) == pytest.approx(value, rel=1e-5), name


def test_values_of_an_image_do_not_depend_on_its_batch():
    args = random_batch()
    together = metrics.depth_metrics(*args)
    for image in range(3):
        alone = metrics.depth_metrics(*(array[image : image + 1] for array in args))
        for name, value in alone.items():
            assert float(value[0]) == pytest.approx(float(together[name][image]), rel=1e-6), name


def test_predictions_outside_the_mask_have_no_influence():
    prediction, target, mask = random_batch()
    spoilt = metrics.depth_metrics(np.where(mask, prediction, np.nan), target, mask)
    for name, value in metrics.depth_metrics(prediction, target, mask).items():
        np.testing.assert_array_equal(spoilt[name], value, err_msg=name)


def test_median_of_each_image_equals_numpys():
    """Of 5 pixels, about half and all, an odd and an even number; of none it is nan."""
    _, target, mask = random_batch()
    mask[1, 0, 0] ^= mask[1].sum() % 2 == 1
    assert mask.sum((1, 2, 3)).tolist()[::2] == [5, 192] and mask[1].sum() % 2 == 0
    target = np.where(mask, np.nan_to_num(target, nan=3), np.nan)
    expected = [np.median(t[m]) for t, m in zip(target, mask, strict=True)]
    np.testing.assert_array_equal(metrics.median(target, mask), expected)
    assert np.isnan(metrics.median(target, np.zeros_like(mask))).all()


@pytest.mark.parametrize("scale", [1e-6, 0.5, 1.0, 2.0, 1e6])
def test_alignment_takes_any_scale_out(scale):
    """All that is left of 1.5, 3 and 8 m for truth of 1, 2 and 4 m is the error 1/3 of the last."""
    target, mask = np.float32([1, 2, 4]).reshape(1, 3, 1, 1), np.ones((1, 3, 1, 1), bool)
    prediction = np.float32(scale) * np.float32([1.5, 3, 8]).reshape(target.shape)
    aligned = metrics.align_median(prediction, target, mask)
    assert np.ravel(aligned) == pytest.approx([1, 2, 16 / 3])
    values = metrics.aligned_metrics(aligned, target, mask)
    assert list(values) == list(metrics.ALIGNED_NAMES)
    assert values["aligned_abs_rel"] == pytest.approx([1 / 9])
    assert values["aligned_silog"] == pytest.approx([100 * np.std(np.log([1, 1, 4 / 3]))])
    assert values["aligned_d1"] == pytest.approx([2 / 3])


def test_alignment_of_predictions_that_are_no_depth_is_finite():
    target, mask = np.float32([1, 2, 4, 5]).reshape(1, 4, 1, 1), np.ones((1, 4, 1, 1), bool)
    for values in ([0, 0, 0, 0], [np.nan, -1, 3, 3], [np.inf] * 4, [np.nan] * 4):
        prediction = np.float32(values).reshape(target.shape)
        assert np.isfinite(metrics.align_median(prediction, target, mask)).all()


def test_silog_does_not_see_a_global_scale():
    prediction, target, mask = random_batch()
    values = [metrics.depth_metrics(p, target, mask) for p in (prediction, 3 * prediction)]
    np.testing.assert_allclose(values[0]["silog"], values[1]["silog"], rtol=1e-4)
    assert np.all(values[1]["abs_rel"] > values[0]["abs_rel"])
