"""Intervals of a small model, with a calibration and without."""

import dataclasses

import jax
import numpy as np
import pytest

from diffdepth_jax.checkpoints.calibration import Calibration, IntervalWidths, save_calibration
from diffdepth_jax.errors import UserError
from diffdepth_jax.models.identity import parameters_identity
from diffdepth_jax.prediction import sampling
from diffdepth_jax.prediction.estimator import DepthEstimator
from diffdepth_jax.prediction.options import Options

IMAGE = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
NEAR, FAR = 0.1, 0.2  # half widths in log depth of a single sample
MIDDLE = 0.8  # metres between near and far


@pytest.fixture(scope="module")
def raw(directory):
    return DepthEstimator.from_checkpoint(directory)


def _with(raw, directory=None, variables=None, **frame):
    """The same estimator with other variables, or other fields of the frame, in a directory."""
    config = dataclasses.replace(raw._config, frame=dataclasses.replace(raw._config.frame, **frame))
    variables = variables or raw._variables
    estimator = DepthEstimator(raw._model, raw._schedule, variables, config, directory)
    estimator._compiled = raw._compiled
    return estimator


@pytest.fixture
def calibrated(raw, tmp_path):
    """Returns the estimator of a calibrated directory, from which the parameters are gone."""

    def create(ensemble, spreads=(), half_widths=((NEAR,), (FAR,)), **options):
        rows = [[[width / 2 for width in row], list(row)] for row in half_widths]
        widths = IntervalWidths([0.5, 0.9], [MIDDLE], [list(spreads)] * 2, rows)
        identity = parameters_identity(raw._variables)
        save_calibration(tmp_path, Calibration(widths, 1.0, ensemble, 2, identity, "", {}))
        return _with(raw, tmp_path, **options)

    return create


@pytest.mark.parametrize("canonical", [0.0, 86.4])
@pytest.mark.parametrize("focal_length", [None, 100.0])
def test_distances_of_a_calibration_are_metres_as_they_were_calibrated(
    calibrated, raw, focal_length, canonical
):
    """With a canonical focal length those for the true camera, otherwise those of the model."""
    image, camera = IMAGE[:32, :48], {"canonical_focal_length": canonical}
    depth = _with(raw, **camera)(image, focal_length=focal_length).depth
    prediction = calibrated(1, **camera)(image, focal_length=focal_length, interval=0.9)
    np.testing.assert_array_equal(prediction.depth, depth)
    looked_up = depth if canonical else raw(image).depth
    assert looked_up.min() < MIDDLE < looked_up.max()
    factor = np.exp(np.where(looked_up > MIDDLE, FAR, NEAR))
    np.testing.assert_allclose(prediction.low, depth / factor, rtol=1e-5)
    np.testing.assert_allclose(prediction.high, depth * factor, rtol=1e-5)
    assert prediction.low.dtype == prediction.high.dtype == np.float32
    assert calibrated(1)(image).low is None


def test_the_interval_grows_with_the_spread_of_the_samples(calibrated):
    estimator = calibrated(2, [0.05], [(0.1, 0.3)] * 2)
    prediction = estimator(IMAGE, ensemble=2, interval=0.9)
    wide = prediction.spread / prediction.depth > 0.05
    assert 0 < wide.mean() < 1 and prediction.low.shape == IMAGE.shape[:2]
    expected = prediction.depth * np.exp(np.where(wide, 0.3, 0.1))
    np.testing.assert_allclose(prediction.high, expected, rtol=1e-5)


def test_without_calibration_it_lies_between_the_members_and_that_is_told(raw, caplog):
    """Once for an estimator."""
    predictions = [
        raw(IMAGE, ensemble=3, interval=0.9, focal_length=focal) for focal in (50.0, 100.0)
    ]
    for prediction in predictions:
        assert (prediction.low <= prediction.depth).all() and prediction.low.dtype == np.float32
        assert (prediction.depth <= prediction.high).all()
        assert prediction.high.shape == IMAGE.shape[:2]
    np.testing.assert_allclose(predictions[1].low, 2 * predictions[0].low, rtol=1e-5)
    assert [text for text in caplog.messages if "not calibrated" in text] == [
        "intervals are not calibrated: they lie between quantiles of the 3 samples, which often "
        "agree on what is wrong; calibrate the model with --mode=calibrate"
    ]


