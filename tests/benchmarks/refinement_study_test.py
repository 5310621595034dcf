"""The rows of the study are valid, and its competitors are what they say, on made-up pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.refinement_study import competitors, rows, unet
from benchmarks.refinement_study.competitors import Picture

SIZE = (24, 32)


@pytest.mark.parametrize("name", rows.ROWS)
def test_every_row_is_a_valid_configuration_that_sees_as_many_images(name):
    row = rows.ROWS[name]
    config = rows.create_config(row, 3, "somewhere" if row.start else "")
    assert config.seed == 3
    assert config.train.num_steps == (rows.LATE_STEPS if row.start else rows.NUM_STEPS)
    if row.start:
        assert rows.ROWS[row.start].kind == "feed_forward"


def test_the_unet_keeps_the_size():
    image = jnp.zeros((2, 32, 48, 3))
    network = unet.UNet()
    log_depth = jax.eval_shape(lambda: network.init_with_output(jax.random.key(0), image)[0])
    assert log_depth.shape == (2, 32, 48, 1)


def pictures(count, seed=0):
    """Errors of 10 % in the upper half and of 40 % in the lower one, drawn anew in each pixel."""
    rng = np.random.default_rng(seed)
    scale = np.where(np.arange(SIZE[0]) < 12, 0.1, 0.4)[:, None] * np.ones(SIZE)
    found = []
    for index in range(count):
        depth = rng.uniform(0, 2, SIZE)
        truth = depth + scale * rng.laplace(size=SIZE)
        predictions = {
            "feed_forward": depth[None],
            "laplace": np.stack([depth, np.log(scale)]),
            "samples": depth + scale * rng.laplace(size=(competitors.MEMBERS, *SIZE)),
            "from_nothing": depth + scale * rng.laplace(size=(competitors.MEMBERS, 1, 1)),
            "flips": depth + 0.01 * rng.normal(size=(2, *SIZE)),
            "seeds": depth + 0.01 * rng.normal(size=(3, *SIZE)),
        }
        kind = ("rooms", "streets")[index % 2]
        found.append(Picture(kind, truth, rng.random(SIZE) < 0.9, predictions))
    return found


@pytest.fixture(scope="module")
def summaries():
    fitted, scored = pictures(60), pictures(10, seed=1)
    every = competitors.competitors(fitted)
    rows = {name: list(competitors.score(one, fitted, scored)) for name, one in every.items()}
    return rows, {name: competitors.summary(scores) for name, scores in rows.items()}


def test_intervals_of_every_competitor_cover_as_much_as_they_say(summaries):
    for name, scores in summaries[1].items():
        assert scores["coverage"] == pytest.approx(0.9, abs=0.02), name


def test_who_knows_the_scale_of_each_pixel_has_the_best_scores(summaries):
    scores = summaries[1]
    for name in ("laplace", "samples", "row"):
        assert scores[name]["crps"] < 0.97 * scores["one_width"]["crps"]
        assert scores[name]["interval_score"] < 0.95 * scores["one_width"]["interval_score"]
    assert scores["samples"]["stretch"] == pytest.approx(1, abs=0.05)
    assert scores["laplace"]["stretch"] == pytest.approx(1, abs=0.05)


def test_errors_of_independent_pixels_cancel_in_cells_and_those_that_go_together_do_not(summaries):
    scores = summaries[1]
    assert scores["laplace"]["crps_8x8"] < 0.8 * scores["laplace_together"]["crps_8x8"]


def test_spread_is_ranked_beside_its_ceiling(summaries):
    samples = summaries[1]["samples"]
    assert samples["spread_rank"] == pytest.approx(samples["spread_rank_ceiling"], abs=0.05)
    assert samples["spread_rank"] > 0.3


def test_a_ratio_of_paired_scores_has_an_interval(summaries):
    rows = summaries[0]
    same = competitors.paired_ratio(rows["row"], rows["row"], "crps")
    assert same == {"ratio": 1.0, "low": 1.0, "high": 1.0}
    better = competitors.paired_ratio(rows["row"], rows["one_width"], "crps")
    assert better["low"] < better["ratio"] < better["high"] < 1
