import pathlib

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from diffdepth_jax import metrics

FRAMES = pathlib.Path(__file__).parents[2] / "shared" / "real_frames" / "nyu"


def score(prediction, target, mask=None, **limits):
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


def test_perfect_prediction():
    values = score([[[[1.0], [3.0]]]], [1.0, 3.0])
    assert [values[name] for name in metrics.NAMES] == [0, 0, 0, 0, 0, 0, 1, 1, 1]


def test_image_without_valid_pixels_is_nan():
    values = score(2.0, [1.0, jnp.nan], mask=jnp.zeros((1, 1, 2, 1), bool))
    assert np.isnan(values["abs_rel"]) and values["valid"] == 0


def test_limits_are_strict():
    target = jnp.array([0.5, 1.0, 2.0, 10.0, jnp.nan, jnp.inf]).reshape(1, -1, 1)
    mask = metrics.evaluation_mask(target, jnp.ones(target.shape, bool), 0.5, 10.0, "none")
    assert mask.ravel().tolist() == [False, True, True, False, False, False]


def test_predictions_are_made_finite_and_clamped():
    values = metrics.clamp_prediction(jnp.array([jnp.nan, -jnp.inf, jnp.inf, 5.0, 0.0]), 0.1, 10.0)
    np.testing.assert_allclose(values, [0.1, 0.1, 10, 5, 0.1])


def test_eigen_crop_rectangle():
    rows, columns = np.nonzero(metrics.crop_mask(480, 640, "nyu_eigen")[..., 0])
    assert (rows.min(), rows.max() + 1) == (45, 471)
    assert (columns.min(), columns.max() + 1) == (41, 601)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ("00000", (221809, 28.7163, 0.0960, 0.1945, 0.3101, 1.2521, 0.3164, 0.6917)),
        ("00050", (225022, 40.4323, 0.1450, 0.3262, 0.5240, 1.5430, 0.4099, 0.3920)),
    ],
)
def test_known_answers_on_real_frames(frame, expected):
    path = FRAMES / f"sync_depth_{frame}.png"
    if not path.exists():
        pytest.skip("needs the real frames in ../shared")
    target = (np.asarray(Image.open(path), np.float32) / 1000)[None, ..., None]
    mask = metrics.evaluation_mask(target, jnp.asarray(target > 0), 1e-3, 10, "nyu_eigen")
    values = metrics.depth_metrics(jnp.full(target.shape, 3.0), target, mask)
    names = ("valid", "silog", "log10", "abs_rel", "sq_rel", "rmse", "rmse_log", "d1")
    for name, value in zip(names, expected, strict=True):
        assert float(values[name][0]) == pytest.approx(value, abs=6e-5), name
