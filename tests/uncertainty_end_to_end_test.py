"""A model with a Laplace scale and validity is calibrated, evaluated, and predicts intervals."""

import dataclasses

import numpy as np

from diffdepth_jax import DepthEstimator
from diffdepth_jax.checkpoints.calibration import load_calibration
from diffdepth_jax.evaluation.calibration import calibrate
from diffdepth_jax.evaluation.evaluator import evaluate_checkpoint
from diffdepth_jax.prediction.outputs import OutputWriter
from tests.support import small_model, small_run

IMAGE = np.random.default_rng(0).integers(0, 256, (*small_run.SIZE, 3), np.uint8)


def test_a_model_with_all_outputs_is_calibrated_and_predicts_intervals(tmp_path, caplog):
    config = small_run.config(
        model__laplace_scale=True,
        model__validity=True,
        loss__weights={"laplace": 0.1, "validity": 0.1},
        evaluation__ensemble=2,
        evaluation__baselines=False,
    )
    small_model.save(tmp_path / "run", config)
    raw = DepthEstimator.from_checkpoint(tmp_path / "run")(IMAGE, ensemble=2, interval=0.9)
    assert "between quantiles of the 2 samples" in caplog.text and "Laplace scale" in caplog.text

    calibrate(dataclasses.replace(config, seed=1), tmp_path / "run")
    means = evaluate_checkpoint(config, tmp_path / "run")["rooms"]
    assert {"coverage", "ause", "spread_rank", "crps", "calibrated_coverage"} <= means.keys()
    assert "intervals are not scored" not in caplog.text

    prediction = DepthEstimator.from_checkpoint(tmp_path / "run")(IMAGE, ensemble=2, interval=0.9)
    for name in ("depth", "spread", "valid"):
        np.testing.assert_array_equal(getattr(prediction, name), getattr(raw, name))
    assert 0 < prediction.valid.mean() < 1
    widths = load_calibration(tmp_path / "run").widths
    ends = widths.interval(prediction.depth, prediction.spread, 0.9)
    OutputWriter(tmp_path, ("npz",)).write("a", prediction, None)
    files = np.load(tmp_path / "a.npz")
    for name, expected in zip(("low", "high"), ends, strict=True):
        np.testing.assert_array_equal(np.isnan(files[name]), ~prediction.valid)
        marked = np.where(prediction.valid, expected, np.nan)
        np.testing.assert_allclose(files[name], marked, rtol=1e-5)
