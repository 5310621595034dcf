"""Losses by hand on arrays of a few numbers; masks, invalid targets and batches as promised."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffdepth_jax.method import losses

LOSSES = {
    "l1": losses.l1,
    "l2": losses.l2,
    "silog": losses.silog,
    "silog with lambda 1": functools.partial(losses.silog, scale_invariance=1.0),
    "pixel_as_printed": losses.pixel_as_printed,
    "gradient_matching": losses.gradient_matching,
    "crps of one sample": lambda log_depth, *truth: losses.crps(log_depth[:, None], *truth),
    "crps_pooled of one sample": lambda log_depth, *truth: losses.crps_pooled(
        log_depth[:, None], *truth
    ),
    # With b = 1/2: log 2b is 0, and the loss twice the absolute error.
    "laplace": lambda x, y, mask: losses.laplace(x, y, mask, jnp.full(x.shape, jnp.log(0.5))),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
SHAPE = (4, 3, 5, 1)


def normal(seed, shape=SHAPE):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def half_mask(seed=9, shape=SHAPE):
    return np.random.default_rng(seed).random(shape) < 0.5


def row(*values):
    """One image of one row, [1, 1, W, 1]."""
    return np.float32(values).reshape(1, 1, -1, 1)


def mean(pair):
    return float(pair[0] / pair[1])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        # delta = 1, -2, 4 over the three valid pixels: mean 1, mean of squares 7.
        (losses.l1, 7 / 3),
        (losses.l2, 7.0),
        (losses.silog, 7 - 0.85),
        (functools.partial(losses.silog, scale_invariance=0.5), 7 - 0.5),
        (functools.partial(losses.silog, scale_invariance=0.0), 7.0),
        (losses.pixel_as_printed, 7 + 0.85),
        (functools.partial(losses.pixel_as_printed, weight=0.5), 7 + 0.5),
    ],
)
def test_three_valid_pixels_by_hand(loss, expected):
    target, mask = row(2, 5, 1, 3), row(1, 1, 0, 1).astype(bool)
    total, count = loss(row(3, 3, 100, 7), target, mask)
    assert float(total) == pytest.approx(expected, rel=1e-6)
    assert int(count) == 1


@every_loss
def test_each_image_weighs_the_same_whatever_it_has_of_valid_pixels(loss):
    """One valid pixel of three and three of three: the mean of the images' own means."""
    prediction, target = np.concatenate([row(3, 9, 9), row(1, 2, 4)]), np.ones((2, 1, 3, 1))
    mask = np.concatenate([row(1, 0, 0), row(1, 1, 1)]).astype(bool)
    apart = [mean(loss(prediction[i : i + 1], target[i : i + 1], mask[i : i + 1])) for i in (0, 1)]
    assert mean(loss(prediction, target, mask)) == pytest.approx(sum(apart) / 2, rel=1e-6)


def test_silog_with_lambda_one_does_not_see_a_global_scale():
    target, mask = normal(0), half_mask()
    loss = LOSSES["silog with lambda 1"]
    expected = mean(loss(normal(1), target, mask))
    assert mean(loss(normal(1) + 0.7, target, mask)) == pytest.approx(expected, rel=1e-4)
    assert mean(losses.silog(normal(1) + 0.7, target, mask)) != pytest.approx(expected, rel=1e-2)


def test_silog_of_a_global_scale_is_its_squared_log_times_one_minus_lambda():
    pair = losses.silog(normal(0) + np.log(2), normal(0), half_mask())
    assert mean(pair) == pytest.approx(0.15 * np.log(2) ** 2, rel=1e-4)


def test_pixel_as_printed_of_a_constant_offset():
    pair = losses.pixel_as_printed(normal(0) + 3, normal(0), half_mask(), weight=0.85)
    assert mean(pair) == pytest.approx(9 * 1.85, rel=1e-5)


def test_silog_with_lambda_one_is_never_below_zero():
    """Errors of nearly one size: sum e^2 and (sum e)^2 / T, near 2,500, have 7 digits in common."""
    loss, mask = LOSSES["silog with lambda 1"], np.ones((1, 50, 50, 1), bool)
    target = np.zeros(mask.shape, np.float32)
    for seed in range(20):
        error = 1 + 1e-4 * normal(seed, mask.shape)
        value, gradient = jax.value_and_grad(lambda x: loss(x, target, mask)[0])(error)
        expected = np.var(error.astype(np.float64))
        assert float(value) == pytest.approx(expected, rel=1e-3)
        slope = 2 * (error - error.astype(np.float64).mean()) / error.size
        np.testing.assert_allclose(gradient, slope, atol=1e-3 * np.abs(slope).max())


