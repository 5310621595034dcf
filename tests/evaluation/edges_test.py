"""Scores at edges, worked out by hand and pair by pair."""

import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.evaluation import edges, metrics

SHAPE = (1, 6, 8, 1)
EVERYWHERE = np.ones(SHAPE, bool)
FLAT = np.ones(SHAPE, np.float32)


def step_image(column, near=1.0, far=2.0):
    """Metres [1, 6, 8, 1]: near up to a column, far from it on."""
    depth = np.full(SHAPE, near, np.float32)
    depth[:, :, column:] = far
    return depth


def smooth(depth):
    """Each pixel is the mean of itself and its two neighbours in the row."""
    padded = np.pad(depth, ((0, 0), (0, 0), (1, 1), (0, 0)), mode="edge")
    return (padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]) / 3


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (step_image(4), 1),
        (7 * step_image(4), 1),  # scale does not matter
        (step_image(5), 0),  # off by one pixel
        (FLAT, 0),
        (step_image(4, near=2.0, far=1.0), 0),  # the other side is in front
    ],
)
def test_boundary_f1_of_a_step_by_hand(prediction, expected):
    f1 = edges.boundary_f1(prediction, step_image(4), EVERYWHERE)
    assert f1 == pytest.approx([expected])


def test_boundary_f1_of_half_an_edge_and_of_a_low_step():
    half = step_image(4)
    half[:, 3:] = 1
    # Three pairs found of six; the half's own lower end is an edge of four pairs that is not there.
    f1 = edges.boundary_f1(half, step_image(4), EVERYWHERE)
    assert f1 == pytest.approx([2 * 3 / (3 + 4 + 6)])
    low = step_image(4, far=1.1)  # of ten thresholds 1.05, 1.072, 1.094 are below 1.1
    expected = edges.THRESHOLDS[:3].sum() / edges.THRESHOLDS.sum()
    assert edges.boundary_f1(low, step_image(4), EVERYWHERE) == pytest.approx([expected])


def test_a_blurred_prediction_has_a_lower_f1_and_a_larger_error():
    """A step of 2 becomes 1, 4/3, 5/3, 2: three edges in a row, one of them true."""
    depth, blurred = step_image(4), smooth(step_image(4))
    assert blurred[0, 0, :, 0] == pytest.approx([1, 1, 1, 4 / 3, 5 / 3, 2, 2, 2])
    # The ratio 4/3 is above all thresholds, 5/4 above nine, 6/5 above seven (the next is 1.2056).
    # The true edge lies at the pair with 5/4. Found are 3, 2 or 1 edges in a row.
    counts = np.array([3] * 7 + [2] * 2 + [1])
    f1 = np.where(edges.THRESHOLDS < 1.2499, 2 / (counts + 1), 0)
    expected = np.average(f1, weights=edges.THRESHOLDS)
    assert edges.boundary_f1(blurred, depth, EVERYWHERE) == pytest.approx([expected], rel=1e-5)
    # At the two pixels 4/3 for 1, and 5/3 for 2.
    error = edges.edge_abs_rel(blurred, depth, EVERYWHERE)
    assert error == pytest.approx([(1 / 3 + 1 / 6) / 2])


def test_what_is_not_valid_is_ignored_and_without_edges_there_is_no_value():
    mask = EVERYWHERE.copy()
    mask[:, :, 4] = False
    depth = np.where(mask, step_image(4), np.nan)
    for score in (edges.boundary_f1, edges.edge_abs_rel):
        assert np.isnan(score(step_image(5), depth, mask))
        assert np.isnan(score(step_image(4), FLAT, EVERYWHERE))
        assert np.isnan(score(step_image(4), step_image(4), ~EVERYWHERE))


def test_error_at_edges_counts_both_sides_of_an_edge():
    prediction = step_image(4)
    prediction[:, :, 3] *= 1.5
    prediction[:, :, 0] *= 9  # far from the edge
    strip = edges.edge_strip(step_image(4), EVERYWHERE)
    assert strip[0, 0, :, 0].nonzero()[0].tolist() == [3, 4]
    turned = edges.edge_strip(step_image(4).transpose(0, 2, 1, 3), EVERYWHERE.reshape(1, 8, 6, 1))
    np.testing.assert_array_equal(turned[0, :, :, 0], strip[0, :, :, 0].T)
    error = edges.edge_abs_rel(prediction, step_image(4), EVERYWHERE)
    assert error == pytest.approx([0.25])


