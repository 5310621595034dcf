"""Scores of ensembles that are known: in closed form, or for draws of a known distribution."""

import csv
import json
import math

import jax
import numpy as np
import pytest
import scipy.stats

from diffdepth_jax.evaluation import scoring, uncertainty, uncertainty_report
from diffdepth_jax.evaluation.predictors import model_predictor
from diffdepth_jax.evaluation.protocols import create_protocol
from diffdepth_jax.evaluation.report import format_report
from diffdepth_jax.evaluation.uncertainty_report import create_score_maps
from diffdepth_jax.prediction.sampling import summarize
from tests.support import noisy_model, small_run

RNG = np.random.default_rng


def _normal(*shape, seed=0):
    return RNG(seed).normal(size=shape)


@pytest.mark.parametrize(("count", "expected"), [(16, 0.805), (2000, 0.9)])
def test_coverage_of_a_perfect_ensemble(count, expected):
    """Interpolated quantiles of few draws lie too far inside."""
    members, truth = _normal(count, 4000), _normal(4000, seed=1)
    low, high = uncertainty.quantile_interval(members, 0.9)
    assert uncertainty.is_covered(low, high, truth).mean() == pytest.approx(expected, abs=0.02)


def test_coverage_of_sixteen_uniform_draws():
    """The quantiles lie 3/4 between the first two and the last two: 1 - 2 x 1.75 / 17."""
    truth, *members = RNG(0).random((17, 40000))
    low, high = uncertainty.quantile_interval(np.array(members), 0.9)
    covered = uncertainty.is_covered(low, high, truth).mean()
    assert covered == pytest.approx(1 - 3.5 / 17, abs=0.01)


def test_interval_score_by_hand():
    """Width 2; outside by 0.5 below and by 1 above, which count 20-fold at the level 0.9."""
    truth = np.array([0.0, -1.5, 2.0])
    score = uncertainty.interval_score(np.full(3, -1.0), np.full(3, 1.0), truth, 0.9)
    np.testing.assert_allclose(score, [2, 2 + 20 * 0.5, 2 + 20 * 1])


def test_fair_crps_of_gaussian_members_is_that_of_the_gaussian():
    """Gneiting and Raftery 2007, eq. 21: z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)."""
    for z in (0.0, 1.5):
        density = math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        expected = z * math.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi)
        crps = uncertainty.fair_crps(_normal(20, 20000), np.full(20000, z)).mean()
        assert crps == pytest.approx(expected, abs=0.01)


def test_fair_crps_does_not_depend_on_the_number_of_members():
    """1 / sqrt(pi) for draws of the truth's own Gaussian; the plain one is larger for few."""
    truth = _normal(40000, seed=1)
    for count in (2, 16):
        members = _normal(count, len(truth))
        fair = uncertainty.fair_crps(members, truth).mean()
        assert fair == pytest.approx(1 / math.sqrt(math.pi), abs=0.01)
        plain = uncertainty.crps(members, truth).mean()
        assert plain == pytest.approx((1 + 1 / count) / math.sqrt(math.pi), abs=0.01)


def test_fair_crps_of_antithetic_pairs_is_that_of_independent_members():
    """The plain mean over all pairs would be too low: the two of a pair are too far apart."""
    half, truth = _normal(2, 40000), _normal(40000, seed=1)
    members = np.stack([half[0], -half[0], half[1], -half[1]])
    fair = uncertainty.fair_crps(members, truth).mean()
    assert fair == pytest.approx(1 / math.sqrt(math.pi), abs=0.01)


def test_crps_by_hand():
    """Members 0 and 1, truth 0.25: mean error 1/2; pairs 0, 1, 1, 0."""
    members, truth = np.array([[0.0], [1.0]]), np.array([0.25])
    np.testing.assert_allclose(uncertainty.crps(members, truth), 1 / 2 - 1 / 4)
    np.testing.assert_allclose(uncertainty.fair_crps(members, truth), 1 / 2 - 1 / 2)


def test_cells_are_means_of_their_valid_pixels():
    values, mask = np.arange(12.0).reshape(1, 3, 4), np.ones((3, 4), bool)
    mask[:2, 2:] = False  # a whole cell
    mask[2, 0] = False
    # Cells of 2 x 2: 0, 1, 4, 5; none; 9; 10, 11.
    np.testing.assert_allclose(uncertainty.pooled(values, mask, 2), [[2.5, 9, 10.5]])