def test_silog_with_lambda_one_of_a_constant_error_is_zero_with_a_gradient_of_zero():
    error, mask = np.full(SHAPE, 0.7, np.float32), half_mask()
    loss = LOSSES["silog with lambda 1"]
    value, gradient = jax.value_and_grad(lambda x: loss(x, np.zeros(SHAPE), mask)[0])(error)
    assert 0 <= float(value) < 1e-12
    np.testing.assert_allclose(gradient, np.zeros(SHAPE), atol=1e-6)


@every_loss
def test_a_perfect_prediction_costs_nothing(loss):
    assert float(loss(normal(0), normal(0), half_mask())[0]) == 0


def pairwise(prediction, target, mask):
    """Mean |e_i - e_j| over the valid pairs of one image, found one by one."""
    error = prediction.astype(np.float64) - target
    places = [(row, column) for row, column, _ in np.argwhere(mask)]
    found = [
        np.abs(error[first] - error[second])
        for first, second in itertools.combinations(places, 2)
        if 0 in (distance := np.abs(np.subtract(first, second))) and max(distance) in (1, 2, 4, 8)
    ]
    return np.mean(found)


def pooled(prediction, target, mask):
    """Of one image of 3x5 pixels: |mean error| of its two cells, by their pixels, and of all."""
    error = np.where(mask, prediction.astype(np.float64) - target, 0)
    sums = np.abs([error[:, :4].sum(), error[:, 4:].sum(), error.sum()])
    return sums.sum() / mask.sum() / 2


@every_loss
def test_values_equal_float64(loss):
    """The pairwise form: sum_i sum_j (e_i - e_j)^2 / 2T^2 is the variance, independent of means."""
    prediction, target, mask = normal(0), normal(1), half_mask()
    expected = 0.0
    for image in range(len(prediction)):
        delta = (prediction[image].astype(np.float64) - target[image])[mask[image]]
        variance = ((delta[:, None] - delta[None, :]) ** 2).mean() / 2
        square = (delta**2).mean()
        expected += {
            losses.l1: np.abs(delta).mean(),
            losses.l2: square,
            losses.silog: square - 0.85 * (square - variance),
            losses.pixel_as_printed: square + 0.85 * (square - variance),
            losses.gradient_matching: pairwise(prediction[image], target[image], mask[image]),
            LOSSES["laplace"]: 2 * np.abs(delta).mean(),
            LOSSES["crps of one sample"]: np.abs(delta).mean(),
            LOSSES["crps_pooled of one sample"]: pooled(
                prediction[image], target[image], mask[image]
            ),
        }.get(loss, variance)
    total, count = loss(prediction, target, mask)
    assert (float(total), int(count)) == (pytest.approx(expected, rel=1e-5), 4)


@every_loss
def test_no_gradient_reaches_a_prediction_outside_the_mask(loss):
    mask = half_mask()
    gradient = np.asarray(jax.grad(lambda x: loss(x, normal(1), mask)[0])(normal(0)))
    assert np.all(gradient[~mask] == 0)
    # A pixel's gradients of two pairs, or of two sizes of cells, may cancel.
    may_cancel = loss in (losses.gradient_matching, LOSSES["crps_pooled of one sample"])
    assert may_cancel or np.all(gradient[mask] != 0)
    assert np.mean(gradient[mask] != 0) > 0.5


@every_loss
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_invalid_targets_change_nothing(loss, value):
    prediction, target, mask = normal(0), normal(1), half_mask()
    value_and_grad = jax.value_and_grad(lambda x, y: loss(x, y, mask)[0])
    expected, expected_gradient = value_and_grad(prediction, target)
    total, gradient = value_and_grad(prediction, np.where(mask, target, np.float32(value)))
    assert total == expected
    np.testing.assert_array_equal(gradient, expected_gradient)


