"""Alignments: equal to numpy's least squares, blind to what they fit, and to nothing else."""

import numpy as np
import pytest

from diffdepth_jax.errors import UserError
from diffdepth_jax.evaluation.alignment import ALIGNMENTS, align, check_alignment

FITTED = [name for name in ALIGNMENTS if name != "none"]
SIZE = (30, 40, 1)


@pytest.fixture
def truth():
    return np.random.default_rng(0).uniform(1, 8, SIZE).astype(np.float32)


@pytest.fixture
def mask():
    return np.random.default_rng(1).random(SIZE) < 0.3


def _noisy(truth):
    noise = np.random.default_rng(2).normal(0, 0.2, SIZE)
    return (2.5 * truth * np.exp(noise)).astype(np.float32)


def _least_squares(prediction, truth, mask, name):
    """The same fit by numpy's solver, written down for each alignment apart."""
    p, g = (x[mask].astype(np.float64) for x in (prediction, truth))
    ones = np.ones_like(p)
    whole = prediction.astype(np.float64)

    def solve(columns, target):
        return np.linalg.lstsq(np.stack(columns, axis=1), target, rcond=None)[0]

    if name == "median":
        return np.median(g) / np.median(p) * whole
    if name == "scale":
        return solve([p], g)[0] * whole
    if name == "scale_shift":
        scale, shift = solve([p, ones], g)
        return scale * whole + shift
    if name == "scale_disparity":
        return whole / solve([1 / p], 1 / g)[0]
    if name == "scale_shift_disparity":
        scale, shift = solve([1 / p, ones], 1 / g)
        return 1 / (scale / whole + shift)
    if name == "scale_log":
        return np.exp(solve([ones], np.log(g) - np.log(p))[0]) * whole
    scale, shift = solve([np.log(p), ones], np.log(g))
    return np.exp(scale * np.log(whole) + shift)


@pytest.mark.parametrize("name", FITTED)
def test_the_fit_is_numpys_least_squares_over_the_mask(name, truth, mask):
    prediction = _noisy(truth)
    prediction[~mask] = np.random.default_rng(3).uniform(1, 99, (~mask).sum())
    found = align(prediction, truth, mask, name, "a")
    expected = _least_squares(prediction, truth, mask, name)
    assert np.max(np.abs(found / expected - 1)) < 1e-6


# What each alignment takes out: the truth, changed so, comes back.
CHANGES = {
    "scaled": lambda g: 3 * g,
    "scaled and shifted": lambda g: 0.2 * g - 0.1,
    "disparity scaled and shifted": lambda g: 1 / (2 / g + 0.3),
    "power of depth": lambda g: 2 * g**0.7,
}
BLIND_TO = {
    "median": {"scaled"},
    "scale": {"scaled"},
    "scale_disparity": {"scaled"},
    "scale_log": {"scaled"},
    "scale_shift": {"scaled", "scaled and shifted"},
    "scale_shift_disparity": {"scaled", "disparity scaled and shifted"},
    "scale_shift_log": {"scaled", "power of depth"},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", FITTED)
def test_an_alignment_undoes_its_own_change_and_no_other(name, change, truth, mask):
    changed = CHANGES[change](truth).astype(np.float32)
    found = align(changed, truth, mask, name, "a")
    error = np.mean(np.abs(found / truth - 1))
    assert error < 2e-6 if change in BLIND_TO[name] else error > 0.01


def test_pixels_without_a_prediction_are_not_fitted_and_stay_so(truth, mask):
    prediction = 2 * truth
    prediction[:5] = np.nan
    for name in FITTED:
        found = align(prediction, truth, mask, name, "a")
        np.testing.assert_allclose(found[5:], truth[5:], rtol=2e-6)
        assert np.isnan(found[:5]).all()


def test_a_disparity_that_comes_out_negative_is_infinitely_far():
    truth = np.array([1.0, 2.0, 4.0], np.float32).reshape(1, 3, 1)
    disparity = np.array([4.0, 2.0, -3.0], np.float32).reshape(1, 3, 1)
    mask = np.array([True, True, False]).reshape(1, 3, 1)
    found = align(1 / disparity, truth, mask, "scale_shift_disparity", "a")
    np.testing.assert_allclose(found.ravel(), [1, 2, np.inf], rtol=1e-6)


def test_the_best_fit_of_a_constant_is_the_mean_of_the_truth(truth, mask):
    found = align(np.full(SIZE, 3, np.float32), truth, mask, "scale_shift", "a")
    np.testing.assert_allclose(found, truth[mask].mean(), rtol=1e-6)


def test_none_changes_nothing(truth, mask):
    prediction = _noisy(truth)
    assert align(prediction, truth, mask, "none", "a") is prediction


def test_fewer_pixels_than_unknowns_are_named(truth):
    mask = np.zeros(SIZE, bool)
    assert align(truth, truth, mask, "scale_shift", "a") is truth
    mask[3, 4] = True
    np.testing.assert_allclose(align(2 * truth, truth, mask, "scale", "a"), truth, rtol=1e-6)
    message = "image room/7: evaluation.alignment scale_shift has 2 unknowns, but only 1 pixels"
    with pytest.raises(UserError, match=message):
        align(truth, truth, mask, "scale_shift", "room/7")


def test_an_unknown_alignment_is_named():
    with pytest.raises(
        UserError, match=r"evaluation\.alignment 'affine': must be one of none, med"
    ):
        check_alignment("affine")
