"""Calibrations of made-up predictions, and of a small model's directory."""

import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image

from diffdepth_jax.checkpoints.calibration import (
    Calibration,
    IntervalWidths,
    load_calibration,
    save_calibration,
)
from diffdepth_jax.checkpoints.model_directory import claim_directory
from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation import calibration, evaluator
from diffdepth_jax.evaluation.calibrated_scores import calibrated_scores
from diffdepth_jax.evaluation.calibration_fit import (
    LEVELS,
    Pixels,
    check_enough,
    conformal_quantile,
    fit_stretch,
    fit_widths,
)
from diffdepth_jax.evaluation.held_out_scores import cross_validate, reliability
from diffdepth_jax.evaluation.report import format_report
from diffdepth_jax.models.identity import parameters_identity
from tests.support import noisy_model, small_run

DEPTH = np.array([1.0, 3.0, 1.0, 3.0], np.float32)
SPREAD = np.array([0.0, 0.3, 0.2, 0.9], np.float32)
# Two bins of distance that meet at 2 m, and in the farther one two of spread that meet at 0.2.
WIDTHS = IntervalWidths([0.5, 0.9], [2.0], [[], [0.2]], [[[0.1], [0.2]], [[0.3, 0.4], [0.5, 0.6]]])


def _pixels(pictures=20, per_picture=1000, count=16, widths=(0.05, 0.2), shrink=1.0, seed=0):
    """Truth and members around a depth, both Gaussian; members are `shrink` times too close.

    The widths of the Gaussians differ from pixel to pixel. `count` 0: a single sample.
    """
    rng = np.random.default_rng(seed)
    n = pictures * per_picture
    centre, width = np.log(rng.uniform(1, 9, n)), rng.choice(widths, n)
    truth = np.exp(centre + width * rng.normal(size=n))
    picture = np.repeat(np.arange(pictures), per_picture)
    if not count:
        return Pixels(picture, truth, np.exp(centre), np.zeros(n), centre[None])
    members = centre + shrink * width * rng.normal(size=(count, n))
    low, depth, high = np.exp(np.percentile(members, (16, 50, 84), axis=0))
    return Pixels(picture, truth, depth, (high - low) / 2, members)


def _calibration(**fields):
    defaults = {
        "widths": WIDTHS,
        "stretch": 1.5,
        "ensemble": 2,
        "num_steps": 2,
        "parameters": parameters_identity({}),
        "description": "by hand",
        "held_out": {},
    }
    return Calibration(**{**defaults, **fields})


def test_widths_are_looked_up_by_distance_and_relative_spread():
    np.testing.assert_allclose(WIDTHS.half_width(DEPTH, SPREAD, 0.9), [0.2, 0.5, 0.2, 0.6])
    low, high = WIDTHS.interval(DEPTH, SPREAD, 0.5)
    np.testing.assert_allclose(low, DEPTH * np.exp([-0.1, -0.3, -0.1, -0.4]), rtol=1e-6)
    np.testing.assert_allclose(high, DEPTH * np.exp([0.1, 0.3, 0.1, 0.4]), rtol=1e-6)
    with pytest.raises(UserError, match=r"interval 0\.8: the calibration knows 0\.5, 0\.9"):
        WIDTHS.interval(DEPTH, SPREAD, 0.8)


def test_a_conformal_quantile_by_hand():
    """Of 9 errors the ceil(10 x level)-th; of too few the largest."""
    errors = np.array([9.0, 8, 7, 6, 5, 4, 3, 2, 1])
    assert [conformal_quantile(errors, level) for level in (0.5, 0.81, 0.95)] == [5, 9, 9]


@pytest.mark.parametrize("count", [2, 3, 16])
def test_the_stretch_brings_members_to_where_they_should_be(count):
    """Perfect ones stay; those that are four times too close are stretched four-fold."""
    assert fit_stretch(_pixels(count=count, per_picture=500)) == pytest.approx(1, abs=0.08)
    close = _pixels(count=count, per_picture=500, shrink=0.25, seed=1)
    # Few members have a median that is off, too: it is four times better here.
    assert fit_stretch(close) == pytest.approx(4, abs=0.9 if count < 16 else 0.25)