def test_sparsification():
    error = RNG(0).random(5000)
    assert uncertainty.ause(error**2, error) == pytest.approx(0, abs=1e-12)
    # The mean of the pixels left is 1/2 in any order, and f / 2 where a fraction f is left.
    assert uncertainty.ause(RNG(1).random(5000), error) == pytest.approx(0.5, abs=0.03)
    assert uncertainty.ause(np.zeros(5000), np.sort(error)) == pytest.approx(0.5, abs=0.03)
    assert uncertainty.ause(-error, error) == pytest.approx(1.0, abs=0.03)
    assert uncertainty.ause(error, np.zeros(5000)) == 0


def test_rank_correlation_is_spearmans_also_of_equal_values():
    first, second = RNG(0).integers(0, 9, (2, 200))
    expected = scipy.stats.spearmanr(first, second + first).statistic
    assert uncertainty.rank_correlation(first, second + first) == pytest.approx(expected)


def test_rank_correlation_and_its_ceiling():
    """Truth and members from Gaussians of the same widths: the correlation reaches the ceiling."""
    assert uncertainty.rank_correlation(np.arange(5), np.arange(5) ** 3) == pytest.approx(1)
    assert np.isnan(uncertainty.rank_correlation(np.zeros(5), np.arange(5)))
    width = np.exp(_normal(20000, seed=2))
    members, truth = width * _normal(17, 20000), width * _normal(20000, seed=1)
    error = np.abs(np.median(members[1:], axis=0) - truth)
    found = uncertainty.rank_correlation(uncertainty.spread_of(members[1:]), error)
    assert 0.4 < found < 0.8
    assert uncertainty.rank_ceiling(members) == pytest.approx(found, abs=0.02)
    assert np.isnan(uncertainty.rank_ceiling(members[:2]))


def test_an_image_is_scored_at_its_valid_pixels():
    truth = RNG(0).uniform(1, 10, (24, 32))
    mask = RNG(1).random(truth.shape) < 0.5
    members = np.exp(np.log(truth) + 0.1 * (_normal(8, 24, 32) + _normal(24, 32, seed=3)))
    maps = np.stack([np.median(members, axis=0), RNG(4).random(truth.shape), 0 * truth, *members])
    scores = uncertainty.image_scores(maps, truth, mask)
    assert all(np.isfinite(scores[name]) for name in uncertainty.IMAGE_NAMES)
    other = np.where(mask, maps, 99.0), np.where(mask, truth, np.nan)
    assert uncertainty.image_scores(*other, mask) == scores
    assert sum(pixels for _, pixels, _ in scores["distances"]) == mask.sum()
    covered = sum(inside for *_, inside in scores["distances"])
    assert covered / mask.sum() == pytest.approx(scores["coverage"])
    # Errors of pixels cancel in means, so that larger areas have lower scores.
    assert scores["crps"] > scores["crps_8x8"] > scores["crps_image"]
    none = uncertainty.image_scores(maps, truth, np.zeros_like(mask))
    assert all(np.isnan(none[name]) for name in uncertainty.IMAGE_NAMES)


def _row(coverage, spread, error, distances):
    row = dict.fromkeys(uncertainty.IMAGE_NAMES, np.nan)
    return row | {
        "coverage": coverage,
        "mean_spread": spread,
        "mean_error": error,
        "distances": distances,
    }