def test_quantiles_of_members_are_taken_in_log_depth():
    """Of 1, 4 and 16 m: the quantiles 1/4 and 3/4 lie in the middle between two."""
    members = np.float32([1, 4, 16]).reshape(1, 3, 1, 1)
    maps = sampling.summarize(members, interval=0.5)
    assert float(maps["low"][0, 0, 0]) == pytest.approx(2, rel=1e-5)
    assert float(maps["high"][0, 0, 0]) == pytest.approx(8, rel=1e-5)
    assert set(sampling.summarize(members)) == {"depth", "spread"}


def test_the_interval_of_one_sample_is_that_of_its_laplace_distribution():
    depth, scale = np.full((1, 1, 1, 1), 4, np.float32), np.full((1, 1, 1, 1), 0.1, np.float32)
    maps = sampling.summarize(depth, scale, interval=0.9)
    truth = 4 * np.exp(np.random.default_rng(0).laplace(0, 0.1, 100_000))
    ends = [float(maps[name][0, 0, 0]) for name in ("low", "high")]
    assert ends == pytest.approx(np.quantile(truth, [0.05, 0.95]), rel=0.01)
    assert "low" not in sampling.summarize(depth, scale)


def test_a_scale_widens_the_interval_between_members():
    """Of 1, 4 and 16 m at 0.5, with b of 0.1: sqrt of ln(2)^2 + (b ln(2))^2 mean(d^2) / 4^2."""
    members = np.float32([1, 4, 16]).reshape(1, 3, 1, 1)
    maps = sampling.summarize(members, np.full_like(members, 0.1), interval=0.5)
    half = np.log(2) * np.sqrt(1 + 0.01 * (1 + 16 + 256) / 3 / 16)
    assert float(maps["low"][0, 0, 0]) == pytest.approx(4 * np.exp(-half), rel=1e-5)
    assert float(maps["high"][0, 0, 0]) == pytest.approx(4 * np.exp(half), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interval": 0.8}, r"interval 0\.8: the calibration knows 0\.5, 0\.9"),
        ({"interval": 0.9, "ensemble": 3}, "was made with ensemble 1, not 3"),
        ({"interval": 0.9, "num_steps": 3}, "was made with num_steps 2, not 3"),
        ({"interval": 1.0}, "interval 1: must be between 0 and 1"),
        ({"interval": 0.9, "native_size": True}, "native_size: .* the model's image size; leave"),
    ],
)
def test_what_the_calibration_does_not_hold_for_is_refused(calibrated, options, message):
    with pytest.raises(UserError, match=message):
        calibrated(1)(IMAGE, **options)


def test_a_calibration_of_other_parameters_matters_only_to_intervals(calibrated, raw):
    variables = jax.tree.map(lambda leaf: leaf + 0.01, raw._variables)
    estimator = calibrated(1, variables=variables)
    estimator.check(Options())
    assert calibrated(1).is_calibrated(1, 2) and not estimator.is_calibrated(1, 2)
    with pytest.raises(UserError, match="was made for other parameters of the model"):
        estimator.check(Options(interval=0.9))


def test_a_damaged_calibration_matters_only_to_intervals(calibrated, tmp_path, caplog):
    estimator = calibrated(1)
    path = tmp_path / "calibration.json"
    found = path.read_text()
    path.write_text(found.replace("stretch", "stretched"))
    estimator.check(Options())
    with pytest.raises(UserError, match="is damaged"):
        estimator.check(Options(interval=0.9))
    assert not estimator.is_calibrated(1, 2)  # the page asks, and goes on
    assert "there are no intervals: " in caplog.text and "is damaged" in caplog.text


def test_a_model_says_for_which_samples_it_is_calibrated(calibrated, raw):
    estimator = calibrated(2)
    found = [estimator.is_calibrated(ensemble, steps) for ensemble, steps in ((2, 2), (1, 2))]
    assert found == [True, False] and not raw.is_calibrated(1, 2)


def test_one_sample_without_calibration_is_refused(raw):
    with pytest.raises(UserError, match=r"interval 0\.9: this model is not calibrated.*=calibrate"):
        raw.check(Options(interval=0.9))
    raw.check(dataclasses.replace(Options(interval=0.9), ensemble=2))