def test_without_spread_there_is_one_width_for_each_distance():
    """Half width at 0.9 of Gaussian errors of 0.1: 1.645 x 0.1."""
    pixels = _pixels(count=0, widths=(0.1,), per_picture=2000)
    assert fit_stretch(pixels) == 1
    widths = fit_widths(pixels)
    assert len(widths.distances) == 4 and widths.spreads == [[]] * 5
    half = np.array(widths.half_widths)[:, LEVELS.index(0.9), 0]
    np.testing.assert_allclose(half, 0.1645, rtol=0.05)


def test_widths_increase_with_spread_and_level():
    pixels = _pixels(shrink=0.3)
    widths = fit_widths(pixels)
    for rows in widths.half_widths:
        assert (np.diff(rows, axis=0) >= 0).all() and (np.diff(rows, axis=1) >= 0).all()
        assert np.shape(rows) == (len(LEVELS), 8)
        # The truth is 4 times more uncertain at the one end than at the other.
        assert 2.5 < rows[2][-1] / rows[2][0] < 6
    # Where the error decreases with the spread, all bins of spread are one.
    turned = dataclasses.replace(pixels, spread=pixels.depth * np.exp(-pixels.error))
    for rows in fit_widths(turned).half_widths:
        np.testing.assert_allclose(np.ptp(rows, axis=1), 0)
        inside = pixels.error <= rows[2][0]
        assert inside.mean() == pytest.approx(0.9, abs=0.02)


def test_few_pictures_have_few_bins():
    assert len(fit_widths(_pixels(pictures=4)).distances) == 0
    assert len(fit_widths(_pixels(pictures=20, per_picture=150)).distances) == 2
    (rows,) = fit_widths(_pixels(pictures=4, per_picture=300)).half_widths
    assert np.shape(rows) == (len(LEVELS), 2)
    with pytest.raises(UserError, match=r"^3 pictures .* at 3000 pixels are too few .* 4 pictures"):
        check_enough(_pixels(pictures=3))
    with pytest.raises(UserError, match="4 pictures with ground truth at 800 pixels are too few"):
        check_enough(_pixels(pictures=4, per_picture=200))


def test_what_was_left_out_is_covered_as_promised():
    scores = cross_validate(_pixels(shrink=0.25))
    drawn, one, calibrated = scores.values()
    for row in (one, calibrated):
        for level in LEVELS:
            found = row[f"coverage_{round(100 * level)}"]
            assert found == pytest.approx(level, abs=0.015)
        assert all(row[f"coverage_q{n}"] == pytest.approx(0.9, abs=0.03) for n in range(1, 6))
    assert drawn["coverage_90"] < 0.5 and drawn["images"] == 20
    assert calibrated["interval_score"] < 0.95 * one["interval_score"] < drawn["interval_score"]
    assert calibrated["crps"] < drawn["crps"] and one["crps"] is None
    assert reliability(scores)["one width"][2] == (0.9, one["coverage_90"])


def test_pictures_are_scored_by_fits_without_them():
    """The error of every second picture is tenfold: two folds never see the other kind."""
    pixels = _pixels(pictures=4, count=0, widths=(0.01,))
    far = np.where(pixels.picture % 2, 1.5, 1.0)
    scores = cross_validate(dataclasses.replace(pixels, truth=pixels.truth * far))
    assert list(scores) == ["one width", "calibrated"]
    assert scores["calibrated"]["coverage_90"] == pytest.approx(0.5, abs=0.01)