@every_loss
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_invalid_targets_give_the_target_no_gradient(loss, value):
    mask = half_mask()
    target = np.where(mask, normal(1), np.float32(value))
    gradient = np.asarray(jax.grad(lambda y: loss(normal(0), y, mask)[0])(target))
    assert np.all(gradient[~mask] == 0)
    assert np.all(np.isfinite(gradient))


@every_loss
def test_an_image_without_ground_truth_is_as_if_absent(loss):
    prediction, target, mask = normal(0), normal(1), half_mask()
    mask[2] = False
    kept = np.array([0, 1, 3])
    total, count = loss(prediction, target, mask)
    expected_total, expected_count = loss(prediction[kept], target[kept], mask[kept])
    assert float(total) == pytest.approx(float(expected_total), rel=1e-6)
    assert int(count) == int(expected_count) == 3


@every_loss
def test_a_batch_without_ground_truth_is_zero_with_zero_gradient(loss):
    mask, target = np.zeros(SHAPE, bool), np.full(SHAPE, np.nan, np.float32)
    total, count = loss(normal(0), target, mask)
    gradient = jax.grad(lambda x: loss(x, target, mask)[0])(normal(0))
    assert (float(total), int(count)) == (0, 0)
    np.testing.assert_array_equal(gradient, np.zeros(SHAPE))


@every_loss
@pytest.mark.parametrize("split", [1, 2, 3])
def test_pairs_of_parts_of_a_batch_add_up(loss, split):
    prediction, target, mask = normal(0), normal(1), half_mask()
    mask[0] = False
    parts = [
        loss(prediction[part], target[part], mask[part])
        for part in (slice(None, split), slice(split, None))
    ]
    total, count = loss(prediction, target, mask)
    assert float(total) == pytest.approx(sum(float(part[0]) for part in parts), rel=1e-6)
    assert int(count) == sum(int(part[1]) for part in parts)


@every_loss
def test_bfloat16_predictions_are_summed_in_float32(loss):
    """20,000 ones: bfloat16 cannot count beyond 256, float16 not beyond 65504."""
    prediction = jnp.full((1, 100, 200, 1), 2, jnp.bfloat16).at[0, :50].set(4)
    target, mask = np.ones((1, 100, 200, 1), np.float32), np.ones((1, 100, 200, 1), bool)
    total, _ = loss(prediction, target, mask)
    assert total.dtype == jnp.float32
    # delta is 3 and 1, half of each: mean 2, mean of squares 5.
    expected = {
        losses.l1: 2,
        losses.l2: 5,
        losses.silog: 5 - 0.85 * 4,
        losses.pixel_as_printed: 5 + 0.85 * 4,
        # Pairs across the edge differ by 2: 200 columns, and 1 + 2 + 4 + 8 of each; all pairs.
        losses.gradient_matching: 2 * 200 * 15 / (8 * 20_000 - 15 * 300),
        LOSSES["laplace"]: 2 * 2,
        LOSSES["crps of one sample"]: 2,
        LOSSES["crps_pooled of one sample"]: 2,
    }
    assert float(total) == pytest.approx(expected.get(loss, 1), rel=1e-5)


def test_latents_are_compared_over_all_channels_of_valid_cells():
    """T counts elements, so that d channels do not multiply the loss."""
    prediction, target = np.full((1, 2, 2, 8), 3.0, np.float32), np.ones((1, 2, 2, 8), np.float32)
    mask = np.broadcast_to(np.array([[[[True], [False]], [[False], [False]]]]), target.shape)
    assert mean(losses.l2(prediction, target, mask)) == pytest.approx(4)


# pairs of pixels


def test_gradient_matching_of_four_pixels_by_hand():
    """e = 1, -1, (none), 4: pairs 1 apart: 2; 2 apart: 5; none 3 apart, and none in a column."""
    target, mask = row(0, 0, 9, 0), row(1, 1, 0, 1).astype(bool)
    assert mean(losses.gradient_matching(row(1, -1, 5, 4), target, mask)) == pytest.approx(
        (2 + 5) / 2
    )


def test_gradient_matching_sees_both_axes_and_four_distances():
    """A plane in the rows' direction differs by the distance in each pair of a column."""
    height, width = 10, 12
    plane = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None, None], (height, width, 1))
    counts = {step: (height - step) * width for step in losses.DISTANCES}
    rows = sum(height * (width - step) for step in losses.DISTANCES)
    expected = sum(step * count for step, count in counts.items()) / (sum(counts.values()) + rows)
    found = losses.gradient_matching(
        plane[None], 0 * plane[None], np.ones((1, height, width, 1), bool)
    )
    assert mean(found) == pytest.approx(expected, rel=1e-6)