def pairs(height, width):
    """Every pair of neighbouring pixels, in rows and in columns."""
    for row in range(height):
        for column in range(width):
            for other in ((row, column + 1), (row + 1, column)):
                if other[0] < height and other[1] < width:
                    yield (row, column), other


def f1_pair_by_pair(prediction, depth, mask):
    """Of one image [H, W], as the docstring says it; which of two pixels is farther is +1 or -1."""
    valid = [(a, b) for a, b in pairs(*depth.shape) if mask[a] and mask[b]]

    def edges_of(x, t):
        return [(x[b] > t * x[a]) - 1 * (x[a] > t * x[b]) for a, b in valid]

    total = weights = 0
    for t in edges.THRESHOLDS:
        found, true = edges_of(prediction, t), edges_of(depth, t)
        if any(true):
            matched = sum(x == y != 0 for x, y in zip(found, true, strict=True))
            precision = matched / max(sum(map(abs, found)), 1)
            recall = matched / sum(map(abs, true))
            total += t * 2 * precision * recall / max(precision + recall, 1e-9)
            weights += t
    return total / weights


def random_maps(sigma=0.15):
    """Three images; 9 in 10 pixels are valid, the others nan."""
    rng = np.random.default_rng(0)
    depth = np.exp(rng.normal(0, sigma, (3, 9, 7, 1))).astype(np.float32)
    prediction = depth * np.exp(rng.normal(0, sigma / 2, depth.shape)).astype(np.float32)
    mask = rng.random(depth.shape) < 0.9
    return prediction, np.where(mask, depth, np.nan), mask


def test_every_images_f1_is_that_of_its_pairs_one_by_one():
    prediction, depth, mask = random_maps()
    found = edges.boundary_f1(prediction, depth, mask)
    images = zip(prediction[..., 0], depth[..., 0], mask[..., 0], strict=True)
    expected = [f1_pair_by_pair(*image) for image in images]
    assert found == pytest.approx(expected, rel=1e-5)
    assert len({*expected}) == 3 and 0.2 < min(expected) < max(expected) < 0.9


@pytest.mark.parametrize(
    ("fraction", "dense"), [(1.0, True), (0.95, True), (0.7, False), (0.35, False), (0.04, False)]
)
def test_scattered_pixels_are_not_dense(fraction, dense):
    """Of pairs with a valid pixel p / (2 - p) have two: 0.90 of 95 %, 0.54 of 70 %."""
    mask = np.random.default_rng(0).random((2, 40, 50, 1)) < fraction
    assert edges.is_dense(mask).tolist() == [dense] * 2


def test_a_third_of_a_picture_under_the_sky_is_dense():
    mask = np.zeros((1, 60, 80, 1), bool)
    mask[:, 40:] = True
    assert edges.is_dense(mask).tolist() == [True]


def test_an_image_has_all_scores_or_none():
    """A step of 2; a step of 1.1, which is an edge at low thresholds only; sparse truth; none."""
    sparse = EVERYWHERE.copy()
    sparse[:, ::2, ::3] = False
    sparse[:, 1::2] = False
    depth = np.concatenate([step_image(4), step_image(4, far=1.1), step_image(4), step_image(4)])
    mask = np.concatenate([EVERYWHERE, EVERYWHERE, sparse, ~EVERYWHERE])
    scores = edges.edge_scores(3 * depth, depth, depth, mask, mask)
    assert list(scores) == list(edges.NAMES)
    assert scores["boundary_f1"][0] == 1
    assert scores["edge_abs_rel"][0] == pytest.approx(2)
    assert scores["aligned_edge_abs_rel"][0] == 0
    for values in scores.values():
        assert np.isfinite(values).tolist() == [True, False, False, False]


def test_scores_of_scaled_predictions_after_alignment_are_those_of_the_prediction():
    prediction, depth, mask = random_maps()
    once, twice = (metrics.align_median(x, depth, mask) for x in (prediction, 2 * prediction))
    np.testing.assert_allclose(twice, once, rtol=1e-6)
    scores = [edges.edge_scores(x, x, depth, mask, mask) for x in (once, twice)]
    for name in edges.NAMES:
        np.testing.assert_allclose(scores[1][name], scores[0][name], rtol=1e-5)
    assert jnp.isfinite(scores[0]["boundary_f1"]).all()