def test_scores_of_an_image_by_hand():
    """Half widths 0.2, 0.5, 0.2, 0.6 in log depth; the truth is 0.3 farther, once not valid."""
    mask = np.array([[True, True, True, False]])
    truth = (DEPTH * np.exp(np.float32(0.3)))[None]
    members = np.stack([DEPTH * 0.9, DEPTH / 0.9])
    maps = np.stack([DEPTH, SPREAD, 0 * DEPTH, *members])[:, None]
    scores = calibrated_scores(maps, truth, mask, _calibration())
    assert scores["calibrated_coverage"] == pytest.approx(1 / 3)
    expected = (2 * (0.4 + 20 * 0.1) + 1.0) / 3
    assert scores["calibrated_interval_score"] == pytest.approx(expected, rel=1e-4)
    d = -np.log(0.9)  # members at -d and d, stretched 1.5-fold: CRPS is max(0.3, d) - d / 2
    assert scores["uncalibrated_crps"] == pytest.approx(0.3 - d / 2, rel=1e-4)
    assert scores["calibrated_crps"] == pytest.approx(0.3 - 1.5 * d / 2, rel=1e-4)
    alone = calibrated_scores(maps[:1], truth, mask, _calibration())
    assert alone["calibrated_coverage"] == pytest.approx(1 / 3)
    assert alone["calibrated_crps"] == alone["uncalibrated_crps"] == pytest.approx(0.3, rel=1e-4)


def test_a_calibration_is_read_as_it_was_written(tmp_path):
    assert load_calibration(tmp_path) is None
    save_calibration(tmp_path, _calibration())
    assert load_calibration(tmp_path) == _calibration()
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]


@pytest.mark.parametrize(
    ("old", "new"), [("1.5", "1.6"), ("{", "("), ("checksum", "sum"), ('"stretch"', '"factor"')]
)
def test_a_damaged_calibration_is_refused(tmp_path, old, new):
    save_calibration(tmp_path, _calibration())
    path = tmp_path / "calibration.json"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=r"calibration\.json is damaged .*--mode=calibrate"):
        load_calibration(tmp_path)


def test_a_calibration_holds_for_its_own_parameters_and_samples(tmp_path):
    variables = {"params": {"kernel": np.ones(3, np.float32), "bias": np.zeros(2, np.float32)}}
    own = parameters_identity(variables)
    found = _calibration(parameters=own)
    found.check(tmp_path, own, 2, 2)
    with pytest.raises(UserError, match="was made with ensemble 2, not 3: use 2, or"):
        found.check(tmp_path, own, 3, 2)
    with pytest.raises(UserError, match="was made with num_steps 2, not 4: use 2, or"):
        found.check(tmp_path, own, 2, 4)
    variables["params"]["kernel"][1] = 1 + 1e-7
    with pytest.raises(UserError, match="was made for other parameters of the model"):
        found.check(tmp_path, parameters_identity(variables), 2, 2)


def _of_frames(monkeypatch, directory, frames, **overrides):
    """The configuration of a noisy model; all directories hold this model from now on."""
    config, made = noisy_model.evaluator(frames, **overrides)
    claim_directory(directory, config)
    for module in (calibration, evaluator):
        monkeypatch.setattr(module, "load_evaluator", lambda *_: (made, {}))
    return config


def test_a_directory_is_calibrated_and_its_intervals_are_scored(tmp_path, monkeypatch, caplog):
    """Members have a third of the noise that the truth has."""
    frames = noisy_model.frames(6, width=3 * noisy_model.WIDTH)
    config = _of_frames(monkeypatch, tmp_path, frames, evaluation__ensemble=8)
    text = calibration.calibrate(config, tmp_path)
    assert "coverage_90" in text and "5 pictures, 5000 pixels; protocol full" in text
    with Image.open(tmp_path / "calibration.png") as plot:
        assert plot.size == (600, 600)
    found = load_calibration(tmp_path)
    assert found.held_out["one width"]["images"] == 5
    # Of Gaussian members in pairs the CRPS is least at 2.90 for 32, 2.79 for 16 and 2.60 for 8.
    assert found.stretch == pytest.approx(2.6, abs=0.3)
    results = evaluator.evaluate_checkpoint(config, tmp_path)
    means = results["frames"]
    assert means["coverage"] < 0.5
    assert means["calibrated_coverage"] == pytest.approx(0.9, abs=0.02)
    assert means["calibrated_interval_score"] < means["interval_score"]
    assert means["calibrated_crps"] < means["uncalibrated_crps"]
    report = json.loads((tmp_path / "evaluation/frames.json").read_text())["means"]
    assert report["calibrated_crps"] == means["calibrated_crps"]
    header = (tmp_path / "evaluation/frames.csv").read_text().split("\n")[0]
    assert header.endswith("uncalibrated_crps")
    table = format_report(config, results).split("\n\n")[-1]
    assert table.split()[:2] == ["calibrated_coverage", "calibrated_interval_score"]
    assert "intervals are not scored" not in caplog.text