def test_gradient_matching_forgives_another_scale_and_an_image_of_one_pixel():
    error, mask = normal(0), half_mask()
    total, count = losses.gradient_matching(error + 3, 0 * error, mask)
    np.testing.assert_allclose(
        total, losses.gradient_matching(error, 0 * error, mask)[0], rtol=1e-5
    )
    one = np.zeros(SHAPE, bool)
    one[:, 0, 0] = True
    total, count = losses.gradient_matching(error, 0 * error, one)
    assert (float(total), int(count)) == (0, 4)


def ensemble(*rows):
    """Members of one image, [1, N, H, W, 1]."""
    return np.stack(rows, axis=1)


def test_crps_of_three_samples_by_hand():
    """|error| 1, 0, 3 at the one valid pixel; its pairs are 1, 2 and 3 apart."""
    members = ensemble(row(1, 9), row(2, 9), row(5, 9))
    score = losses.crps(members, row(2, 0), row(1, 0).astype(bool))
    assert mean(score) == pytest.approx(4 / 3 - (1 + 3 + 4) / 6)


def test_crps_of_one_sample_is_the_absolute_error():
    prediction, target, mask = normal(0), normal(1), half_mask()
    score = losses.crps(prediction[:, None], target, mask)
    assert mean(score) == pytest.approx(mean(losses.l1(prediction, target, mask)))


@pytest.mark.parametrize("number", [2, 4])
def test_crps_does_not_depend_on_the_number_of_samples(number):
    """Samples of N(0, 1) are scored as that distribution is, at y = 1 (Gneiting and Raftery)."""
    members = normal(2, (1, number, 400, 500, 1))
    target = np.ones((1, 400, 500, 1), np.float32)
    density, below = np.exp(-0.5) / np.sqrt(2 * np.pi), 0.8413447
    expected = 2 * below - 1 + 2 * density - 1 / np.sqrt(np.pi)
    assert mean(losses.crps(members, target, target > 0)) == pytest.approx(expected, abs=0.005)


def test_pooled_crps_by_hand():
    """One valid pixel of error 3 in a cell, five of error 1 in the other; then all six."""
    mask = np.zeros((1, 4, 8, 1), bool)
    mask[0, 0, 0], mask[0, 0, 4:], mask[0, 1, 4] = True, True, True
    prediction = np.where(mask, 1.0, np.nan).astype(np.float32)
    prediction[0, 0, 0] = -3
    score = losses.crps_pooled(prediction[:, None], np.zeros_like(prediction), mask)
    cells, picture = (3 + 5 * 1) / 6, (5 - 3) / 6
    assert mean(score) == pytest.approx((cells + picture) / 2)


def test_pooled_crps_wants_samples_that_differ_as_a_whole():
    """Truth is shifted as a whole. Samples that are shifted so have the better score."""
    shifts = normal(3, (200, 1, 1, 1))
    target = np.broadcast_to(shifts, (200, 16, 16, 1))
    whole = np.broadcast_to(normal(4, (200, 2, 1, 1, 1)), (200, 2, 16, 16, 1))
    single = normal(5, (200, 2, 16, 16, 1))
    mask = np.ones(target.shape, bool)
    scores = [[mean(loss(x, target, mask)) for x in (whole, single)] for loss in CRPS]
    assert scores[0][0] == pytest.approx(scores[0][1], abs=0.05)
    assert scores[1][0] < 0.8 * scores[1][1]


CRPS = (losses.crps, losses.crps_pooled)
# further outputs


def test_laplace_of_two_pixels_by_hand():
    """|e| = 1 and 3 with b = 1/2 and 2: 1 / (1/2) + log 1, and 3 / 2 + log 4."""
    target, mask, scale = row(1, 5, np.nan), row(1, 1, 0).astype(bool), np.log(row(0.5, 2, 1e-30))
    found = losses.laplace(row(2, 2, 0), target, mask, scale)
    assert mean(found) == pytest.approx((2 + 1.5 + np.log(4)) / 2, rel=1e-6)