def test_a_set_by_hand():
    """Three images; 100 pixels in ten bins, of which each fifth takes two."""
    counts = [[n, 10, n // 2 * 2] for n in range(300, 310)]
    rows = [_row(0.5, 1, 1, counts[:4]), _row(0.7, 2, 3, counts[4:]), _row(0.9, 3, 2, [])]
    rows[2]["distances"] = [[300, 0, 0]]
    means = uncertainty_report.over_images(rows)
    assert means["coverage"] == pytest.approx(0.7) and means["crps"] is None
    assert means["image_rank"] == pytest.approx(0.5)
    assert (means["coverage_p10"], means["coverage_p90"]) == pytest.approx((0.54, 0.86))
    expected = [30.0, 30.2, 30.4, 30.6, 30.8]
    assert [means[f"coverage_q{n}"] for n in range(1, 6)] == pytest.approx(expected)
    ends = uncertainty.DISTANCES[[301, 303, 305, 307, 309]]
    assert [means[f"to_q{n}"] for n in range(1, 6)] == pytest.approx(ends)


def test_fifths_without_pixels_have_no_value():
    means = uncertainty_report.over_images([_row(0.5, 1, 1, [[300, 10, 5]])])
    assert [means[f"coverage_q{n}"] for n in range(1, 6)] == [None, None, 0.5, None, None]
    assert means["image_rank"] is None


@pytest.mark.parametrize(("ensemble", "b"), [(5, None), (5, 0.3), (1, 0.3)])
def test_evaluation_scores_the_spread_and_the_interval_that_prediction_writes(ensemble, b):
    """Beside the depth that the same predictor says without members."""
    metres = RNG(0).uniform(1, 9, (ensemble, 4, 6, 1)).astype(np.float32)
    scale = None if b is None else RNG(1).uniform(0, b, metres.shape).astype(np.float32)
    learned = metres if b is None else np.concatenate([metres, 2**0.5 * scale * metres], axis=-1)
    sample = {"image": np.zeros((4, 6, 3), np.float32), "content": np.array([3, 5])}

    def predict(**options):
        step, key = (lambda *_: learned), jax.random.key(0)
        return model_predictor(step, {}, key, 1, ensemble=ensemble, **options)([sample], 0)[0]

    maps = predict(members=True)
    members = np.moveaxis(metres[:, :3, :5, 0], 0, -1)
    np.testing.assert_array_equal(maps[..., :1], predict())
    np.testing.assert_array_equal(maps[..., 3:], members if ensemble > 1 else members[..., :0])
    written = summarize(metres[None, ..., 0], None if b is None else scale[None, ..., 0], 0.9)
    depth, spread, low, high = (
        np.asarray(written[name][0, :3, :5]) for name in ("depth", "spread", "low", "high")
    )
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps[..., 1], spread, rtol=1e-5)

    truth = RNG(2).uniform(1, 9, depth.shape)
    scores = uncertainty.image_scores(np.moveaxis(maps, -1, 0), truth, truth > 0)
    covered, error = (low <= truth) & (truth <= high), np.abs(np.log(depth) - np.log(truth))
    assert 0 < scores["coverage"] < 1 and scores["coverage"] == pytest.approx(covered.mean())
    columns = (spread / depth).ravel(), error.ravel()
    assert scores["spread_rank"] == pytest.approx(uncertainty.rank_correlation(*columns))
    assert scores["ause"] == pytest.approx(uncertainty.ause(*columns), rel=1e-4)
    assert np.isnan(scores["crps"]) == (ensemble == 1)


def test_an_ensemble_is_scored_beside_its_median(tmp_path):
    config, evaluator = noisy_model.evaluator(noisy_model.frames(4), evaluation__ensemble=4)
    results = evaluator.evaluate({}, directory=tmp_path)
    means = json.loads((tmp_path / "frames.json").read_text())["means"]
    assert means == results["frames"] and means["images"] == 3
    assert 0 < means["crps"] < 1 and 0 <= means["coverage"] <= 1
    with open(tmp_path / "frames.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["ause"]) > 0 and rows[1]["crps"] == ""
    table = format_report(config, results | {"frames: mean map": _of_one_sample(results)})
    first, second = table.split("\n\n")[-2:]
    assert first.split("\n")[0].split() == [*uncertainty_report.TABLES[0], "images"]
    assert len(first.split("\n")) == 2  # none of the baseline
    assert second.split("\n")[0].split()[:2] == ["coverage_p10", "coverage_p90"]
    # The usual scores are those of the median alone.
    alone = evaluator.scorer.score("frames", evaluator.predictor({}))
    assert evaluator.scorer.means("frames", alone).items() <= means.items()


def _of_one_sample(results):
    names = {name for table in uncertainty_report.TABLES for name in table}
    return {name: value for name, value in results["frames"].items() if name not in names}


def test_a_single_sample_has_no_such_scores(tmp_path):
    config, evaluator = noisy_model.evaluator(noisy_model.frames(2))
    results = evaluator.evaluate({}, directory=tmp_path)
    assert "crps" not in results["frames"] and "crps" not in format_report(config, results)
    assert "crps" not in (tmp_path / "frames.csv").read_text()


@pytest.mark.parametrize(("metres", "error"), [(3.0, math.log(3 / 2)), (0.0, math.log(2 / 1.9))])
def test_members_are_resized_and_clamped(metres, error):
    """Three members that say the same of truth of 2 m; the protocol's least depth is 1.9 m."""
    depth = np.full((*small_run.SIZE, 1), 2.0, np.float32)
    frame = {"image": np.zeros((*small_run.SIZE, 3), np.uint8), "depth": depth, "mask": depth > 0}
    maps = np.full((16, 24, 3 + 3), metres, np.float32)
    protocol = create_protocol("full", 1.9, 80.0)
    fields = {"protocol": protocol, "score_maps": create_score_maps(True, None)}
    (image,) = scoring.score_images(lambda *_: [maps], [[frame]], **fields)
    assert image.values["crps"] == pytest.approx(error, rel=1e-4)
    assert image.values["valid"] == sum(n for _, n, _ in image.values["distances"])