def test_intervals_of_other_samples_are_told_and_not_scored(tmp_path, monkeypatch, caplog):
    config = _of_frames(monkeypatch, tmp_path, noisy_model.frames(1))
    save_calibration(tmp_path, _calibration())
    means = evaluator.evaluate_checkpoint(config, tmp_path)["frames"]
    assert "calibrated_coverage" not in means
    assert "intervals are not scored: " in caplog.text and "ensemble 2, not 1" in caplog.text


def test_averaged_flips_are_neither_calibrated_nor_scored(tmp_path, monkeypatch, caplog):
    """For `predict` makes none."""
    config = _of_frames(monkeypatch, tmp_path, noisy_model.frames(1), evaluation__flip_average=True)
    with pytest.raises(UserError, match=r"evaluation\.flip_average: .* set it to False"):
        calibration.calibrate(config, tmp_path)
    own = _calibration(ensemble=1, num_steps=1)
    save_calibration(tmp_path, own)
    means = evaluator.evaluate_checkpoint(config, tmp_path)["frames"]
    assert "calibrated_coverage" not in means
    assert "they do not hold for evaluation.flip_average" in caplog.text


def test_a_single_sample_is_calibrated_too(tmp_path, monkeypatch):
    """Truth and sample differ by the noise of both: half width 1.645 x 0.1 x sqrt(2)."""
    config = _of_frames(monkeypatch, tmp_path, noisy_model.frames(6))
    calibration.calibrate(config, tmp_path)
    found = load_calibration(tmp_path)
    assert found.stretch == 1 and found.widths.spreads == [[]]
    half = found.widths.half_widths[0][LEVELS.index(0.9)]
    assert half == pytest.approx([0.1645 * 2**0.5], rel=0.05)
    means = evaluator.evaluate_checkpoint(config, tmp_path)["frames"]
    assert means["calibrated_coverage"] == pytest.approx(0.9, abs=0.02) and "crps" not in means


def test_too_few_pictures_are_told_and_leave_nothing(tmp_path, monkeypatch):
    config = _of_frames(monkeypatch, tmp_path, noisy_model.frames(3))
    with pytest.raises(UserError, match=r"^2 pictures with ground truth"):
        calibration.calibrate(config, tmp_path)
    assert not (tmp_path / "calibration.json").exists()


def test_aligned_depth_is_not_calibrated(tmp_path, monkeypatch):
    config = _of_frames(monkeypatch, tmp_path, noisy_model.frames(8))
    fields = dataclasses.replace(config.evaluation, alignment="median")
    with pytest.raises(UserError, match="alignment median of protocol"):
        calibration.calibrate(dataclasses.replace(config, evaluation=fields), tmp_path)


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ({"sampler__eta": 0.5, "sampler__num_steps": 3}, r"\(sampler\.eta differ\)"),
        ({"frame__max_depth": 70.0}, r"\(frame\.max_depth differ\)"),
        ({"model__sharpen": 1}, r"\(model\.sharpen differ\)"),
    ],
)
def test_another_sampler_or_frame_is_neither_calibrated_nor_scored(
    tmp_path, monkeypatch, caplog, overrides, names
):
    """For `predict` takes those of the directory. It may be given another number of steps."""
    own = _of_frames(monkeypatch, tmp_path, noisy_model.frames(1))
    save_calibration(tmp_path, _calibration(ensemble=1, num_steps=own.sampler.num_steps))
    assert "calibrated_coverage" in evaluator.evaluate_checkpoint(own, tmp_path)["frames"]
    other = small_run.config(**{**noisy_model.FIELDS, **overrides})
    with pytest.raises(UserError, match=names):
        calibration.calibrate(other, tmp_path)
    steps = other.sampler.num_steps
    save_calibration(tmp_path, _calibration(ensemble=1, num_steps=steps))
    means = evaluator.evaluate_checkpoint(other, tmp_path)["frames"]
    assert "calibrated_coverage" not in means
    assert re.search(f"intervals are not scored: .*{names}", caplog.text)