def test_the_best_scale_is_the_mean_absolute_error():
    """Newton's method on the log of one scale for all residuals."""
    residuals, mask = normal(0)[:1], half_mask()[:1]

    def loss(s):
        return losses.laplace(residuals, 0 * residuals, mask, jnp.full(mask.shape, s))[0]

    log_scale = jnp.float32(0)
    for _ in range(8):
        log_scale -= jax.grad(loss)(log_scale) / jax.hessian(loss)(log_scale)
    expected = np.abs(residuals[mask]).mean()
    assert float(jnp.exp(log_scale)) == pytest.approx(expected, rel=1e-5)


def test_validity_by_hand():
    """Probabilities of a depth: 3/4 where there is one, 1/2 in a hole, 9/10 where it is unknown."""
    logit, mask = np.log(row(3, 1, 9)), row(1, 0, 0).astype(bool)
    found = losses.validity(logit, mask, row(0, 1, 0).astype(bool))
    assert mean(found) == pytest.approx(-(np.log(3 / 4) + np.log(1 / 2)) / 2, rel=1e-6)


@pytest.mark.parametrize("value", [0, 1e30, -1e30])
def test_what_is_neither_surface_nor_hole_does_not_teach_validity(value):
    mask, hole = half_mask(), half_mask(seed=8) & ~half_mask()
    mask[3], hole[3] = False, False
    known = mask | hole
    logit = np.where(known, normal(0), np.float32(value))
    loss = jax.value_and_grad(lambda x: losses.validity(x, mask, hole)[0])
    (total, gradient), expected = loss(logit), loss(normal(0))
    assert float(total) == float(expected[0]) and int(losses.validity(logit, mask, hole)[1]) == 3
    np.testing.assert_array_equal(gradient, expected[1])
    np.testing.assert_array_equal(gradient != 0, known)
    np.testing.assert_array_equal(gradient < 0, mask)


def test_the_loss_of_a_hopeless_logit_is_finite():
    ones = np.ones(SHAPE, bool)
    loss = jax.value_and_grad(lambda x: losses.validity(x, ones, ~ones)[0])
    total, gradient = loss(np.full(SHAPE, -1e4, np.float32))
    assert float(total) == 4e4 and np.isfinite(gradient).all()


def test_scale_shift_invariant_by_hand():
    """Less the medians, 3 and 2, over the mean sizes, 2 and 1: -1, 0, 1 and -1, 0, 1/2 or so."""
    mask = row(1, 1, 1, 0).astype(bool)
    pair = row(1, 3, 5, 9), row(1, 2, 3, np.nan)
    assert mean(losses.scale_shift_invariant(*pair, mask)) == pytest.approx(0, abs=1e-6)
    # -2, 0, 1 over 1 beside -1, 0, 1 over 2/3.
    pair = row(1, 3, 4, 9), row(1, 2, 3, np.nan)
    assert mean(losses.scale_shift_invariant(*pair, mask)) == pytest.approx((0.5 + 0.5) / 3)


def test_scale_and_shift_do_not_matter_and_a_power_does():
    """Also where predictions are constant: their size is not 0."""
    mask, target = half_mask(), np.exp(normal(1))
    found = [
        mean(losses.scale_shift_invariant(x, target, mask))
        for x in (3 * target + 2, target**3, np.ones_like(target))
    ]
    assert found[0] < 1e-5 and found[1] > 0.05 and found[2] == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_what_is_invalid_has_no_influence_on_a_standardised_loss(value):
    """Nor an image without ground truth, of which value and gradient are 0."""
    prediction, target, mask = normal(0), normal(1), half_mask()
    mask[2] = False
    loss = jax.value_and_grad(lambda x, y: losses.scale_shift_invariant(x, y, mask)[0])
    expected, expected_gradient = loss(prediction, target)
    total, gradient = loss(prediction, np.where(mask, target, np.float32(value)))
    assert total == expected > 0
    np.testing.assert_array_equal(gradient, expected_gradient)
    assert np.isfinite(gradient).all() and np.all(gradient[~mask] == 0)
    kept = np.array([0, 1, 3])
    pair = losses.scale_shift_invariant(prediction[kept], target[kept], mask[kept])
    assert float(total) == pytest.approx(float(pair[0]), rel=1e-6) and int(pair[1]) == 3
